"""Chat Completions: items to messages, and completions to responses."""

from __future__ import annotations

from typing import Any

import pytest

from shared.agentkit import faults
from shared.agentkit.agent import FunctionCall, ResponseStatus, Usage
from shared.agentkit.chat import read_completion, to_messages


def said(content: Any, role: str = "user") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}


def output(call_id: str, text: Any = "x") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def asking(content: str | None, *call_ids: str) -> dict[str, Any]:
    calls = [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in call_ids]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def told(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "x"}


WELL = {"role": "assistant", "content": "Well."}
USER = {"role": "user", "content": "Go."}
TEXT = said([{"type": "output_text", "text": "Well.", "annotations": []}], "assistant")


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        ([{"role": "user", "content": "Go."}], [USER]),
        ([said("Go."), TEXT], [USER, WELL]),
        ([said("Go."), call("a"), call("b"), output("a"), output("b")],
         [USER, asking(None, "a", "b"), told("a"), told("b")]),
        ([said("Go."), call("a"), output("a"), call("b"), output("b")],
         [USER, asking(None, "a"), told("a"), asking(None, "b"), told("b")]),
        ([said("Go."), TEXT, call("a"), output("a")], [USER, asking("Well.", "a"), told("a")]),
        ([said("Go."), call("a"), TEXT, call("b"), output("a"), output("b")],
         [USER, asking("Well.", "a", "b"), told("a"), told("b")]),
        ([said("Go."), call("a"), output("a"), TEXT], [USER, asking(None, "a"), told("a"), WELL]),
        ([said("Go."), {"type": "reasoning", "summary": []}, TEXT], [USER, WELL]),
        ([said("Go."), call("a", ""), output("a", [{"type": "input_text", "text": "x"}])],
         [USER, asking(None, "a"), told("a")]),
        ([said([{"type": "refusal", "refusal": "Well."}], "assistant")], [WELL]),
    ],
)  # fmt: skip
def test_calls_of_one_turn_become_one_message(items: list[Any], messages: list[Any]) -> None:
    assert to_messages(items) == messages


def test_images_go_by_url() -> None:
    image = {"type": "input_image", "image_url": "https://example.com/a.png"}
    assert to_messages([said([{"type": "input_text", "text": "See."}, image])])[0]["content"] == [
        {"type": "text", "text": "See."},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "auto"}},
    ]


@pytest.mark.parametrize("part", [{"type": "input_file", "file_id": "f"}, {"type": "input_image", "file_id": "f"}])
def test_what_chat_does_not_take_is_refused_for_good(part: dict[str, Any]) -> None:
    with pytest.raises(faults.Refused) as caught:
        to_messages([said([part])])
    assert caught.value.code == "unsupported_content"


def test_what_chat_does_not_take_of_the_model_s_own_words_is_left_out() -> None:
    own = [{"type": "output_text", "text": "Fine."}, {"type": "of_the_future", "x": 1}]
    assert to_messages([{**said(own), "role": "assistant"}])[0]["content"] == "Fine."


def completion(reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "message": message, "finish_reason": reason}]}


ASKED = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"n": 1}'}}


@pytest.mark.parametrize(
    ("body", "status", "text", "calls", "reason"),
    [
        (completion(content="Hi."), ResponseStatus.COMPLETED, "Hi.", 0, None),
        (completion(None, content="Hi."), ResponseStatus.COMPLETED, "Hi.", 0, None),
        (completion(content=None, refusal="No."), ResponseStatus.COMPLETED, "No.", 0, None),
        (completion("tool_calls", tool_calls=[ASKED]), ResponseStatus.COMPLETED, "", 1, None),
        (completion("stop", content="So", tool_calls=[ASKED]), ResponseStatus.COMPLETED, "So", 1, None),
        (completion("length", content="Ha"), ResponseStatus.INCOMPLETE, "Ha", 0, "max_output_tokens"),
        (completion("length", tool_calls=[ASKED]), ResponseStatus.INCOMPLETE, "", 0, "max_output_tokens"),
        (completion("content_filter"), ResponseStatus.INCOMPLETE, "", 0, "content_filter"),
    ],
)
def test_a_completion_is_read_as_a_response(
    body: dict[str, Any], status: ResponseStatus, text: str, calls: int, reason: str | None
) -> None:
    response = read_completion(body)
    assert (response.status, response.text, len(response.calls)) == (status, text, calls)
    assert (response.incomplete_reason, response.response_id, response.continuation_token) == (
        reason,
        "chatcmpl-1",
        None,
    )
    for asked in response.calls:
        assert asked == FunctionCall(call_id="a", name="f", arguments='{"n": 1}')


def test_what_was_read_can_be_sent_again() -> None:
    response = read_completion(completion("tool_calls", content="Well.", tool_calls=[ASKED]))
    message = {"role": "assistant", "content": "Well.", "tool_calls": [ASKED]}
    assert to_messages(response.items) == [message]


def test_tokens_are_counted_in_our_words() -> None:
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": None,
    }
    assert read_completion({**completion(content="Hi."), "usage": usage}).usage == Usage(
        input_tokens=7, output_tokens=5, total_tokens=12, cached_tokens=3
    )


@pytest.mark.parametrize(
    "body",
    [
        {"id": "x"},
        {"id": "x", "choices": []},
        {"id": "x", "choices": ["x"]},
        {"id": "x", "choices": [{"message": "x"}]},
        {"id": "x", "choices": [{"message": {"tool_calls": [{"id": "c"}]}}]},
        {"id": "x", "choices": [{"message": {"tool_calls": ["c"]}}]},
    ],
)
def test_what_is_no_completion_is_an_unknown_outcome(body: dict[str, Any]) -> None:
    with pytest.raises(faults.PerhapsAccepted):
        read_completion(body)
