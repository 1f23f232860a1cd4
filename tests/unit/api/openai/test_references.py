"""References to items of earlier responses: whose they may be, what they stand for, how much they may bring."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shared import wiring
from shared.agentkit.agent import FunctionCall
from shared.agentkit.items import function_call, text_message
from shared.api.openai.messages import read_messages
from shared.api.openai.objects import message_id
from shared.api.openai.references import READS, with_referred_items
from shared.errors import InputTooLarge, ItemNotFound, UnsupportedParameter
from shared.runs.commands.delete import delete_run
from shared.runs.model.phases import Creating, Ended, RunStatus
from shared.runs.model.run import Run
from shared.settings import Settings
from shared.wiring import App
from tests.parts.memory import MemoryTables
from tests.unit.runs.conftest import Clock
from tests.unit.runs.records import NOW, a_run, put

ASKED = [
    {"type": "message", "role": "developer", "content": "Be brief."},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Well?"}]},
]
CALL = function_call(FunctionCall(call_id="c", name="work", arguments="{}"))
RESULT = {"type": "function_call_output", "call_id": "c", "output": "42"}
REFUSAL = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}]}


@pytest.fixture
def tables() -> MemoryTables:
    return MemoryTables()


@pytest.fixture
def app(tables: MemoryTables) -> App:
    """Stores over tables in memory, and no agents."""
    return wiring.build(Settings(openai_api_key="k", max_input_bytes=2_000), {}, tables, Clock())


async def a_response(app: App, *appended: Any, **changes: Any) -> Run:
    """A run of `app`'s that was answered with these items, each list of them appended by itself."""
    ended = Ended(status=RunStatus.COMPLETED, completed_at=NOW)
    stored = await put(app.ports, a_run(**{"phase": ended, **changes}), given=json.dumps(ASKED))
    saved = await app.ports.runs.save(stored, stored.value, items=[json.dumps(each) for each in appended])
    return saved.run.value


def reference(name: str) -> dict[str, Any]:
    return {"type": "item_reference", "id": name}


def asked(run: Run, index: int) -> str:
    return f"msg_{run.id.removeprefix('run_')}_in{index}"


async def test_a_reference_stands_for_the_message_itself(app: App) -> None:
    run = await a_response(
        app,
        [text_message("Let me look."), CALL],
        [RESULT],
        [text_message("It is 42.")],
        turn=replace(a_run().turn, number=2),
    )
    names = [asked(run, 0), asked(run, 1), message_id(run, 0), message_id(run, 1), message_id(run, 0)]
    given = [*map(reference, names), {"id": names[3]}, {"role": "user", "content": "And?"}]
    items = read_messages(await with_referred_items(given, "app", app))
    assert [(item["role"], item["content"]) for item in items] == [
        ("developer", "Be brief."),
        ("user", [{"type": "input_text", "text": "Well?"}]),
        ("assistant", "Let me look."),
        ("assistant", "It is 42."),
        ("assistant", "Let me look."),
        ("assistant", "It is 42."),
        ("user", "And?"),
    ]


async def test_a_refusal_and_a_message_without_words_may_be_referred_to(app: App) -> None:
    refused = await a_response(app, [REFUSAL])
    failed = await a_response(app, number=2, phase=Ended(status=RunStatus.FAILED, completed_at=NOW))
    given = [reference(message_id(refused, 0)), reference(message_id(failed, 0)), {"role": "user", "content": "So?"}]
    items = read_messages(await with_referred_items(given, "app", app))
    assert [(item["role"], item["content"]) for item in items] == [("assistant", "Never."), ("user", "So?")]


async def test_an_instruction_by_reference_is_what_the_agent_makes_of_instructions(app: App) -> None:
    """An agent that takes none must not get them by way of a response of another agent."""
    run = await a_response(app, [text_message("Yes.")])
    given = await with_referred_items([reference(asked(run, 0))], "app", app)
    assert [item["role"] for item in read_messages(given, "append")] == ["developer"]
    assert [item["role"] for item in read_messages(given, "input")] == ["user"]
    with pytest.raises(UnsupportedParameter):
        read_messages(given, "refuse")


async def test_what_is_not_there_or_anothers_is_not_found_alike(app: App) -> None:
    run = await a_response(app, [text_message("Yes.")])
    running = await a_response(app, number=2, phase=Creating())
    gone = await a_response(app, [text_message("Gone.")], number=3)
    await delete_run(app.ports, gone.id)
    rest = run.id.removeprefix("run_")
    names = [
        "", "msg_1", "rs_1", f"msg_{rest}", f"msg_{rest}_0", f"msg_{rest}_2", f"msg_{rest}_01", f"msg_{rest}_in2",
        f"msg_{rest}_1\n", f"msg_{rest}_in", f"MSG_{rest}_1", f"msg_{'f' * 32}_1_1", f"msg_{rest}_9999999",
        message_id(running, 0), asked(running, 0), message_id(gone, 0), asked(gone, 0), "x" * 100_000, "\ud800",
    ]  # fmt: skip
    given: list[Any] = [reference(name) for name in names]
    given += [{"type": "item_reference"}, {"type": "item_reference", "id": 7}]
    sentences = set()
    for each in given:
        with pytest.raises(ItemNotFound) as missing:
            await with_referred_items([{"role": "user", "content": "x"}, each], "app", app)
        assert missing.value.details["param"] == "input[1].id"
        assert len(missing.value.message) < 400
        sentences.add(missing.value.message.partition("here that")[2])
    with pytest.raises(ItemNotFound) as others:
        await with_referred_items([reference(message_id(run, 0))], "somebody else", app)
    assert sentences == {others.value.message.partition("here that")[2]}


async def test_many_references_to_one_response_read_it_once(app: App, tables: MemoryTables) -> None:
    run = await a_response(app, [text_message("x")])
    reads = 0

    async def count(*_: Any) -> None:
        nonlocal reads
        reads += 1

    tables.before = count
    given = await with_referred_items([reference(message_id(run, 0))] * 50, "app", app)
    assert len(given) == 50
    assert reads <= 3


async def test_short_references_bring_no_more_than_an_input_may_have(app: App) -> None:
    long = await a_response(app, [text_message("é" * 300)])
    assert len(await with_referred_items([reference(message_id(long, 0))] * 2, "app", app)) == 2
    with pytest.raises(InputTooLarge):
        await with_referred_items([reference(message_id(long, 0))] * 4, "app", app)
    many = [await a_response(app, [text_message("x" * 500)], number=2 + index) for index in range(3 * READS)]
    with pytest.raises(InputTooLarge):
        await with_referred_items([reference(message_id(run, 0)) for run in many], "app", app)


async def test_whatever_else_is_in_the_list_stays_as_it_is(app: App) -> None:
    given: list[Any] = [7, None, "x", {"id": "m", "role": "user"}, {"type": "message", "id": "m"}, {}, {"type": None}]
    assert await with_referred_items(given, "app", app) == given
