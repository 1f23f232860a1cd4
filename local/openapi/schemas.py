"""JSON Schema of the shapes: TypedDicts for what the app answers with, pydantic models for what it reads."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

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
    for model in _models():
        if model.__name__ in definitions:
            _describe_body(definitions[model.__name__], model)
    for shape in OPEN:
        definitions[shape.__name__].pop("additionalProperties", None)
    return definitions


def _models(root: type[BaseModel] = BaseModel) -> Iterator[type[BaseModel]]:
    for each in root.__subclasses__():
        if each.__module__.startswith("shared.api."):
            yield each
        yield from _models(each)


def _describe_body(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Take over the docstrings of the fields, with the defaults in words.

    pydantic can read docstrings itself, but would do so whenever the app starts. And where a schema has a ``default``,
    generators make the field one that is always there, even in a request, which then need not have it.
    """
    texts: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if each.__module__.startswith("shared.api."):
            texts |= dict(_field_docstrings(each))
    for name, field in schema["properties"].items():
        default = field.pop("default", None)
        if name in texts:
            field["description"] = _one_line(texts[name])
        if default not in (None, "", {}, []):
            field["description"] = f"{field.get('description', '')} Default: `{json.dumps(default)}`.".lstrip()


def _field_docstrings(shape: type) -> Iterator[tuple[str, str]]:
    """The text under each field of a class."""
    (found,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(shape))).body
    assert isinstance(found, ast.ClassDef)
    for field, text in zip(found.body, found.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                yield name, inspect.cleandoc(said)


def _describe_as_base(definitions: dict[str, Any], shape: type) -> None:
    """Take over the descriptions of fields from the shape that this one extends: pydantic reads only its own."""
    for base in getattr(shape, "__orig_bases__", ()):
        if getattr(base, "__name__", "") in definitions:
            _describe_as_base(definitions, base)  # which may have its own from another
        fields = definitions.get(getattr(base, "__name__", ""), {}).get("properties", {})
        own = definitions[shape.__name__]["properties"]
        own |= {name: field for name, field in fields.items() if name in own}


def _tidy(schema: Any) -> Any:
    """The schema without the titles that pydantic makes of names (a property may be called ``title``), with paragraphs
    as one line each, and with the pattern of keys where generators look for it: of ``patternProperties`` they would
    make an object without any field.
    """
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _tidy(value) for name, value in schema.items() if not (name == "title" and isinstance(value, str))}
    if isinstance(kept.get("description"), str):
        kept["description"] = _one_line(kept["description"])
    if "patternProperties" in kept:
        ((pattern, values),) = kept.pop("patternProperties").items()
        kept |= {"additionalProperties": values, "propertyNames": {**kept["propertyNames"], "pattern": pattern}}
    return kept


def _one_line(text: str) -> str:
    """A docstring with a line for each paragraph."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text.strip().replace("``", "`"))
