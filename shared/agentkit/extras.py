"""What a provider gives besides the text: citations, the calls of its own tools, summaries of its reasoning.

All of it is for people to read. It is read leniently and cut to size, and never sent back: a replay has the items.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from shared.agentkit.lenient import MAX_WORD, identifier, listed, mapping, text, word
from shared.agentkit.redaction import for_callers

MAX_ANNOTATIONS = 500
"""Annotations of one text that are kept, the first ones."""
MAX_ANNOTATIONS_SIZE = 200_000
"""Characters of their JSON."""
MAX_URL = 2_000
MAX_TITLE = 300
MAX_SUMMARY = 200
"""Characters of what is said of a hosted call."""
MAX_HOSTED_CALLS = 100
"""Calls of hosted tools that a response, and a run, shows, the latest: each wake reads them with the run's row."""
MAX_REASONING = 8_000
"""Characters of the summaries of one response."""

PARAGRAPH = "\n\n"
"""What stands between two summaries."""

RUN_HERE = frozenset({"function_call", "custom_tool_call"})
"""Calls that are the app's to run, though their types end as those of hosted tools do."""

_MAX_INDEX = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A citation, or another mark that the provider has put on its text. What the provider left out is None."""

    type: str
    """The provider's word: ``url_citation``, ``file_citation``, ``container_file_citation``, …"""

    url: str | None = None
    title: str | None = None
    file_id: str | None = None
    filename: str | None = None
    container_id: str | None = None

    start_index: int | None = None
    """Where in the text it begins, in characters; of a mark at one point both are that."""
    end_index: int | None = None
    """Where it ends: the first character after it."""

    def moved(self, before: int | None) -> Annotation:
        """The same mark on a text that has so many characters more in front (None: unknown)."""
        start, end = _moved(self.start_index, before), _moved(self.end_index, before)
        return replace(self, start_index=start, end_index=end)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedCall:
    """What one of the provider's own tools did, or is doing."""

    id: str
    """The provider's, or one that tells it from the others of its response."""
    type: str
    """The provider's word: ``web_search_call``, ``mcp_call``, …"""
    status: str
    """The provider's word: ``in_progress``, ``completed``, ``failed``, …"""

    summary: str = ""
    """What it was about, on one line: the query, the first line of the code, the tool and its arguments."""

    error: str = ""
    """Why it failed; empty unless it did."""

    turn: int = 0
    """The turn of the run; 0 where only a response is known."""


def annotations_of(items: Iterable[Mapping[str, Any]]) -> tuple[Annotation, ...]:
    """The annotations of the message items, their indices counted from the start of their text (``agent.text_of``)."""
    found: list[Annotation] = []
    before = 0
    parts = (part for item in items if item.get("type") == "message" for part in listed(item.get("content")))
    for part in parts:
        room = MAX_ANNOTATIONS - len(found)
        if room == 0:
            break
        given = listed(part.get("annotations")) if part.get("type") == "output_text" else []
        found += [each for one in given[:room] if (each := annotation(one, before)) is not None]
        before += len(_said(part))
    return tuple(found)


def annotation(given: Any, before: int | None = 0) -> Annotation | None:
    """One annotation, or None for what is none.

    ``before``: the characters of the text in front of the part that it belongs to; None where that is unknown.
    """
    given = mapping(given)
    kind = word(given.get("type"))
    if kind is None:
        return None
    # Servers that come from Chat Completions nest the fields under the type's name.
    given = {**given, **mapping(given.get(kind))}
    start, end = given.get("start_index"), given.get("end_index")
    # The `index` of a citation is its place in the text; that of a `file_path` is one in the list of files.
    if kind == "file_citation" and start is None:
        start = end = given.get("index")
    return Annotation(
        type=kind,
        url=word(given.get("url"), MAX_URL),
        title=word(given.get("title"), MAX_TITLE),
        file_id=identifier(given.get("file_id")) or None,
        filename=word(given.get("filename"), MAX_TITLE),
        container_id=identifier(given.get("container_id")) or None,
        start_index=_moved(start, before),
        end_index=_moved(end, before),
    )


def annotations_to_json(annotations: Sequence[Annotation]) -> str:
    """The annotations as a row holds them: as many of the first as there is room for; empty without any."""
    kept: list[str] = []
    size = 0
    for each in annotations:
        line = json.dumps(
            {name: value for name, value in asdict(each).items() if value is not None}, ensure_ascii=False
        )
        size += len(line) + 1
        if size > MAX_ANNOTATIONS_SIZE:
            break
        kept.append(line)
    return f"[{','.join(kept)}]" if kept else ""


