"""Schemas as types, in the notation of one language or another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Notation:
    """How a language writes types."""

    plain: Mapping[str, str]
    """What the types without members are called, by their JSON Schema names."""

    anything: str
    """A value of any type."""

    array: str
    """A list; ``{}`` is the type of its items."""

    record: str
    """An object with keys of any name; ``{}`` is the type of its values."""

    literals: Callable[[Sequence[Any]], str]
    """One of these values."""

    def typed(self, schema: Mapping[str, Any]) -> str:
        """A schema as a type. Raises ``ValueError`` for one that has no notation here."""
        if "$ref" in schema:
            return str(schema["$ref"].rsplit("/", 1)[1])
        for alternatives in ("anyOf", "oneOf"):
            if alternatives in schema:
                return " | ".join(dict.fromkeys(self.typed(each) for each in schema[alternatives]))
        if "const" in schema:
            return self.literals([schema["const"]])
        if "enum" in schema:
            return self.literals(schema["enum"])
        match schema.get("type"):
            case None:
                return self.anything
            case "array":
                return self.array.format(self.typed(schema["items"]))
            case "object":
                more = schema.get("additionalProperties", True)
                more = next(iter(schema.get("patternProperties", {}).values()), more)
                return self.record.format(self.typed(more) if isinstance(more, dict) else self.anything)
            case kind if kind in self.plain:
                return self.plain[kind]
        raise ValueError(f"no notation for {schema}")
