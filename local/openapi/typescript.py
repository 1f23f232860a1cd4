"""The schemas of the contract as TypeScript, for the JavaScript client and whoever writes their own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from local.openapi.notation import Notation

HEAD = "// The bodies of the contract. Written by `python -m local.openapi` from shared/api/openapi.json's sources.\n"


def rendered(document: Mapping[str, Any]) -> str:
    """One declaration for each schema."""
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    return HEAD + "".join(f"\n{declared(name, schema)}" for name, schema in schemas.items())


def declared(name: str, schema: Mapping[str, Any]) -> str:
    """An interface for an object, an alias for anything else."""
    comment = _comment(schema, "")
    if "properties" not in schema:
        return f"{comment}export type {name} = {typed(schema)};\n"
    return f"{comment}export interface {name} {{\n{''.join(_members(schema))}}}\n"


typed = Notation(
    plain={"string": "string", "boolean": "boolean", "null": "null", "integer": "number", "number": "number"},
    anything="unknown",
    array="Array<{}>",
    record="Record<string, {}>",
    literals=lambda values: " | ".join(map(json.dumps, values)),
).typed
"""A schema as a type. Raises ``ValueError`` for one that has no notation here."""


def _members(schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, member in schema["properties"].items():
        shown = name if re.fullmatch(r"[A-Za-z_]\w*", name) else json.dumps(name)
        # `undefined` by name: with exactOptionalPropertyTypes a caller could not pass on a value that may be missing.
        kind = f": {typed(member)}" if name in required else f"?: {typed(member)} | undefined"
        yield f"{_comment(member, '  ')}  {shown}{kind};\n"


def _comment(schema: Mapping[str, Any], indent: str) -> str:
    text = schema.get("description", "").replace("*/", "*\\/").split("\n")
    if text == [""]:
        return ""
    if len(text) == 1:
        return f"{indent}/** {text[0]} */\n"
    return "".join((f"{indent}/**\n", *(f"{indent} * {line}".rstrip() + "\n" for line in text), f"{indent} */\n"))
