"""What holds answers against OpenAI's types finds what is missing, what is besides, and what clients cannot read."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from local.openapi.examples import ANSWERS
from tests.parts.cases import cases
from tests.parts.openai_shapes import problems_of

JSON = {"content-type": "application/json"}
STREAM = {"content-type": "text/event-stream; charset=utf-8"}
RESPONSE: dict[str, Any] = ANSWERS["v1_get_response 200"]["completed"]
COMPLETION: dict[str, Any] = ANSWERS["v1_create_completion 200"]["completed"]
BASE = "https://dormouse.azurewebsites.net/api/v1"


def found(url: str, answer: Any, status: int = 200) -> list[str]:
    """What is found in an answer."""
    return problems_of("GET", f"{BASE}{url}", status, JSON, json.dumps(answer).encode())


def in_stream(event: Any) -> list[str]:
    """What is found in a stream of one event."""
    return problems_of("POST", f"{BASE}/responses", 200, STREAM, f"event: x\ndata: {json.dumps(event)}\n\n".encode())


def changed(answer: Any, change: Callable[[Any], Any]) -> Any:
    """A copy with a change."""
    other = copy.deepcopy(answer)
    change(other)
    return other


def test_what_the_app_answers_is_as_openais_types_have_it() -> None:
    assert found("/responses/resp_1", RESPONSE) == []
    assert found("/openai/v1/responses/resp_1?api-version=1", RESPONSE) == []
    assert found("/openai/deployments/bench/chat/completions", COMPLETION) == []
    assert in_stream({"type": "response.completed", "sequence_number": 2**31 - 1, "response": RESPONSE}) == []
    error = {"error": {"message": "No.", "type": "invalid_request_error", "code": "x", "param": None}}
    assert found("/responses", error, 400) == []


@cases(
    "change",
    [
        lambda each: each.pop("usage"),
        lambda each: each.pop("parallel_tool_calls"),
        lambda each: each.update(status="dreaming"),
        lambda each: each.update(colour="red"),
        lambda each: each["usage"].update(total_tokens=2**31),
        lambda each: each["usage"].pop("output_tokens_details"),
        lambda each: each["output"][0].update(colour="red"),
        lambda each: each["output"][0].pop("id"),
        lambda each: each["output"][0]["content"][0].update(annotations=None),
        lambda each: each["output"][0]["content"][0].update(text="half \ud83d"),
        lambda each: each["output"].append({"type": "dormouse", "id": "x"}),
    ],
)
def test_a_response_that_is_not_is_found(change: Callable[[Any], Any]) -> None:
    wrong = changed(RESPONSE, change)
    assert found("/responses/resp_1", wrong)
    assert in_stream({"type": "response.completed", "sequence_number": 1, "response": wrong})


@cases(
    "event",
    [
        {"type": "response.completed", "response": RESPONSE},
        {"type": "response.completed", "sequence_number": 2**31, "response": RESPONSE},
        {"type": "response.output_text.delta", "sequence_number": 1, "delta": "x", "item_id": "m", "output_index": 0},
        {"error": {"message": "No."}},
    ],
)
def test_an_event_that_is_not_is_found(event: Any) -> None:
    assert in_stream(event)


@cases(
    "answer",
    [{"error": {"message": "No.", "type": "x", "code": None, "param": None}}, {"detail": "No."}, {"error": "No."}],
)
def test_an_error_that_clients_cannot_show_is_found(answer: Any) -> None:
    assert found("/responses", answer, 400)


def test_a_completion_that_is_not_is_found() -> None:
    assert found("/chat/completions", changed(COMPLETION, lambda each: each.update(colour="red")))
    assert found("/chat/completions", changed(COMPLETION, lambda each: each["choices"][0].pop("finish_reason")))
