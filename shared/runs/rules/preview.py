"""What a list and a page show of a run's input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shared.agentkit.agent import Item
from shared.agentkit.lenient import well_formed

PREVIEW_LENGTH = 200
"""Characters of the input's text that a run shows."""

TITLE_LENGTH = 200
"""Characters that a title has at most."""


def preview_of(items: Sequence[Item]) -> str:
    """The beginning of what the caller says last: earlier messages may be the conversation so far."""
    said = [item for item in items if item.get("role") == "user"]
    text = " ".join(_texts(said[-1].get("content"))) if said else ""
    return well_formed(text[:PREVIEW_LENGTH])


def title_of(preview: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in preview.splitlines() if line.strip()), "")[:TITLE_LENGTH]


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(text := part.get("text"), str):
                yield text
