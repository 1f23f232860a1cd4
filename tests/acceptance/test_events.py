"""A run's events over the whole stack: live, cut off anywhere, and exact at the end."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from local.model.control import ModelControl
from local.stack import FunctionsHost
from tests.acceptance.conftest import Stack, Target, move_clock
from tests.acceptance.eventsource import Event, Watcher, has_id
from tests.acceptance.test_crashes import MINUTE, SHORT_WAITS
from tests.parts.waiting import eventually
from tests.parts.workshop import release

NewStack = Callable[..., Stack]

TEXT = "The dormouse, \u2028 asleep in its pot, dreamt of Saturn’s rings — \U0001f42d and of crumbs.\n\r\n" * 3
one_driver = pytest.mark.parametrize("driver", ["durable"])


def story(think: float = 0.2, **more: Any) -> list[dict[str, Any]]:
    """Three turns: two that say something and ask for a tool, then the text."""
    turns: list[dict[str, Any]] = [
        {"text": "First I look. " * 3, "calls": [{"name": "work", "arguments": {"label": "a"}}]},
        {"text": "Now I check. " * 3, "calls": [{"name": "work", "arguments": {"label": "b"}}]},
        {"text": TEXT},
    ]
    return [{"think": think, **turn, **more} for turn in turns]


async def start(target: Target, *turns: dict[str, Any], **fields: Any) -> Watcher:
    """A run that plays these turns, and somebody who is about to watch it."""
    name = f"e{secrets.token_hex(6)}"
    await target.model.script(name, turns)
    run_id = await target.api.start(f"[script:{name}]", **{"agent": "workshop", "stream": True, **fields})
    return Watcher(target.api.url, run_id)


async def response_of(model: ModelControl, run_id: str, turn: int = 1) -> str:
    """The provider's response of that turn."""
    return next(r.id for r in await model.responses() if r.metadata.get("run") == run_id and r.turn == turn - 1)


async def finish(target: Target, watcher: Watcher, turn: int = 1) -> None:
    """Let a turn go on that hangs half-way."""
    await target.model.finish(await response_of(target.model, watcher.run_id, turn))


async def told_turn_by_turn(target: Target, watcher: Watcher, turns: int) -> None:
    """Watch a run whose turns all hang half-way to its end: each goes on when the watcher has heard something of it."""

    async def let_go_on() -> None:
        for turn in range(1, turns + 1):
            await eventually(partial(watcher.said, turn))
            await finish(target, watcher, turn)

    await asyncio.gather(watcher.to_the_end(), let_go_on())


async def streams(model: ModelControl, run_id: str) -> list[Any]:
    """The streams that were opened to follow the responses of a run."""
    mine = {response.id for response in await model.responses() if response.metadata.get("run") == run_id}
    return [e for e in await model.log("retrieve") if "starting_after" in e.query and e.response_id in mine]


@pytest.mark.main
async def test_the_first_delta_is_read_before_the_model_has_sent_its_last(driver: str, target: Target) -> None:
    watcher = await start(target, {"think": 0.2, "text": TEXT, "stuck": True})
    await watcher.watch(until=lambda event: event.kind == "delta")
    response_id = await response_of(target.model, watcher.run_id)
    (response,) = [each for each in await target.model.responses() if each.id == response_id]
    assert response.status == "in_progress", "it has half of its text still to send"
    run = await target.api.run(watcher.run_id)
    assert (run["status"], run["text"]) == ("in_progress", "")
    assert TEXT.startswith(watcher.text)
    await finish(target, watcher)
    await watcher.to_the_end()
    watcher.check()
    assert watcher.text == TEXT


@pytest.mark.main
async def test_a_run_is_told_from_its_state_to_its_end(driver: str, target: Target) -> None:
    watcher = await start(target, *story(stuck=True))
    await told_turn_by_turn(target, watcher, 3)
    watcher.check()
    assert watcher.text == TEXT
    assert watcher.events[0].kind == "state"
    assert watcher.events[0].data["id"] == watcher.run_id
    assert [event.id for event in watcher.of("snapshot")][:3] == ["1.1.0", "2.1.0", "3.1.0"]
    assert [watcher.said(1), watcher.said(2)] == ["First I look. " * 3, "Now I check. " * 3]
    assert [event.data["turn"] for event in watcher.of("tool_started")] == [1, 2]
    assert [event.data["state"] for event in watcher.of("tool_finished")] == ["finished"] * 2
    end = watcher.events[-1]
    assert (end.id, end.data) == ("end", await target.api.run(watcher.run_id))
    again = await watcher.watch()
    assert (again.status, again.events[-1]) == (204, end), "nothing is left"


