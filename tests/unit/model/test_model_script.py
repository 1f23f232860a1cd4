"""Scripts: reading them, and which turn and attempt is next."""

from typing import Any

import pytest

from local.model.conversation import Conversation, normal_items
from local.model.faults import Fault, ScriptError, fault_at, parse_fault
from local.model.script import parse_script, script_named, turns_served
from tests.parts.cases import cases

CALL_TURNS = {"a": 0, "b": 0, "c": 1}


def call(call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def output(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "x"}


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


A, B, C, X, Y = (call(name) for name in "abcxy")
OA, OB, OC, OX, OY = (output(name) for name in "abcxy")
TEXT = said("Well.", "assistant")
THOUGHT = {"type": "reasoning", "summary": []}
SEARCH = {"type": "web_search_call"}
WISH = {"type": "mcp_approval_request", "id": "c"}
VERDICT = {"type": "mcp_approval_response", "approval_request_id": "c"}


@cases(
    ("items", "served"),
    [
        ([], 0),
        ([said("Be brief.", "developer")], 0),
        ([A, B, OA, OB], 1),
        ([A, OA, B, OB], 1),
        ([B, OB, A, OA], 1),
        ([THOUGHT, TEXT, A, B, OA, OB], 1),
        ([A, TEXT, B, OA, OB], 1),
        ([A, OA, B, OB, C, OC], 2),
        ([A, B, OA, OB, TEXT, C, OC], 2),
        ([TEXT], 1),
        ([TEXT, said("Go on.", "developer")], 1),
        ([TEXT, said("Go on.", "developer"), TEXT], 2),
        ([X, OX], 1),
        ([X, Y, OX, OY], 1),
        ([X, OX, Y, OY], 2),
        ([C, OC], 2),
        ([SEARCH, A, OA], 1),
        ([A, OA, SEARCH, WISH, VERDICT], 2),
        ([WISH, VERDICT], 2),
        ([{**WISH, "id": "x"}, VERDICT], 1),
    ],
)
def test_turns_are_counted_however_a_replay_is_ordered(items: list[dict[str, Any]], served: int) -> None:
    assert turns_served(items, CALL_TURNS.get) == served


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", None),
        ("[script:]", None),
        ("Please [script:flaky-2.b] it.", "flaky-2.b"),
        ("[script:one] then [script:two]", "two"),
        ("[Script:one]", None),
    ],
)
def test_a_marker_anywhere_names_the_script(text: str, name: str | None) -> None:
    assert script_named(text) == name


def conversation(*items: Any) -> Conversation:
    return Conversation((), tuple(normal_items(list(items))))


def test_only_the_latest_user_message_counts() -> None:
    told = conversation(said("[script:one]"), TEXT, said("And now?"), A, OA)
    assert told.latest_user_message == "And now?"
    assert [item["type"] for item in told.since_user] == ["function_call", "function_call_output"]


def test_a_position_is_the_same_by_chain_and_by_replay() -> None:
    first, then = normal_items([said("Go."), A, B]), normal_items([OA, OB])
    chained = Conversation(tuple(first), tuple(then))
    replay = conversation(said("Go."), A, OA, B, OB)
    assert chained.position("s", 1, {}) == replay.position("s", 1, {})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {"topic": "x"}, True),
        ({"run": "1", "attempt": "a"}, {"run": "1", "attempt": "b"}, True),
        ({"run": "1"}, {"run": "2"}, False),
        ({"app_run_id": "1"}, {"app_run_id": "2"}, False),
    ],
)
def test_runs_are_told_apart_by_their_metadata(one: dict[str, str], other: dict[str, str], same: bool) -> None:
    told = conversation(said("Go."))
    assert (told.position("s", 0, one) == told.position("s", 0, other)) is same


def test_a_position_differs_when_the_user_says_more() -> None:
    one, two = conversation(said("Go.")), conversation(said("Go."), TEXT, said("Go."))
    assert one.position("s", 0, {}) != two.position("s", 0, {})


