"""JSON Schema of the shapes: TypedDicts for what the app answers with, pydantic models for what it reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from shared.api.http import Problem
from shared.api.openai.http import OpenAIProblem

REF = "#/components/schemas/{model}"
OPEN = (Problem, OpenAIProblem)
"""Shapes that may have more fields than they name."""


def schemas_of(shapes: Iterable[type]) -> dict[str, Any]:
    """The schemas of these and of all that they refer to, by name. Raises ``ValueError`` when two share a name."""
    # A configuration cannot be given for a TypedDict itself; from a list of them they inherit it.
    config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    adapters = [(shape, TypeAdapter(list[shape], config=config)) for shape in shapes]  # type: ignore[valid-type]
    _, found = TypeAdapter.json_schemas(
        [(shape, "validation", adapter) for shape, adapter in adapters], ref_template=REF
    )
    definitions = {name: _tidy(schema) for name, schema in sorted(found["$defs"].items())}
    if doubled := [name for name in definitions if "__" in name]:
        raise ValueError(f"two shapes have the same name: {doubled}")
    for shape, _ in adapters:
        _describe_as_base(definitions, shape)
    for shape in OPEN:
        definitions[shape.__name__].pop("additionalProperties", None)
    return definitions


def _describe_as_base(definitions: dict[str, Any], shape: type) -> None:
    """Take over the descriptions of fields from the shape that this one extends: pydantic reads only its own."""
    for base in getattr(shape, "__orig_bases__", ()):
        fields = definitions.get(getattr(base, "__name__", ""), {}).get("properties", {})
        own = definitions[shape.__name__]["properties"]
        own |= {name: field for name, field in fields.items() if name in own}


def _tidy(schema: Any) -> Any:
    """The schema without the titles that pydantic makes of names (a property may be called ``title``), with paragraphs
    as one line each, and with keys that fit no pattern refused, as pydantic does.
    """
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _tidy(value) for name, value in schema.items() if not (name == "title" and isinstance(value, str))}
    if isinstance(kept.get("description"), str):
        kept["description"] = re.sub(r"(?<!\n)\n(?!\n)", " ", kept["description"].replace("``", "`"))
    if "patternProperties" in kept:
        kept.setdefault("additionalProperties", False)
    return kept