async def test_what_goes_on_beside_the_text_is_told_as_it_comes_and_is_in_the_run(driver: str, target: Target) -> None:
    search = {"type": "web_search_call", "action": {"type": "search", "query": "dormouse"}}
    cited = {"type": "url_citation", "url": "https://example.com/", "title": "A", "start_index": 4, "end_index": 12}
    turn = {"reasoning": "First I look.\n\nThen I write.", "hosted": [search], "text": TEXT, "annotations": [cited]}
    watcher = await start(target, {"think": 0.5, **turn}, agent="studio")
    await watcher.to_the_end()
    watcher.check()
    run = watcher.events[-1].data
    assert [event.data["hosted_call"]["status"] for event in watcher.of("hosted_call")] == ["in_progress", "completed"]
    assert run["hosted_calls"] == [watcher.of("hosted_call")[-1].data["hosted_call"]]
    assert run["annotations"] == [event.data["annotation"] for event in watcher.of("annotation")]
    assert run["text"][4:12] == "dormouse"
    said = "".join(event.data["text"] for event in watcher.of("reasoning"))
    assert run["reasoning"] == [{"turn": 1, "text": said.strip()}]
    late = await Watcher(target.api.url, watcher.run_id).to_the_end()
    (snapshot,) = late.of("snapshot")
    assert (snapshot.data["annotations"], snapshot.data["hosted_calls"]) == (run["annotations"], run["hosted_calls"])


# Coming back


@pytest.mark.main
@pytest.mark.parametrize("by_query", [False, True], ids=["Last-Event-ID", "after"])
async def test_a_client_that_is_cut_off_after_every_single_event_has_the_text(
    driver: str, target: Target, by_query: bool
) -> None:
    """Each connection lives just to the next event that a client can come back with.

    The last turn waits half-way: however long the connections take, it is not over by then.
    """
    first, second, last = story(think=0.5)
    watcher = await start(target, first, second, {**last, "text": TEXT * 3, "stuck": True})
    while len(watcher.said(3)) < len(TEXT):
        await watcher.one_further(by_query=by_query)
    await finish(target, watcher, 3)
    while not watcher.ended:
        await watcher.one_further(by_query=by_query)
    watcher.check()
    assert watcher.text == TEXT * 3
    assert watcher.connections > 10
    assert len(watcher.of("state")) == watcher.connections, "each begins with it"


@pytest.mark.main
async def test_who_comes_back_gets_exactly_what_follows(target: Target, driver: str) -> None:
    """The turn hangs half-way until both are there, so that all of it is there to come back to; no snapshot helps."""
    watcher = await start(target, {"think": 0.1, "text": TEXT, "stuck": True})
    await watcher.watch(until=lambda event: event.kind == "delta")
    full, cut = Watcher(watcher.url, watcher.run_id), len(watcher.text)

    async def let_go_on() -> None:
        await eventually(lambda: len(watcher.text) > cut and full.said(1))
        await finish(target, watcher)

    await asyncio.gather(watcher.to_the_end(), full.to_the_end(), let_go_on())
    for each in (watcher, full):
        each.check()
        assert [event.data["text"] for event in each.of("snapshot")] in ([""], ["", TEXT])
    ids = [event.id for event in full.of("delta")]
    assert [event.id for event in watcher.of("delta")] == ids[: len(watcher.of("delta"))]


@pytest.mark.main
async def test_two_viewers_see_the_same(driver: str, target: Target) -> None:
    first = await start(target, *story())
    second = Watcher(first.url, first.run_id)
    await asyncio.gather(first.to_the_end(), second.to_the_end())
    for each in (first, second):
        each.check()
    assert first.text == second.text == TEXT


@one_driver
async def test_an_id_of_another_turn_gets_the_current_one_from_its_start(driver: str, target: Target) -> None:
    first, _, last = story(think=0.0)
    watcher = await start(target, first, {**last, "think": 0.2, "stuck": True})
    await watcher.watch(until=lambda event: str(event.id).startswith("2.1.") and event.kind == "delta")
    for forged in ("1.1.3", "2.9.4", "77.1.0"):
        other = Watcher(watcher.url, watcher.run_id, text="something else", last=forged)
        await other.watch(until=lambda event: event.kind == "delta")
        assert next((event.kind, event.id) for event in other.events if has_id(event)) == ("snapshot", "2.1.0")
        assert TEXT.startswith(other.text)
    await target.api.cancel(watcher.run_id)


