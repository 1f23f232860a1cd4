"""What a run shows of what its provider gave besides the text: in the row, over HTTP, and to who watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.agentkit.agent import AgentUpdate, UpdateKind
from shared.agentkit.extras import MAX_ANNOTATIONS, MAX_HOSTED_CALLS, MAX_REASONING, Annotation
from shared.api.native.run_shapes import run_on_the_wire
from shared.runs.commands.delete import delete_run
from shared.runs.model.run import Extras, PartRef, Run, Turn, TurnReasoning
from shared.runs.queries.runs import calls_of, in_full
from shared.runs.rules.extras import MAX_REASONING_OF_ALL, with_extras
from shared.runs.watching.views import (
    ALL,
    AnnotationAdded,
    ClientText,
    Delta,
    EventId,
    HostedCallMoved,
    ReasoningDelta,
    Snapshot,
    StatusChanged,
)
from tests.parts import workshop
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.records import a_run
from tests.unit.runs.viewers import Client, LiveRig, staged

TEXT = "The dormouse sleeps for seven months, says the almanac."


def cited(start: int = 4, end: int = 12) -> dict[str, Any]:
    return {"type": "url_citation", "url": "https://example.com/", "title": "A", "start_index": start, "end_index": end}


def search(query: str) -> dict[str, Any]:
    return {"type": "web_search_call", "action": {"type": "search", "query": query}}


WORK = {"name": "work", "arguments": {"label": "a"}}
TURNS = [
    {"reasoning": "First I look.\n\nThen I work.", "hosted": [search("dormouse"), search("sleep")], "calls": [WORK]},
    {
        "think": 0.3,
        "reasoning": "Now I write.",
        "hosted": [{"type": "code_interpreter_call", "code": "7 * 30"}],
        "text": TEXT,
        "annotations": [cited()],
    },
]


@pytest.fixture
async def rig(rigs: NewRig) -> Rig:
    return await rigs([workshop.build_studio])


@pytest.fixture
async def stage(rigs: NewRig) -> AsyncIterator[LiveRig]:
    async with staged(await rigs([workshop.build_studio], poll_first=0.1)) as stage:
        yield stage


async def shown(rig: Rig, run: Run) -> Any:
    return run_on_the_wire(await in_full(rig.app.ports, run, await calls_of(rig.app.ports, run)), url="")


# In the run


async def test_a_run_shows_citations_hosted_tools_and_reasoning_turn_by_turn(rig: Rig) -> None:
    await rig.model.script("s", TURNS)
    run_id = await rig.start(agent="studio")
    first = await rig.follow(run_id, lambda run: run.turn.calls)
    body = await shown(rig, first)
    assert [(call["turn"], call["summary"]) for call in body["hosted_calls"]] == [(1, "dormouse"), (1, "sleep")]
    assert body["reasoning"] == [{"turn": 1, "text": "First I look.\n\nThen I work."}]
    assert body["annotations"] == []
    body = await shown(rig, await rig.follow(run_id))
    assert [(call["turn"], call["type"], call["status"], call["summary"]) for call in body["hosted_calls"]] == [
        (1, "web_search_call", "completed", "dormouse"),
        (1, "web_search_call", "completed", "sleep"),
        (2, "code_interpreter_call", "completed", "7 * 30"),
    ]
    assert [each["turn"] for each in body["reasoning"]] == [1, 2]
    (note,) = body["annotations"]
    assert (note["url"], note["file_id"]) == ("https://example.com/", None)
    assert body["text"][note["start_index"] : note["end_index"]] == "dormouse"


async def test_an_agent_that_asks_for_no_summaries_shows_none(rig: Rig) -> None:
    await rig.model.script("s", [{"reasoning": "Hm.", "text": "So."}])
    assert (await shown(rig, await rig.run_to_end()))["reasoning"] == []


async def test_what_was_asked_for_in_a_turn_that_broke_a_limit_is_shown_all_the_same(rig: Rig) -> None:
    await rig.model.script("s", [{"hosted": [search("dormouse")], "calls": [WORK, WORK]}])
    run = await rig.run_to_end(agent="studio", tool_calls=1)
    assert run.result.error_code == "tool_call_limit"
    assert [call.summary for call in run.extras.hosted_calls] == ["dormouse"]


async def test_an_attempt_that_the_provider_failed_leaves_nothing(rig: Rig) -> None:
    failed = {"status": "failed", "hosted": [search("first")], "reasoning": "No."}
    await rig.model.script("s", [{"attempts": [failed, {"text": "So.", "hosted": [search("second")]}]}])
    run = await rig.run_to_end(agent="studio")
    assert [call.summary for call in run.extras.hosted_calls] == ["second"]


async def test_it_costs_no_transaction_more(rig: Rig) -> None:
    for name, turns in (("plain", [{"calls": [WORK]}, {"text": TEXT}]), ("rich", TURNS)):
        await rig.model.script(name, turns)
    counts = []
    for name in ("plain", "rich"):
        seen: list[str] = []

        async def note(operation: str, *_: Any, into: list[str] = seen) -> None:
            into.append(operation)

        rig.tables.before = note
        await shown(rig, await rig.run_to_end(f"[script:{name}]", agent="studio"))
        rig.tables.before = None
        counts.append(len(seen))
    assert counts[0] == counts[1] > 5


async def test_many_citations_lie_in_parts_and_come_back_whole(rig: Rig) -> None:
    await rig.model.script("s", [{"text": TEXT, "annotations": [cited(n, n + 1) for n in range(600)]}])
    run = await rig.run_to_end(agent="studio")
    assert isinstance(run.result.annotations, PartRef)
    notes = (await shown(rig, run))["annotations"]
    assert [note["start_index"] for note in notes] == list(range(MAX_ANNOTATIONS))


async def test_a_deleted_run_keeps_nothing_of_it(rig: Rig) -> None:
    await rig.model.script("s", TURNS)
    run = await rig.run_to_end(agent="studio")
    assert await delete_run(rig.app.ports, run.id)
    tomb = await rig.run(run.id)
    assert (tomb.extras, tomb.result.annotations) == (Extras(), "")


async def test_whatever_a_provider_sends_the_run_ends_and_can_be_read(rig: Rig) -> None:
    odd: list[Any] = [
        {"type": "web_search_call", "id": 7, "status": {"a": 1}, "action": "search"},
        {"type": "mcp_call", "server_label": None, "name": 7, "arguments": {"a": [1]}, "error": ["x"]},
        {"type": "x" * 500 + "_call", "code": "\x00"},
        {"type": "file_search_call", "queries": [None, {"a": 1}, "q" * 10_000]},
    ]
    notes: list[Any] = [
        {"type": "url_citation", "url": "u" * 9_000, "start_index": 2**70},
        {"type": "x", "title": "\0"},
    ]
    await rig.model.script("s", [{"hosted": odd, "text": TEXT, "annotations": notes}])
    body = await shown(rig, await rig.run_to_end(agent="studio"))
    assert (body["status"], len(body["hosted_calls"]), len(body["annotations"])) == ("completed", 3, 2)
    assert all(len(call["summary"]) <= 200 for call in body["hosted_calls"])


def test_a_run_keeps_the_latest_calls_and_summaries() -> None:
    run = a_run()
    said = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a" * MAX_REASONING}]}
    for turn in range(1, 31):
        calls = [search(f"{turn}.{number}") for number in range(7)]
        run = with_extras(a_run(turn=Turn(number=turn), extras=run.extras), [said, *calls])
    assert len(run.extras.hosted_calls) == MAX_HOSTED_CALLS
    assert run.extras.hosted_calls[-1].summary == "30.6"
    assert [each.turn for each in run.extras.reasoning] == [29, 30]
    assert sum(len(each.text) for each in run.extras.reasoning) <= MAX_REASONING_OF_ALL


@pytest.mark.parametrize(("first", "turns"), [(0, [2, 3]), (1, [2, 3]), (2, [2, 3])])
def test_summaries_of_16000_characters_are_kept(first: int, turns: list[int]) -> None:
    run = a_run()
    for turn, length in enumerate((first, 8_000, 8_000), start=1):
        said = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a" * length}]}
        run = with_extras(a_run(turn=Turn(number=turn), extras=run.extras), [said])
    assert [each.turn for each in run.extras.reasoning] == turns


def test_a_turn_without_any_leaves_the_run_as_it_is() -> None:
    run = a_run(extras=Extras(reasoning=(TurnReasoning(turn=1, text="Hm."),)))
    assert with_extras(run, [{"type": "message", "content": []}, {"type": "reasoning", "summary": []}]) is run


# Watched


async def test_who_watches_is_told_as_it_comes(stage: LiveRig) -> None:
    await stage.rig.model.script("s", [{**turn, "think": 0.3} for turn in TURNS])
    client = await stage.watch(await stage.start(agent="studio"), Client())
    client.check()
    moved = [(event.call.turn, event.call.summary, event.call.status) for event in client.of(HostedCallMoved)]
    assert moved == [
        (1, "dormouse", "in_progress"),
        (1, "dormouse", "completed"),
        (1, "sleep", "in_progress"),
        (1, "sleep", "completed"),
        (2, "7 * 30", "in_progress"),
        (2, "7 * 30", "completed"),
    ]
    said: dict[int, str] = {}
    for event in client.of(ReasoningDelta):
        said[event.event_id.turn] = said.get(event.event_id.turn, "") + event.text
    assert said == {1: "First I look.\n\nThen I work.\n\n", 2: "Now I write.\n\n"}
    (note,) = client.of(AnnotationAdded)
    assert client.text[note.annotation.start_index : note.annotation.end_index] == "dormouse"
    # The rows have the same once the turn is over.
    ended = client.events[-1]
    assert [call.summary for call in ended.run.extras.hosted_calls] == ["dormouse", "sleep", "7 * 30"]  # type: ignore[union-attr]
    told = {call.id for call in ended.run.extras.hosted_calls}  # type: ignore[union-attr]
    assert told == {event.call.id for event in client.of(HostedCallMoved)}
    assert any(event.run.extras.hosted_calls for event in client.of(StatusChanged)), "before the end, too"


async def test_a_client_cut_off_after_every_event_gets_each_of_them_once(stage: LiveRig) -> None:
    await stage.rig.model.script("s", [{**turn, "think": 0.4} for turn in TURNS])
    run_id = await stage.start(agent="studio")
    client = Client()
    while not client.ended:
        await stage.one_further(run_id, client)
    assert client.text == TEXT
    ids = [event.event_id for event in client.of((Delta, AnnotationAdded, HostedCallMoved, ReasoningDelta))]
    assert len(ids) == len(set(ids))
    assert len(client.of(HostedCallMoved)) == 6
    # Where the text began is not known to a process that did not see it.
    assert [event.annotation.start_index for event in client.of(AnnotationAdded)] == [None]
    assert "".join(each.text for each in client.of(ReasoningDelta)) == (
        "First I look.\n\nThen I work.\n\nNow I write.\n\n"
    )


async def test_who_comes_after_the_end_gets_all_of_it_with_the_snapshot(rig: Rig) -> None:
    await rig.model.script("s", TURNS)
    run = await rig.run_to_end(agent="studio", stream=True)
    async with staged(rig) as stage:
        client = await stage.watch(run.id, Client())
    (snapshot,) = client.of(Snapshot)
    assert (snapshot.text, snapshot.reasoning) == (TEXT, "Now I write.")
    assert [(call.turn, call.summary) for call in snapshot.hosted_calls] == [(2, "7 * 30")]
    assert [note.start_index for note in snapshot.annotations] == [4]


# What a client has


def update(kind: UpdateKind, sequence: int, text: str = "", part: tuple[int, int] = (0, 0)) -> AgentUpdate:
    note = Annotation(type="url_citation", start_index=1, end_index=2) if kind is UpdateKind.ANNOTATION else None
    return AgentUpdate(kind=kind, sequence=sequence, text=text, part=part, annotation=note)


TOLD, NOTED, RESET = UpdateKind.TEXT, UpdateKind.ANNOTATION, UpdateKind.RESET


@pytest.mark.parametrize(
    ("whole", "updates", "start"),
    [
        (True, [update(TOLD, 1, "abc"), update(NOTED, 2)], 1),
        (True, [update(TOLD, 1, "abc"), update(TOLD, 2, "def", (2, 0)), update(NOTED, 3, part=(2, 0))], 4),
        (True, [update(TOLD, 1, "abc"), update(NOTED, 3, part=(2, 0))], 4),
        (True, [update(TOLD, 1, "abc"), update(RESET, 2), update(TOLD, 3, "a"), update(NOTED, 4)], 1),
        (False, [update(TOLD, 1, "abc"), update(NOTED, 2)], None),
        (False, [update(RESET, 2), update(TOLD, 3, "a"), update(NOTED, 4)], 1),
    ],
)
def test_a_citation_counts_from_the_start_of_the_text_where_that_is_known(
    whole: bool, updates: list[AgentUpdate], start: int | None
) -> None:
    client = ClientText(EventId(1, 1, 0), whole=whole)
    events = [client.apply(each) for each in updates]
    assert isinstance(events[-1], AnnotationAdded)
    assert events[-1].annotation.start_index == start


def test_a_response_from_the_rows_replaces_all_that_was_shown_of_it() -> None:
    client = ClientText(EventId(2, 1, 7), whole=False)
    said = {"type": "message", "content": [{"type": "output_text", "text": TEXT, "annotations": [cited()]}]}
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    snapshot = client.replace([thought, search("dormouse"), said])
    assert snapshot.event_id == EventId(2, 1, ALL)
    assert (snapshot.text, snapshot.reasoning, len(snapshot.annotations)) == (TEXT, "Hm.", 1)
    assert [(call.turn, call.summary) for call in snapshot.hosted_calls] == [(2, "dormouse")]
