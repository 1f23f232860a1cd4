"""What the agent said, as output items: one message a turn, what was corrected left out."""

from __future__ import annotations

from typing import Any

from openai.types.responses import Response

from shared.agentkit.agent import Item
from shared.api.v1.objects import completion_object, response_object
from shared.api.v1.output import Said, input_items, shown, text_part, turns_of
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Turn
from tests.unit.api.conftest import a_run_that_is
from tests.unit.runs.records import a_run

CALL: Item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT: Item = {"type": "function_call_output", "call_id": "c", "output": "x"}
ASKED: Item = {"type": "message", "role": "user", "content": "Go."}


def said(*parts: dict[str, Any]) -> Item:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def text(words: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": list(annotations)}


def test_a_turn_is_a_message_and_one_without_words_is_none() -> None:
    found = turns_of([[ASKED], [said(text("a")), CALL], [OUTPUT], [CALL], [OUTPUT], [said(text("b"))]])
    assert [(each.turn, each.text) for each in found] == [(1, "a"), (3, "b")]


def test_a_history_in_the_input_is_not_what_the_agent_said_now() -> None:
    earlier = {"type": "message", "role": "assistant", "content": "before"}
    assert turns_of([[ASKED, earlier, ASKED], [said(text("now"))]]) == [Said(turn=1, text="now")]


def test_the_messages_of_a_turn_are_one_and_its_citations_move_along() -> None:
    cited = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 2}
    where = {"type": "file_citation", "file_id": "f", "filename": "n", "index": 1}
    path = {"type": "file_path", "file_id": "f", "index": 0}
    (found,) = turns_of(
        [[ASKED], [said(text("abc", cited)), {"type": "web_search_call"}, said(text("d", cited, where, path))]]
    )
    assert found.text == "abcd"
    assert [each.get("start_index", each.get("index")) for each in found.annotations] == [0, 3, 4, 0]
    assert [each["end_index"] for each in found.annotations if "end_index" in each] == [2, 5]


def test_what_was_corrected_is_not_shown() -> None:
    found = turns_of([[ASKED], [said(text("wrong"))], [ASKED], [said(text("right"))]])
    assert [each.text for each in shown(a_run(), found)] == ["right"]


def test_a_structured_result_stands_alone() -> None:
    found = [Said(turn=1, text="Let me see."), Said(turn=2, text="{}")]
    assert [each.text for each in shown(a_run(), found)] == ["Let me see.", "{}"]
    assert [each.text for each in shown(a_run(output="{}"), found)] == ["{}"]


def test_a_response_says_what_it_went_on_from_and_how_it_was_asked_for() -> None:
    """Not the number before it: that run may have failed, or be gone."""
    body = response_object(a_run(number=7, follows=4, background=False))
    assert (body["previous_response_id"], body["background"]) == (f"resp_{a_run().request.session_id}_4", False)
    body = response_object(a_run(number=7))
    assert (body["previous_response_id"], body["background"]) == (None, True)


def test_a_refusal_is_one_in_both_shapes() -> None:
    run = a_run_that_is(RunStatus.COMPLETED)
    found = turns_of([[ASKED], [said({"type": "refusal", "refusal": "No."})]])
    response = Response.model_validate(response_object(run, found))
    assert response.output[0].content[0].refusal == "No."  # type: ignore[union-attr]
    (choice,) = completion_object(run, found)["choices"]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "No.")


def test_a_response_that_was_cut_short_says_so() -> None:
    run = a_run_that_is(RunStatus.INCOMPLETE, incomplete_reason="max_output_tokens", turn=Turn(number=2))
    body = response_object(run, [Said(turn=1, text="a"), Said(turn=2, text="b")])
    assert [item["status"] for item in body["output"]] == ["completed", "incomplete"]
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert completion_object(run, [Said(turn=2, text="b")])["choices"][0]["finish_reason"] == "length"


def test_every_status_is_a_response_to_the_letter_of_its_types() -> None:
    for status in RunStatus:
        run = a_run_that_is(status)
        response = Response.model_validate(response_object(run, [Said(turn=1, text="a")]))
        assert response.status == ("in_progress" if status is RunStatus.REQUIRES_ACTION else status.value)
        assert response.output_text == ("a" if status.terminal else "")


def test_input_is_listed_in_parts() -> None:
    given: list[Item] = [ASKED, {"type": "message", "role": "assistant", "content": "Hi."}]
    listed = input_items(a_run(), given)
    assert [item["content"] for item in listed] == [[{"type": "input_text", "text": "Go."}], [text_part("Hi.")]]
    assert len({item["id"] for item in listed}) == 2