@pytest.mark.main
@one_driver
async def test_from_any_id_an_ended_run_gives_state_snapshot_and_end(driver: str, target: Target) -> None:
    watcher = await start(target, {"think": 0.0, "text": TEXT})
    await target.api.finished(watcher.run_id)
    for known in (None, "1.1.0", "1.1.5", "4.2.9"):
        late = Watcher(watcher.url, watcher.run_id, text="?", last=known)
        await late.watch()
        assert [event.kind for event in late.events] == ["state", "snapshot", "end"]
        late.check()
        assert late.text == TEXT


@one_driver
async def test_a_run_without_live_text_tells_its_tools_and_then_the_text(driver: str, target: Target) -> None:
    """The first tool goes on when somebody watches."""
    assert target.stack is not None
    log, label = target.stack.tool_log, ""

    def let_go_on(_: Event) -> None:
        release(log, label)

    for fields in ({"stream": False}, {"agent": "phone"}):
        label = secrets.token_hex(4)
        first, *others = story(think=0.1)
        held = {"name": "hold_in_a_thread", "arguments": {"label": label}}
        watcher = await start(target, {**first, "calls": [held]}, *others, **fields)
        await watcher.watch(until=let_go_on)
        watcher.check()
        assert watcher.text == TEXT
        assert watcher.of("delta") == []
        assert [event.kind for event in watcher.events[-2:]] == ["snapshot", "end"]
        assert [event.data["turn"] for event in watcher.of("tool_finished")] == [1, 2]


@one_driver
async def test_a_new_start_at_the_provider_is_an_empty_snapshot(driver: str, target: Target) -> None:
    """The model waits half-way, past its new start: however long the connections take, the run is not over by then."""
    watcher = await start(target, {"think": 0.1, "text": TEXT, "stream_restart": True, "stuck": True})
    while len(watcher.of("snapshot")) < 2:
        await watcher.one_further()
    assert [event.data["text"] for event in watcher.of("snapshot")] == ["", ""]
    await target.model.finish(await response_of(target.model, watcher.run_id))
    while not watcher.ended:
        await watcher.one_further()
    watcher.check()
    assert watcher.text == TEXT


# The provider replays no more


async def test_past_the_wall_the_text_stays_and_a_full_snapshot_comes_before_the_end(
    own_stack: NewStack, driver: str
) -> None:
    stack = own_stack(driver)
    host = await asyncio.to_thread(stack.host)
    async with stack_of(stack, host) as target:
        watcher = await start(target, {"think": 0.1, "text": TEXT, "stuck": True})
        await watcher.watch(until=lambda event: event.kind == "delta")
        await stack.model.switches(stream_wall=-1)
        await watcher.watch(until=lambda event: event.kind == "stale")
        shown = watcher.text
        assert shown != ""
        assert TEXT.startswith(shown)
        await stack.model.finish(await response_of(stack.model, watcher.run_id))
        await watcher.to_the_end()
    watcher.check()
    assert watcher.text == TEXT
    assert [event.kind for event in watcher.events[-2:]] == ["snapshot", "end"]


@one_driver
async def test_a_model_that_never_replays_still_gives_the_text_to_a_client_cut_off_everywhere(
    own_stack: NewStack, driver: str
) -> None:
    stack = own_stack(driver)
    await stack.model.switches(stream_wall=-1)
    host = await asyncio.to_thread(stack.host)
    async with stack_of(stack, host) as target:
        first, second, last = story()
        watcher = await start(target, first, second, {**last, "stuck": True})
        while not any(str(event.data["continuation_token"]).startswith("3.1.") for event in watcher.of("stale")):
            await watcher.one_further("stale")
        await finish(target, watcher, 3)
        while not watcher.ended:
            await watcher.one_further("stale")
    watcher.check()
    assert watcher.text == TEXT
    assert watcher.of("stale")
    assert watcher.of("delta") == []


# Who watches, and for how long


