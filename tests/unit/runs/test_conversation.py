"""What a conversation looks like when it is sent again from the beginning."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from shared.agentkit.caller import fenced
from shared.runs.actions.conversation import replayed, with_fences

USER = {"type": "message", "role": "user", "content": "Hello"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"id": "a", "status": "b"}'}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "seen"}
SPOKEN = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi", "id": "kept"}]}


@pytest.mark.parametrize(
    ("item", "sent"),
    [
        (USER, [USER]),
        ({**SPOKEN, "id": "msg_1", "status": "completed"}, [SPOKEN]),
        ({**CALL, "id": "fc_1", "status": "completed"}, [CALL]),
        (OUTPUT, [OUTPUT]),
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


def test_nothing_is_nothing() -> None:
    assert replayed([]) == []


def test_what_instructs_the_model_is_sent_as_the_callers_and_kept_as_it_came() -> None:
    theirs = {"type": "message", "role": "developer", "content": "Be brief."}
    items = [USER, theirs, SPOKEN, CALL, OUTPUT]
    before = copy.deepcopy(items)
    for _ in range(2):  # each turn anew, from the rows
        assert with_fences(replayed(items)) == [USER, {**theirs, "content": fenced("Be brief.")}, SPOKEN, CALL, OUTPUT]
    assert items == before
