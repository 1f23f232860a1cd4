"""What the agent said in a run: one message for each turn that had words. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.agentkit.agent import Item
from shared.api.v1.names import input_id, message_id
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run

OURS = frozenset({"function_call_output", "mcp_approval_response"})
"""Items that this app appended, between two responses of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The words of one turn. ``corrected``: the agent was told that they do not fit, and answered again."""

    turn: int
    text: str = ""
    refusal: str = ""
    annotations: tuple[Mapping[str, Any], ...] = ()
    corrected: bool = False

    @property
    def words(self) -> str:
        """Text and refusal as one, as a stream has them."""
        return self.text + self.refusal


def words_of(items: Iterable[Item]) -> list[Item]:
    """What ``turns_of`` needs of them: the messages, and of the rest its type. What tools return may be long."""
    return [item if "role" in item or item.get("type") == "message" else {"type": item.get("type")} for item in items]


def turns_of(appended: Sequence[Sequence[Item]]) -> list[Said]:
    """What was said in each turn, from a run's items as they were appended: the first are the input."""
    found: list[Said] = []
    turn = 1
    for items, following in itertools.pairwise([*appended[1:], ()]):
        if any(item.get("type") in OURS or item.get("role") == "user" for item in items):
            turn += 1
        else:
            found.append(_said(turn, items, corrected=any(item.get("role") == "user" for item in following)))
    return [said for said in found if said.words]


def shown(run: Run, said: Iterable[Said]) -> list[Said]:
    """The turns whose words are the run's output: not what was corrected, nor words around a structured result."""
    kept = [each for each in said if not each.corrected]
    return kept[-1:] if run.result.output else kept


def message(run: Run, said: Said) -> dict[str, Any]:
    """A turn's words as an output item."""
    cut = run.status is RunStatus.INCOMPLETE and said.turn == run.turn.number
    content: list[dict[str, Any]] = []
    if said.text or not said.refusal:
        content.append(text_part(said.text, said.annotations))
    if said.refusal:
        content.append({"type": "refusal", "refusal": said.refusal})
    return {
        "id": message_id(run, said.turn),
        "type": "message",
        "role": "assistant",
        "status": "incomplete" if cut else "completed",
        "content": content,
    }


def text_part(text: str, annotations: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Text as a content part."""
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def input_items(run: Run, given: Iterable[Item]) -> list[dict[str, Any]]:
    """The run's input as the items of a list."""
    return [
        {
            "id": input_id(run, index),
            "type": "message",
            "role": item["role"],
            "status": "completed",
            "content": _parts(item["role"], item["content"]),
        }
        for index, item in enumerate(given)
    ]


def _parts(role: str, content: Any) -> list[Any]:
    if not isinstance(content, str):
        return list(content)
    return [text_part(content)] if role == "assistant" else [{"type": "input_text", "text": content}]


def _said(turn: int, items: Iterable[Item], *, corrected: bool) -> Said:
    """A response may have several messages, around a search for example: here they are one, in their order."""
    text = refusal = ""
    annotations: list[Mapping[str, Any]] = []
    parts = (part for item in items if item.get("type") == "message" for part in item.get("content") or ())
    for part in parts:
        if part.get("type") == "refusal":
            refusal += part.get("refusal") or ""
        elif part.get("type") == "output_text":
            annotations += [_moved(each, len(text)) for each in part.get("annotations") or ()]
            text += part.get("text") or ""
    return Said(turn=turn, text=text, refusal=refusal, annotations=tuple(annotations), corrected=corrected)


def _moved(annotation: Mapping[str, Any], by: int) -> Mapping[str, Any]:
    """An annotation whose text now has other text before it. A file path's index is no place in the text."""
    places = ("start_index", "end_index") if annotation.get("type") != "file_citation" else ("index",)
    return {
        name: value + by if name in places and isinstance(value, int) else value for name, value in annotation.items()
    }