@pytest.mark.main
@one_driver
async def test_a_viewer_who_left_is_noticed_at_once_and_the_provider_s_stream_is_closed(
    driver: str, target: Target
) -> None:
    watcher = await start(target, {"think": 0.1, "text": TEXT, "stuck": True})
    await watcher.watch(until=lambda event: event.kind == "delta")  # and then it is gone
    await eventually(lambda: closed(target.model, watcher.run_id))
    assert [each.closed for each in await streams(target.model, watcher.run_id)] == ["left"]
    assert (await target.api.run(watcher.run_id))["status"] == "in_progress", "the run does not mind"
    await target.api.cancel(watcher.run_id)


async def closed(model: ModelControl, run_id: str) -> bool:
    return all(each.closed is not None for each in await streams(model, run_id))


@pytest.mark.main
@one_driver
async def test_nobody_watching_opens_no_stream(driver: str, target: Target) -> None:
    watcher = await start(target, *story(think=0.0))
    await target.api.finished(watcher.run_id)
    assert await streams(target.model, watcher.run_id) == []


async def test_a_connection_ends_on_purpose_and_the_next_goes_on(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, DORMOUSE_EVENTS_SECONDS="0.5")
    host = await asyncio.to_thread(stack.host)
    async with stack_of(stack, host) as target:
        watcher = await start(target, {"think": 2.0, "text": TEXT * 3, "stuck": True})
        while watcher.connections < 3:
            await watcher.watch()
        await finish(target, watcher)
        await watcher.to_the_end()
    watcher.check()
    assert watcher.connections > 2
    assert watcher.text == TEXT * 3
    assert next(event.id for event in watcher.of("snapshot")) == "1.1.0"


async def test_the_end_comes_when_a_viewer_has_seen_it_and_not_at_the_next_poll(
    own_stack: NewStack, driver: str
) -> None:
    stack = own_stack(driver, DORMOUSE_POLL_FIRST_SECONDS="100", DORMOUSE_POLL_MAX_SECONDS="100")
    host = await asyncio.to_thread(stack.host)
    async with stack_of(stack, host) as target:
        watcher = await (await start(target, *story())).to_the_end()
    watcher.check()
    assert watcher.text == TEXT


# The face of it


@pytest.fixture
async def ended(target: Target) -> Watcher:
    watcher = await start(target, {"think": 0.0, "text": TEXT})
    await target.api.finished(watcher.run_id)
    return watcher


@pytest.mark.main
@one_driver
async def test_headers_and_bytes_are_those_of_server_sent_events(driver: str, target: Target, ended: Watcher) -> None:
    path = f"/api/runs/{ended.run_id}/events"
    reply = await target.api.call("GET", path, headers={"X-Request-Id": "mine"})
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (reply.headers["cache-control"], reply.headers["x-accel-buffering"]) == ("no-store", "no")
    assert reply.headers["x-request-id"] == "mine"
    first, *events = reply.raw.decode().removesuffix("\n\n").split("\n\n")
    assert first == "retry: 1000"
    names = [[line.partition(": ")[0] for line in event.split("\n")] for event in events]
    assert names == [["event", "data"], ["id", "event", "data"], ["id", "event", "data"]]
    head = await target.api.call("HEAD", path)
    assert (head.status, head.raw, head.headers["content-type"]) == (200, b"", "text/event-stream; charset=utf-8")


@pytest.mark.main
@one_driver
@pytest.mark.parametrize("given", ["nonsense", "1.1", "0.1.1", "1.1.-1", "resp_1", "1.1.1%00", "é"])
async def test_what_is_no_event_id_is_refused(driver: str, target: Target, ended: Watcher, given: str) -> None:
    reply = await target.api.call("GET", f"/api/runs/{ended.run_id}/events?after={given}")
    assert (reply.status, reply["code"]) == (400, "invalid_event_id")
    assert reply.headers["content-type"] == "application/problem+json"


@one_driver
async def test_the_header_goes_before_the_query_and_after_the_end_there_is_nothing(
    driver: str, target: Target, ended: Watcher
) -> None:
    """A browser comes back to the address it began with: its header is the newer of the two."""
    path = f"/api/runs/{ended.run_id}/events"
    for query, headers, status in (
        ("?after=end", {}, 204),
        ("", {"Last-Event-ID": "end"}, 204),
        ("?after=1.1.0", {"Last-Event-ID": "end"}, 204),
        ("?after=end", {"Last-Event-ID": "1.1.0"}, 200),
        ("?after=nonsense", {"Last-Event-ID": "1.1.0"}, 200),
    ):
        reply = await target.api.call("GET", path + query, headers=headers)
        assert reply.status == status, (query, headers)
    assert (await target.api.call("GET", path, headers={"Last-Event-ID": "x"})).status == 400
    assert (await target.api.call("HEAD", f"{path}?after=end")).status == 204


