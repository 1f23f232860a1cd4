"""The functions that a caller brings: the model may call them, and the caller makes the calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.agentkit.agent import Item

ToolChoice = str | Mapping[str, Any]
"""``required``, or one function by its name, in the notation of the Responses API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallersTools:
    """What a caller brings."""

    definitions: tuple[Item, ...] = ()
    """In the notation of the Responses API; no two have the same name."""

    choice: ToolChoice | None = None
    """What the first turn of the run must call; None: what it likes."""

    parallel: bool | None = None
    """Whether the model may call several at once; None: as the agent has it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the functions."""
        return tuple(each["name"] for each in self.definitions)

    def to_json(self) -> str:
        """As a row holds it; empty for none."""
        if not self.definitions:
            return ""
        return json.dumps(
            {"tools": self.definitions, "choice": self.choice, "parallel": self.parallel}, ensure_ascii=False
        )

    @classmethod
    def from_json(cls, stored: str) -> CallersTools:
        """What a row holds."""
        if not stored:
            return cls()
        given = json.loads(stored)
        return cls(definitions=tuple(given["tools"]), choice=given.get("choice"), parallel=given.get("parallel"))
