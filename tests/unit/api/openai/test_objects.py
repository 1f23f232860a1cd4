"""A run as the objects of OpenAI's clients: a response, a chat completion, the items of the input."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import Response

from shared.agentkit.agent import Item, Usage
from shared.api.openai.chat import chat_completion
from shared.api.openai.objects import input_items, output_turns, response_object, text_part
from shared.api.openai.streaming import sse
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Turn
from shared.runs.queries.conversation import OfCaller, TurnText, texts_of
from tests.unit.api.conftest import a_run_that_is
from tests.unit.runs.records import a_run

ASKED: Item = {"type": "message", "role": "user", "content": "Go."}


def said(*parts: dict[str, Any]) -> Item:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": []}


def test_what_was_corrected_is_not_shown() -> None:
    found = texts_of([[ASKED], [said(text("wrong"))], [ASKED], [said(text("right"))]])
    assert [each.text for each in output_turns(a_run(), found)] == ["right"]


def test_a_structured_result_stands_alone() -> None:
    found = [TurnText(turn=1, text="Let me see."), TurnText(turn=2, text="{}")]
    assert [each.text for each in output_turns(a_run(), found)] == ["Let me see.", "{}"]
    assert [each.text for each in output_turns(a_run(output="{}"), found)] == ["{}"]


def test_a_response_says_what_it_went_on_from_and_how_it_was_asked_for() -> None:
    """Not the number before it: that run may have failed, or be gone."""
    body = response_object(a_run(number=7, follows=4, background=False))
    assert (body["previous_response_id"], body["background"]) == (f"resp_{a_run().request.session_id}_4", False)
    body = response_object(a_run(number=7))
    assert (body["previous_response_id"], body["background"]) == (None, True)


def test_the_callers_instructions_are_shown_where_there_are_any() -> None:
    run = a_run_that_is(RunStatus.COMPLETED)
    assert response_object(run)["instructions"] is None
    assert response_object(run, callers=OfCaller(instructions="Be brief."))["instructions"] == "Be brief."


def test_a_refusal_is_one_in_both_shapes() -> None:
    run = a_run_that_is(RunStatus.COMPLETED)
    found = texts_of([[ASKED], [said({"type": "refusal", "refusal": "No."})]])
    response = Response.model_validate(response_object(run, found))
    assert response.output[0].content[0].refusal == "No."  # type: ignore[union-attr]
    (choice,) = chat_completion(run, found)["choices"]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "No.")


def test_a_response_that_was_cut_short_says_so() -> None:
    run = a_run_that_is(RunStatus.INCOMPLETE, incomplete_reason="max_output_tokens", turn=Turn(number=2))
    body = response_object(run, [TurnText(turn=1, text="a"), TurnText(turn=2, text="b")])
    assert [item["status"] for item in body["output"]] == ["completed", "incomplete"]
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert chat_completion(run, [TurnText(turn=2, text="b")])["choices"][0]["finish_reason"] == "length"


def test_every_status_is_a_response_to_the_letter_of_its_types() -> None:
    for status in RunStatus:
        run = a_run_that_is(status)
        response = Response.model_validate(response_object(run, [TurnText(turn=1, text="a")]))
        assert response.status == ("in_progress" if status is RunStatus.REQUIRES_ACTION else status.value)
        assert response.output_text == ("a" if status.terminal else "")


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INCOMPLETE])
def test_a_run_that_did_not_complete_has_no_message_that_looks_like_an_answer(status: RunStatus) -> None:
    """Microsoft's clients show the error on the last message, and none where there is no message."""
    run = a_run_that_is(status, turn=Turn(number=2))
    wordless = response_object(run)["output"]
    assert [(item["status"], item["content"]) for item in wordless] == [("incomplete", [])]
    earlier = response_object(run, [TurnText(turn=1, text="a")])["output"]
    assert [(item["status"], bool(item["content"])) for item in earlier] == [("completed", True), ("incomplete", False)]
    assert len({item["id"] for item in earlier}) == 2


def test_an_answer_has_a_part_even_without_words() -> None:
    (item,) = response_object(a_run_that_is(RunStatus.COMPLETED))["output"]
    assert (item["status"], item["content"]) == ("completed", [text_part("")])


def test_why_a_run_failed_has_all_that_an_error_has() -> None:
    run = a_run_that_is(RunStatus.FAILED, error_code="deadline_exceeded", error_message="Too late.")
    assert response_object(run)["error"] == {
        "code": "deadline_exceeded",
        "message": "Too late.",
        "type": "server_error",
        "param": None,
    }


def test_no_number_is_too_large_for_a_client() -> None:
    many = 2**40
    usage = Usage(input_tokens=many, output_tokens=7, total_tokens=many, cached_tokens=many, reasoning_tokens=many)
    found = response_object(a_run_that_is(RunStatus.COMPLETED, usage=usage))["usage"]
    assert found is not None
    assert (found["total_tokens"], found["output_tokens"]) == (2**31 - 1, 7)
    assert found["input_tokens_details"]["cached_tokens"] == 2**31 - 1
    noted = text_part("a", [{"type": "url_citation", "start_index": many, "end_index": -many, "url": "u"}])
    assert noted["annotations"] == [
        {"type": "url_citation", "start_index": 2**31 - 1, "end_index": 1 - 2**31, "url": "u"}
    ]


def test_half_a_surrogate_pair_is_never_sent() -> None:
    """OpenAI's .NET client fails at one."""
    assert sse({"message": "a\ud83d"}, "error") == b'event: error\ndata: {"message": "a?"}\n\n'


def test_input_is_listed_in_parts() -> None:
    given: list[Item] = [ASKED, {"type": "message", "role": "assistant", "content": "Hi."}]
    listed = input_items(a_run(), given)
    assert [item.get("content") for item in listed] == [[{"type": "input_text", "text": "Go."}], [text_part("Hi.")]]
    assert len({item["id"] for item in listed}) == 2
