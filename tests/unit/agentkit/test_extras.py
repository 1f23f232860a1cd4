"""Citations, hosted tools' calls and summaries of reasoning: read from whatever a provider sends."""

from __future__ import annotations

from typing import Any

import pytest

from shared.agentkit import extras
from shared.agentkit.agent import UpdateKind, text_of
from shared.agentkit.extras import (
    MAX_ANNOTATIONS,
    MAX_REASONING,
    MAX_SUMMARY,
    Annotation,
    annotation,
    annotations_from_json,
    annotations_of,
    annotations_to_json,
    hosted_calls_of,
    reasoning_of,
)
from shared.agentkit.items import read_items
from shared.agentkit.responses import read_event
from tests.parts.cases import cases

URL = "https://example.com/a"


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def text(words: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": list(annotations)}


def cited(start: int, end: int, **more: Any) -> dict[str, Any]:
    return {"type": "url_citation", "url": URL, "title": "A", "start_index": start, "end_index": end, **more}


def test_citations_of_later_messages_count_from_the_start_of_the_whole_text() -> None:
    items = read_items(
        [
            said(text("One. ", cited(0, 3)), {"type": "refusal", "refusal": "No. "}),
            {"type": "web_search_call", "id": "ws_1"},
            said(text("Two.", cited(0, 3), {"type": "file_citation", "file_id": "f", "filename": "n", "index": 2})),
        ]
    )
    whole, found = text_of(items), annotations_of(items)
    assert [whole[each.start_index : each.end_index] for each in found] == ["One", "Two", ""]
    assert (found[2].start_index, found[2].filename) == (11, "n")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (cited(1, 2), Annotation(type="url_citation", url=URL, title="A", start_index=1, end_index=2)),
        ({"type": "file_path", "file_id": "f", "index": 3}, Annotation(type="file_path", file_id="f")),
        ({"type": "url_citation", "url_citation": {"url": URL}}, Annotation(type="url_citation", url=URL)),
        ({"type": "new_kind", "start_index": -1, "end_index": 2**40}, Annotation(type="new_kind")),
        ({"type": "x", "url": ["u"], "title": {"a": 1}, "start_index": True}, Annotation(type="x")),
        ({"type": "x", "title": "t\ud800"}, Annotation(type="x", title="t\ufffd")),
        ({"url": URL}, None),
        ("url_citation", None),
    ],
)
def test_an_annotation_is_read_leniently(given: Any, wanted: Annotation | None) -> None:
    assert annotation(given) == wanted


def test_where_the_beginning_of_the_text_is_unknown_so_are_the_places() -> None:
    found = annotation(cited(1, 2), None)
    assert found is not None
    assert (found.url, found.start_index, found.end_index) == (URL, None, None)


def test_annotations_are_kept_up_to_a_number_and_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    many = annotations_of([said(*(text("a", *[cited(0, 1)] * 400) for _ in range(3)))])
    assert len(many) == MAX_ANNOTATIONS
    assert annotations_from_json(annotations_to_json(many)) == many
    monkeypatch.setattr(extras, "MAX_ANNOTATIONS_SIZE", 1_000)
    stored = annotations_to_json(many)
    assert len(stored) <= 1_001
    assert annotations_from_json(stored) == many[: len(annotations_from_json(stored))]
    assert annotations_to_json(()) == ""
    assert annotations_from_json("") == ()
    assert annotations_from_json('[{"type": "x", "later": 1}]') == (Annotation(type="x"),)


@cases(
    ("item", "summary"),
    [
        ({"type": "web_search_call", "action": {"type": "search", "query": "moons of\n Mars"}}, "moons of Mars"),
        ({"type": "web_search_call", "action": {"type": "search", "queries": ["a", "b"]}}, "a, b"),
        ({"type": "web_search_call", "action": {"type": "open_page", "url": URL}}, URL),
        ({"type": "web_search_call", "action": {"type": "find_in_page", "url": URL, "pattern": "ice"}}, "ice"),
        ({"type": "web_search_call"}, ""),
        ({"type": "file_search_call", "queries": ["one", "two", 3]}, "one, two, 3"),
        ({"type": "code_interpreter_call", "code": "\n\nimport math\nprint(1)"}, "import math"),
        ({"type": "code_interpreter_call", "code": None}, ""),
        ({"type": "image_generation_call", "revised_prompt": "A dormouse", "result": "iVBO"}, "A dormouse"),
        ({"type": "mcp_call", "server_label": "crm", "name": "find", "arguments": '{"id": 7}'}, 'crm.find {"id": 7}'),
        ({"type": "computer_call", "action": {"type": "click", "x": 1}}, "click"),
        ({"type": "shell_call", "action": {"commands": ["ls", "pwd"]}}, "ls, pwd"),
        ({"type": "apply_patch_call", "operation": {"type": "update_file", "path": "a.py"}}, "a.py"),
        ({"type": "tool_search_call", "query": "weather"}, "weather"),
        ({"type": "brand_new_call", "action": "nothing"}, ""),
        ({"type": "web_search_call", "action": {"query": "q" * 9_000}}, "q" * (MAX_SUMMARY - 1) + "…"),
        ({"type": "file_search_call", "queries": {"a": 1}}, ""),
    ],
)
def test_a_hosted_call_says_what_it_was_about(item: dict[str, Any], summary: str) -> None:
    (call,) = hosted_calls_of([item])
    assert (call.type, call.summary, call.status) == (item["type"], summary, "completed")