def test_after_its_end_a_script_says_so_or_repeats() -> None:
    assert "has only 1 turns" in (parse_script("s", [{"text": "One."}]).turn(1).text or "")
    assert parse_script("s", [{"text": "One.", "repeat": True}]).turn(7).text == "One."


@pytest.mark.parametrize(("k", "text", "think"), [(0, None, 1), (1, "Two.", 3), (2, "Two.", 3), (9, "Two.", 3)])
def test_an_attempt_has_what_it_leaves_out_from_its_turn(k: int, text: str | None, think: float) -> None:
    turn = parse_script("s", [{"think": 1, "attempts": [{"stuck": True}, {"text": "Two.", "think": 3}]}]).turn(0)
    assert (turn.attempt(k).text, turn.attempt(k).think) == (text, think)


def test_arguments_are_json_or_the_very_text() -> None:
    turn = parse_script("s", [{"calls": [{"name": "a", "arguments": {"é": 1}}, {"name": "b", "arguments": "{"}]}])
    assert [c.arguments for c in turn.turn(0).calls] == ['{"é": 1}', "{"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "a list of turns"),
        (["x"], "turn 0 must be an object"),
        ([{"txt": "x"}], "turn 0 has an unknown key 'txt'"),
        ([{"faults_of_attempt": True}], "unknown key"),
        ([{"think": "long"}], "turn 0.think must be a number"),
        ([{"status": "done"}], "turn 0.status must be one of"),
        ([{"calls": [{}]}], r"turn 0.calls\[0\] needs a name"),
        ([{"approvals": [{"name": "x"}]}], r"turn 0.approvals\[0\] needs a server_label"),
        ([{"hosted": [{"id": "x"}]}], r"turn 0.hosted\[0\] must be an object with a type"),
        ([{"faults": {"created": []}}], "turn 0.faults has an unknown key 'created'"),
        ([{"faults": {"create": [{"stat": 1}]}}], r"turn 0.faults.create\[0\] has an unknown key 'stat'"),
        ([{"attempts": [{"attempts": []}]}], "cannot have attempts"),
    ],
)
def test_a_script_that_cannot_be_read_says_where(data: Any, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        parse_script("s", data)


def met(*faults: Fault, n: int = 6) -> list[int | None]:
    found = (fault_at(faults, i) for i in range(n))
    return [fault.status if fault else None for fault in found]


def test_faults_are_met_in_order() -> None:
    assert met() == [None] * 6
    assert met(Fault(status=1)) == [1, *[None] * 5]
    assert met(Fault(status=1, times=2), Fault(status=2)) == [1, 1, 2, None, None, None]
    assert met(Fault(status=1, skip=2), Fault(status=2, skip=1)) == [None, None, 1, None, 2, None]
    assert met(Fault(status=1, skip=1, times=-1), Fault(status=2)) == [None, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        ({}, 500, "application/json"),
        ({"status": 429}, 429, "application/json"),
        ({"html": True}, 200, "text/html; charset=utf-8"),
        ({"html": "<p>", "status": 502}, 502, "text/html; charset=utf-8"),
        ({"body": "{"}, 200, "application/json"),
        ({"body": "x", "headers": {"Content-Type": "text/plain"}}, 200, "text/plain"),
    ],
)
def test_what_a_fault_answers(data: dict[str, Any], status: int, kind: str) -> None:
    answered, headers, _ = parse_fault(data, "fault").answer()
    assert (answered, headers.get("content-type", "application/json")) == (status, kind)


@pytest.mark.parametrize(
    ("data", "answers"),
    [({}, True), ({"after_accept": True}, True), ({"hang": 1}, False), ({"hang": 1, "drop": True}, True)],
)
def test_a_fault_that_only_hangs_lets_the_real_answer_through(data: dict[str, Any], answers: bool) -> None:
    assert parse_fault(data, "fault").answers is answers
