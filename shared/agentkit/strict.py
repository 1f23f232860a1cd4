"""The subset of JSON Schema that strict function calling takes: a provider is then held to the schema."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

# With any other keyword in a strict schema OpenAI refuses the whole request.
_STRICT_KEYWORDS = frozenset(
    [
        "type",
        "description",
        "properties",
        "required",
        "additionalProperties",
        "$defs",
        "$ref",
        "items",
        "anyOf",
        "enum",
        "const",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
    ]
)
_STRICT_FORMATS = frozenset(["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"])


def strict_schema(schema: Json) -> Json:
    """The schema as strict function calling wants it: every property required, nothing else allowed.

    An object of free keys (``dict``) stays as it is.
    """

    def clean(node: Any) -> Any:
        if isinstance(node, list):
            return [clean(each) for each in node]
        if not isinstance(node, dict):
            return node
        # Strict mode takes neither defaults nor ``oneOf``; titles only cost tokens.
        kept = {
            {"oneOf": "anyOf"}.get(key, key): {name: clean(each) for name, each in value.items()}
            if key in ("properties", "$defs")
            else clean(value)
            for key, value in node.items()
            if key not in ("title", "default", "discriminator")
        }
        if kept.get("type") == "object" and (kept.get("properties") or not kept.get("additionalProperties")):
            kept.setdefault("properties", {})
            kept["required"] = list(kept["properties"])
            kept["additionalProperties"] = False
        if "$ref" in kept and len(kept) > 1:  # strict mode takes nothing beside a reference
            kept["anyOf"] = [{"$ref": kept.pop("$ref")}]
        return kept

    cleaned: Json = clean(schema)
    return cleaned


def is_strict(schema: Any) -> bool:
    """Whether a closed schema keeps to the subset of JSON Schema that strict function calling takes."""
    if not isinstance(schema, dict) or not schema.keys() & {"type", "$ref", "anyOf", "enum", "const"}:
        return False
    if not schema.keys() <= _STRICT_KEYWORDS or schema.get("format", "uuid") not in _STRICT_FORMATS:
        return False
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return False
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
    return all(map(is_strict, [*inner, *([schema["items"]] if "items" in schema else [])]))
