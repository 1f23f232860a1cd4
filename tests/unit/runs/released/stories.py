"""Stories whose rows hold what those of `points` do not: all that a caller, an agent and a provider may set."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

from shared.runs.batches.submit import AskedItem, BatchSubmission, submit_batch
from shared.runs.commands.answer import answer
from shared.runs.commands.submission import Submission
from shared.runs.commands.submit import submit
from shared.runs.model.callers_tools import CallersTools
from shared.runs.model.facts import Approve
from shared.runs.model.phases import RunStatus
from shared.runs.queries.conversation import open_calls_of
from tests.unit.runs.batches import one
from tests.unit.runs.points.stories import DONE, call, calls, signal, start, when
from tests.unit.runs.points.stories_of_batches import over
from tests.unit.runs.points.world import Process, World

RESTARTED = {"status": "failed", "error": {"code": "server_error"}}
SEARCH = {"type": "web_search_call", "action": {"type": "search", "query": "dormouse"}}
CITED = {"type": "url_citation", "url": "https://example.com/", "title": "A", "start_index": 0, "end_index": 4}
USAGE = {"input_tokens": 20, "output_tokens": 10, "cached_tokens": 5, "reasoning_tokens": 4, "total_tokens": 30}
VERDICT = '{"guilty": true, "months": 3}'
MINE = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}


async def all_that_a_provider_gives(world: World) -> Any:
    """A response that is made again, tools of the provider, reasoning, citations; cut short in the end."""
    first = {"reasoning": "I look.", "hosted": [SEARCH], **calls(call("work", "a")), "usage": USAGE}
    second = {"reasoning": "I write.", "text": "Said.", "annotations": [CITED], "status": "incomplete"}
    await world.rig.model.script("rich", [{"attempts": [RESTARTED, first]}, second])
    await start(
        world,
        "rich",
        agent="studio",
        model="gpt-5-nano",
        options={"temperature": 0.5},
        metadata={"audience": "experts"},
        title="A title",
        instructions="Be brief.",
        stream=True,
        background=False,
        total_tokens=100_000,
    )
    await world.go_on()


async def a_verdict(world: World) -> Any:
    """A text that does not fit its form, and one that does."""
    turns = [{"text": "Guilty!", "continues": True}, {"text": VERDICT}]
    await world.rig.model.script("judged", turns)
    await start(world, "judged", agent="judge")
    await world.go_on()


async def an_mcp_tool(world: World) -> Any:
    """A tool of an MCP server that a person has to approve, who is named."""
    asks = {"approvals": [{"server_label": "archive", "name": "delete", "arguments": "{}"}], **calls(call("send", "a"))}
    await world.rig.model.script("asks", [asks, {"text": VERDICT}])
    run_id = await start(world, "asks", agent="judge")
    await when(world, run_id, RunStatus.REQUIRES_ACTION)
    first, second = [each.call_id for each in await world.rig.calls(run_id)]
    given = {first: Approve(approve=True), second: Approve(approve=True)}
    await signal(world, run_id, partial(answer, by="ann"), given)
    await world.go_on()


async def a_callers_tools(world: World) -> Any:
    """A run that ends with a call of its caller's and one to be approved; the next has output and answer."""
    asks = calls(call("work", "w"), call("send", "a"), {"name": "look_up", "arguments": "{}"})
    await world.rig.model.script("mine", [asks, DONE])
    brought = {"tools": CallersTools(definitions=(MINE,)), "hands_over": True}
    run_id = await start(world, "mine", agent="open-workshop", **brought)
    before = await when(world, run_id, RunStatus.COMPLETED)
    await world.go_on()
    left = await open_calls_of(world.rig.app.ports, before)
    asked = next(each for each in left if hasattr(each, "request_id"))
    made = next(each for each in await world.rig.calls(run_id) if each.name == "look_up")
    output = {"type": "function_call_output", "call_id": made.call_id, "output": "found"}
    wanted = Submission(
        owner="test",
        items=(output,),
        session_id=before.request.session_id,
        previous=before.request.number,
        approvals={asked.request_id: Approve(approve=True)},
        idempotency_key="next",
        **brought,
    )

    async def request(process: Process) -> None:
        await process.driver.start_run(await submit(process.ports, wanted))

    await world.ask(request)
    await world.go_on()


async def a_batch_with_defaults(world: World) -> Any:
    """A batch with all that it may set, at a provider that refuses at first and cuts a text short."""
    world.receiver.answers = [500]
    refused = {"faults": {"create": [{"status": 429}]}}
    await world.rig.model.script("busy", [{**DONE, **refused}])
    await world.rig.model.script("cut", [{"text": "Sa", "status": "incomplete"}])
    items = [AskedItem(id=f"i-{n}", asked=one(f"[script:{name}]")) for n, name in enumerate(["busy", "cut"])]
    defaults = one("", agent="judge", model="gpt-5-nano", metadata={"job": "night"})
    wanted = BatchSubmission(
        items=items,
        defaults=defaults,
        payload=hashlib.sha256(b"defaults").hexdigest(),
        idempotency_key="defaults",
        callback_url=world.receiver.url,
        concurrency=2,
    )

    async def request(process: Process) -> str:
        submitted = await submit_batch(process.ports, wanted)
        await process.driver.start_batch(submitted)
        return submitted.batch.id

    await over(world, await world.ask(request))
    await world.go_on()


async def a_provider_that_denies(world: World) -> Any:
    """A key that the provider does not take, for a while."""
    await world.rig.model.script("denied", [{**DONE, "faults": {"create": [{"status": 401}, {"status": 401}]}}])
    await start(world, "denied", callback_url=world.receiver.url)
    await world.go_on()


async def a_forgotten_response(world: World) -> Any:
    """A session that the provider has forgotten: the next run is created from full input."""
    await world.rig.model.script("one", [DONE])
    await world.rig.model.script("two", [calls(call("work", "a")), DONE])
    first = await start(world, "one")
    await when(world, first, RunStatus.COMPLETED)
    (response,) = await world.rig.model.responses()
    await world.rig.model.forget(response.id)
    await start(world, "two", session_id=first.split("_")[1])
    await world.go_on()


async def a_silent_receiver(world: World) -> Any:
    """Progress of a tool; and a callback that is given up."""
    world.receiver.answers = [500] * 40
    await world.rig.model.script("told", [calls(call("tell", "a")), DONE])
    await start(world, "told", agent="teller", callback_url=world.receiver.url)
    await world.go_on()


STORIES = (
    a_forgotten_response,
    a_silent_receiver,
    all_that_a_provider_gives,
    a_verdict,
    an_mcp_tool,
    a_callers_tools,
    a_batch_with_defaults,
    a_provider_that_denies,
)
