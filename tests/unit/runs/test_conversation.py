"""What a conversation looks like when it is sent again from the beginning."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest

from shared.agentkit.caller import fenced
from shared.runs.actions import conversation
from shared.runs.actions.conversation import ConversationTooLong, is_chained, messages, replayed, with_fences
from shared.runs.model.phases import Ended, RunStatus
from shared.runs.model.run import Chain, Turn
from shared.runs.ports import Ports
from tests.unit.runs.records import NOW, a_run, put

USER = {"type": "message", "role": "user", "content": "Hello"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"id": "a", "status": "b"}'}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "seen"}
SPOKEN = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi", "id": "kept"}]}


@pytest.mark.parametrize(
    ("item", "sent"),
    [
        (USER, [USER]),
        ({**SPOKEN, "id": "msg_1", "status": "completed"}, [SPOKEN]),
        (CALL, []),
        (OUTPUT, []),
        ({"type": "reasoning", "id": "rs_1", "summary": []}, []),
        ({"role": "user", "content": "no type"}, [{"role": "user", "content": "no type"}]),
        ({"type": "web_search_call", "id": "ws_1", "status": "completed"}, []),
        ({"type": "a_type_of_tomorrow", "id": "x_1"}, []),
    ],
)
def test_an_item_is_sent_again_without_what_only_the_provider_knows(item: dict[str, Any], sent: list[Any]) -> None:
    before = copy.deepcopy(item)
    assert replayed([item]) == sent
    assert item == before


def test_the_order_stays() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1"}
    assert replayed([USER, reasoning, {**CALL, "id": "fc_1"}, OUTPUT, reasoning, SPOKEN]) == [
        USER,
        CALL,
        OUTPUT,
        SPOKEN,
    ]


def test_a_call_and_its_output_go_together() -> None:
    shown = {**CALL, "id": "fc_1", "status": "completed"}
    other = {**CALL, "call_id": "call_2"}
    assert replayed([shown, other, OUTPUT, {**OUTPUT, "call_id": "call_3"}]) == [CALL, OUTPUT]


def test_nothing_is_nothing() -> None:
    assert replayed([]) == []


# --- approvals of the provider's own tools ------------------------------------------------------------

ASKED = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "pay", "status": "completed"}
SENT_ASKED = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "pay"}
YES = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
NO = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False}
OTHER = {"type": "mcp_approval_request", "id": "mcpr_2", "name": "look"}
OTHER_YES = {"type": "mcp_approval_response", "approval_request_id": "mcpr_2", "approve": True}


@pytest.mark.parametrize(
    ("items", "sent"),
    [
        ([USER, ASKED], [USER, SENT_ASKED]),  # its id stays: the answer names it
        ([USER, ASKED, YES], [USER, SENT_ASKED, YES]),  # the call is still to be made
        ([CALL, USER, ASKED, YES, OUTPUT], [CALL, USER, SENT_ASKED, YES, OUTPUT]),  # by us, not by the model
        ([USER, ASKED, YES, USER], [USER, SENT_ASKED, YES, USER]),
        ([USER, ASKED, YES, SPOKEN], [USER, SPOKEN]),  # made: sent again it would be made a second time
        ([USER, ASKED, YES, CALL, OUTPUT], [USER, CALL, OUTPUT]),
        ([USER, ASKED, NO, SPOKEN], [USER, SENT_ASKED, NO, SPOKEN]),
        ([USER, ASKED, OTHER, YES, SPOKEN, OTHER_YES], [USER, OTHER, SPOKEN, OTHER_YES]),
        ([USER, ASKED, OTHER, YES, OTHER_YES, SPOKEN], [USER, SPOKEN]),
        # Of another kind, the same id is another thing.
        ([{**USER, "id": "mcpr_1"}, ASKED, YES, SPOKEN], [USER, SPOKEN]),
    ],
)
def test_an_approval_is_sent_again_until_the_provider_has_acted_on_it(
    items: list[dict[str, Any]], sent: list[dict[str, Any]]
) -> None:
    assert replayed(items) == sent


# --- new items alone, or everything -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "chains", "chained"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"number": 2}, True, False),  # nothing to chain to: the session's last response was deleted
        ({"number": 2, "last_response_id": "resp_1"}, True, True),
        ({"chain": Chain(last_response_id="resp_1", replay=True)}, True, False),
        ({"turn": Turn(number=2, replay=True), "last_response_id": "resp_1"}, True, False),
    ],
)
def test_when_new_items_alone_are_sent(changes: dict[str, Any], chains: bool, chained: bool) -> None:
    agent: Any = SimpleNamespace(chains=chains)
    assert is_chained(a_run(**changes), agent) is chained


COMPLETED = Ended(status=RunStatus.COMPLETED, completed_at=NOW)
FAILED = Ended(status=RunStatus.FAILED, completed_at=NOW)


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


async def test_what_is_sent_for_a_turn(ports: Ports) -> None:
    chained: Any = SimpleNamespace(chains=True)
    anew: Any = SimpleNamespace(chains=False)
    for number, phase in ((1, COMPLETED), (2, FAILED)):
        await put(ports, a_run(number=number, phase=phase), given=json.dumps([said(f"run {number}")]))
    reasoning = {"type": "reasoning", "id": "rs_1"}
    stored = await put(ports, a_run(number=3, last_response_id="resp_1"), given=json.dumps([said("run 3"), reasoning]))
    assert await messages(ports, stored.value, chained) == [said("run 3"), reasoning]
    assert await messages(ports, stored.value, anew) == [said("run 1"), said("run 3")], "what failed is left out"
    assert await messages(ports, stored.value, anew, given=[said("given")]) == [said("run 1"), said("given")]
    assert await messages(ports, stored.value, chained, given=[said("given")]) == [said("given")]
    saved = await ports.runs.save(stored, stored.value, items=[json.dumps([CALL]), json.dumps([OUTPUT])])
    assert await messages(ports, saved.run.value, chained) == [OUTPUT]
    assert await messages(ports, saved.run.value, chained, last=json.dumps([said("last")])) == [said("last")]
    assert await messages(ports, saved.run.value, anew) == [said("run 1"), said("run 3"), CALL, OUTPUT]
    assert await ports.runs.given_items(saved.run.value) == [said("run 3"), reasoning]


async def test_a_conversation_that_is_too_long_is_refused_as_it_is_read(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    anew: Any = SimpleNamespace(chains=False)
    await put(ports, a_run(phase=COMPLETED), given=json.dumps([said("x" * 100)]))
    run = (await put(ports, a_run(number=2), given=json.dumps([said("y" * 100)]))).value
    size = len(json.dumps([said("x" * 100)])) + len(json.dumps([said("y" * 100)]))
    monkeypatch.setattr(conversation, "MAX_REPLAYED", size)
    assert len(await messages(ports, run, anew)) == 2
    monkeypatch.setattr(conversation, "MAX_REPLAYED", size - 1)
    with pytest.raises(ConversationTooLong):
        await messages(ports, run, anew)


def test_what_instructs_the_model_is_sent_as_the_callers_and_kept_as_it_came() -> None:
    theirs = {"type": "message", "role": "developer", "content": "Be brief."}
    items = [USER, theirs, SPOKEN, CALL, OUTPUT]
    before = copy.deepcopy(items)
    for _ in range(2):  # each turn anew, from the rows
        assert with_fences(replayed(items)) == [USER, {**theirs, "content": fenced("Be brief.")}, SPOKEN, CALL, OUTPUT]
    assert items == before