def annotations_from_json(stored: str) -> tuple[Annotation, ...]:
    """The annotations that a row holds."""
    names = {field.name for field in fields(Annotation)}
    # A later version may have written more of each.
    return tuple(
        Annotation(**{name: value for name, value in each.items() if name in names})
        for each in (json.loads(stored) if stored else ())
    )


def hosted_calls_of(items: Iterable[Mapping[str, Any]]) -> tuple[HostedCall, ...]:
    """The calls of the provider's own tools among the items, in order: the latest, up to a number."""
    # Chosen first: each takes its time to read, and a provider may send thousands.
    hosted = [(index, item) for index, item in enumerate(items) if _hosted_kind(item) is not None]
    calls = (hosted_call(item, index, status="completed") for index, item in hosted[-MAX_HOSTED_CALLS:])
    return tuple(call for call in calls if call is not None)


def hosted_call(item: Any, index: int, *, status: str) -> HostedCall | None:
    """The call that the item at that place of a response is; None for any other. ``status``: where it has none."""
    item = mapping(item)
    kind = _hosted_kind(item)
    if kind is None:
        return None
    error = item.get("error")
    message = mapping(error).get("message") or mapping(error).get("code") or error
    said = for_callers(_line(message)) if error else ""
    return HostedCall(
        id=identifier(item.get("id"), MAX_WORD) or f"{kind}_{index}",
        type=kind,
        status=word(item.get("status")) or ("failed" if said else status),
        summary=_line(_SUMMARIES.get(kind, _of_any)(item)),
        error=said,
    )


def reasoning_of(items: Iterable[Mapping[str, Any]]) -> str:
    """The summaries of the model's reasoning. Its thoughts themselves, where a server sends them, are never shown."""
    parts = (part for item in items if item.get("type") == "reasoning" for part in listed(item.get("summary")))
    found: list[str] = []
    size = 0
    for part in parts:
        said = text(part.get("text"), MAX_REASONING).strip() if part.get("type") == "summary_text" else ""
        found += [said] if said else []
        size += len(said)
        if size > MAX_REASONING:
            break
    whole = PARAGRAPH.join(found)
    return whole if len(whole) <= MAX_REASONING else f"{whole[: MAX_REASONING - 1]}…"


def _hosted_kind(item: Mapping[str, Any]) -> str | None:
    kind = word(item.get("type"))
    return None if kind is None or not kind.endswith("_call") or kind in RUN_HERE else kind


def _said(part: Mapping[str, Any]) -> str:
    said = part.get({"output_text": "text", "refusal": "refusal"}.get(str(part.get("type")), ""))
    return said if isinstance(said, str) else ""


def _moved(index: Any, before: int | None) -> int | None:
    if before is None or type(index) is not int or not 0 <= index <= _MAX_INDEX:
        return None
    return index + before


def _line(value: Any) -> str:
    """A text, or texts, on one line of at most so many characters."""
    if isinstance(value, list | tuple):
        value = ", ".join(text(each, MAX_SUMMARY) for each in value[:MAX_SUMMARY])
    # Cut before it is split: code may have megabytes.
    line = " ".join(text(value, 10 * MAX_SUMMARY).split())
    return line if len(line) <= MAX_SUMMARY else f"{line[: MAX_SUMMARY - 1]}…"


def _of_search(item: Mapping[str, Any]) -> Any:
    action = mapping(item.get("action"))
    return action.get("query") or action.get("queries") or action.get("pattern") or action.get("url")


def _of_code(item: Mapping[str, Any]) -> Any:
    lines = text(item.get("code"), 10 * MAX_SUMMARY).splitlines()
    return next((line for line in lines if line.strip()), "")


def _of_mcp(item: Mapping[str, Any]) -> Any:
    server, name = text(item.get("server_label"), MAX_WORD), text(item.get("name"), MAX_WORD)
    return f"{server}.{name} {text(item.get('arguments'), MAX_SUMMARY)}"


def _of_action(item: Mapping[str, Any]) -> Any:
    action = mapping(item.get("action")) or mapping(item.get("operation"))
    return action.get("command") or action.get("commands") or action.get("path") or action.get("type")


def _of_any(item: Mapping[str, Any]) -> Any:
    return next((item[name] for name in ("query", "queries", "name", "url") if item.get(name)), _of_action(item))


_SUMMARIES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "web_search_call": _of_search,
    "file_search_call": lambda item: item.get("queries"),
    "code_interpreter_call": _of_code,
    "image_generation_call": lambda item: item.get("revised_prompt"),
    "mcp_call": _of_mcp,
    "computer_call": _of_action,
    "local_shell_call": _of_action,
    "shell_call": _of_action,
    "apply_patch_call": _of_action,
}