def test_what_is_run_here_is_no_hosted_call() -> None:
    kinds = ["function_call", "custom_tool_call", "message", "reasoning", "mcp_approval_request", 7, None]
    assert hosted_calls_of([{"type": kind} for kind in kinds]) == ()


def test_calls_without_ids_stay_apart_and_a_failed_one_says_why_without_secrets() -> None:
    plain: dict[str, Any] = {"type": "mcp_call", "server_label": "s", "name": "n"}
    error = {"type": "http_error", "code": 500, "message": "no answer from http://10.0.0.8/x?key=secret"}
    calls = hosted_calls_of([plain, plain, {**plain, "error": error}, {**plain, "id": "m" * 500, "error": "gone"}])
    assert len({call.id for call in calls}) == 4
    assert [call.status for call in calls] == ["completed", "completed", "failed", "failed"]
    assert calls[3].error == "gone"
    assert "10.0.0.8" not in calls[2].error
    assert "secret" not in calls[2].error
    assert calls[2].error.startswith("no answer")
    assert max(len(call.id) for call in calls) <= 100


def test_of_thousands_of_calls_the_latest_are_read() -> None:
    items = [{"type": "web_search_call", "action": {"query": str(number)}, "error": "no"} for number in range(10_000)]
    calls = hosted_calls_of(items)
    assert [call.summary for call in calls] == [str(number) for number in range(9_900, 10_000)]
    assert calls[-1].id == "web_search_call_9999"


def test_reasoning_is_the_summaries_and_never_the_thoughts() -> None:
    items = [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": " "}],
            "content": [{"type": "reasoning_text", "text": "my very own thoughts"}],
        },
        {"type": "reasoning", "summary": None},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Then."}, {"type": "other", "text": "x"}]},
    ]
    assert reasoning_of(items) == "First.\n\nThen."
    long = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "a" * 9_000}] * 5}]
    assert len(reasoning_of(long)) == MAX_REASONING


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"type": "response.output_text.annotation.added", "annotation": cited(1, 2)}, UpdateKind.ANNOTATION),
        ({"type": "response.output_text.annotation.added", "annotation": ["no"], "output_index": "x"}, None),
        ({"type": "response.output_text.annotation.added"}, None),
        ({"type": "response.output_item.added", "item": {"type": "web_search_call"}}, UpdateKind.HOSTED_CALL),
        ({"type": "response.output_item.done", "item": {"type": "message"}}, None),
        ({"type": "response.output_item.done", "item": 7}, None),
        ({"type": "response.reasoning_summary_text.delta", "delta": "half \ud83d"}, UpdateKind.REASONING),
        ({"type": "response.reasoning_summary_text.delta", "delta": {"text": "no"}}, None),
        ({"type": "response.reasoning_summary_part.done"}, UpdateKind.REASONING),
        ({"type": "response.reasoning_text.delta", "delta": "my very own thoughts"}, None),
        ({"type": "response.of_tomorrow", "item": {"type": "web_search_call"}}, None),
    ],
)
def test_what_is_streamed_beside_the_text_is_read_leniently(event: dict[str, Any], kind: UpdateKind | None) -> None:
    update = read_event(event, 7)
    assert (None if update is None else update.kind) is kind
    if update is not None:
        assert update.sequence == 7


def test_a_call_that_has_no_status_is_what_its_event_says() -> None:
    item = {"type": "web_search_call"}
    for name, status in (("added", "in_progress"), ("done", "completed")):
        update = read_event({"type": f"response.output_item.{name}", "item": item, "output_index": 2}, 1)
        assert update is not None
        assert update.hosted_call is not None
        assert (update.hosted_call.status, update.hosted_call.id) == (status, "web_search_call_2")