@pytest.mark.main
@one_driver
async def test_there_is_nothing_to_watch_of_a_run_that_is_not_there(driver: str, target: Target) -> None:
    reply = await target.api.call("GET", f"/api/runs/run_{'0' * 32}_1/events")
    assert (reply.status, reply["code"]) == (404, "run_not_found")
    reply = await target.api.call("POST", f"/api/runs/run_{'0' * 32}_1/events")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@one_driver
async def test_another_s_run_is_not_there(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, DORMOUSE_AUTH="appservice", WEBSITE_AUTH_ENABLED="true")
    host = await asyncio.to_thread(stack.host)
    ann, bob = ({"x-ms-client-principal-id": name, "x-ms-client-principal-idp": "aad"} for name in ("ann", "bob"))
    async with stack_of(stack, host) as target:
        body = {"input": "Hello.", "stream": True}
        run_id = (await target.api.call("POST", "/api/runs", json=body, headers=ann))["id"]
        path = f"/api/runs/{run_id}/events"
        assert (await target.api.call("GET", path, headers=bob)).status == 404
        assert (await target.api.call("GET", path)).status == 401
        assert (await target.api.call("GET", path, headers=ann)).status == 200


# The host is killed


@contextlib.asynccontextmanager
async def stack_of(stack: Stack, host: FunctionsHost) -> Any:
    """A host of the test's own as a target."""
    from tests.acceptance.client import Api

    async with Api(host.url) as api:
        yield Target(api=api, stack=stack, host=host)


async def test_a_client_goes_on_where_it_was_after_the_host_was_killed(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    async with stack_of(stack, host) as target:
        watcher = await start(target, story()[0], {"think": 0.2, "text": TEXT, "stuck": True})
        in_text = lambda event: event.kind == "delta" and str(event.id).startswith("2.")  # noqa: E731
        await watcher.watch(until=in_text)
        seen = watcher.text
        host.kill()
        await watcher.watch()
        await asyncio.to_thread(lambda: host.start().wait_ready())
        await move_clock(host, MINUTE)
        await stack.model.finish(await response_of(stack.model, watcher.run_id, 2))
        await watcher.to_the_end()
    watcher.check()
    assert seen != ""
    assert watcher.text == TEXT
    assert len(stack.traces("a", "start")) == 1


@pytest.mark.parametrize("cut", [1, 3, 6, 9, 12, 16, 20, 30])
async def test_the_host_is_killed_at_any_event_of_a_three_turn_run(own_stack: NewStack, driver: str, cut: int) -> None:
    stack = own_stack(driver, **SHORT_WAITS)
    host = await asyncio.to_thread(stack.host)
    async with stack_of(stack, host) as target:
        watcher = await start(target, *story(think=0.6))
        await watcher.watch(until=lambda _: len(watcher.events) >= cut)
        host.kill()
        await asyncio.to_thread(lambda: host.start().wait_ready())
        while not watcher.ended:
            await move_clock(host, MINUTE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await watcher.to_the_end()
    watcher.check()
    assert watcher.text == TEXT


@pytest.mark.parametrize("wall", [300.0, 0.4], ids=["replays", "soon replays no more"])
async def test_a_cut_at_any_event_of_a_three_turn_run_loses_nothing(
    own_stack: NewStack, driver: str, wall: float
) -> None:
    """One run for each event at which the connection is cut, once."""
    stack = own_stack(driver)
    host = await asyncio.to_thread(stack.host)
    slots = asyncio.Semaphore(6)

    async def cut_once(target: Target, cut: int) -> Watcher:
        async with slots:
            watcher = await start(target, *story(think=0.8))
            await watcher.watch(until=lambda _: len(watcher.events) >= cut)
            return await watcher.to_the_end()

    async with stack_of(stack, host) as target:
        whole = await cut_once(target, 10_000)
        await stack.model.switches(stream_wall=wall)
        watchers = await asyncio.gather(*(cut_once(target, cut) for cut in range(1, len(whole.events) + 1)))
    for watcher in [whole, *watchers]:
        watcher.check()
        assert watcher.text == TEXT
    assert any(watcher.of("stale") for watcher in watchers) == (wall < 1)
