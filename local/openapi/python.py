"""The schemas of the contract as TypedDicts, for the Python client."""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from local.openapi.notation import Notation

HEAD = '''"""The bodies of the contract. Written by `python -m local.openapi` from the code of the app; not by hand.

An app that is older or newer than this client may leave fields out or have more: nothing is checked when they arrive.
"""

from __future__ import annotations

import sys
from typing import Any, Literal, TypeAlias, TypedDict

if sys.version_info >= (3, 11):
    from typing import NotRequired
else:
    from typing_extensions import NotRequired

VERSION = "{version}"
"""The app's version that this is the contract of, and the client's own."""
'''
WIDTH = 120


def rendered(document: Mapping[str, Any]) -> str:
    """One declaration for each schema. The aliases come last: their right sides are evaluated when they are met."""
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    classes = [_class(name, schema) for name, schema in schemas.items() if "properties" in schema]
    aliases = [_alias(name, schema) for name, schema in schemas.items() if "properties" not in schema]
    head = HEAD.format(version=document["info"]["version"])
    return head + "".join(f"\n\n{each}" for each in classes) + "\n" + "".join(f"\n{each}" for each in aliases)


def _class(name: str, schema: Mapping[str, Any]) -> str:
    lines = [f"class {name}(TypedDict):"]
    body = list(_docstring(schema, "    "))
    for field, member in schema["properties"].items():
        if not field.isidentifier() or keyword.iskeyword(field):
            raise ValueError(f"{name}.{field} cannot be written as a field of a class")
        body += [""] if body else []
        shown = typed(member)
        body.append(f"    {field}: {shown if field in schema.get('required', ()) else f'NotRequired[{shown}]'}")
        body += _docstring(member, "    ")
    return "\n".join([*lines, *body]) + "\n"


def _alias(name: str, schema: Mapping[str, Any]) -> str:
    return "\n".join([f"{name}: TypeAlias = {typed(schema)}", *_docstring(schema, "")]) + "\n"


def _docstring(schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    text = schema.get("description", "").replace("\\", "\\\\").replace('"""', "'''")
    if not text:
        return
    if len(text) <= WIDTH - len(indent) - 6 and "\n" not in text:
        yield f'{indent}"""{text}"""'
        return
    paragraphs = [
        textwrap.wrap(each, WIDTH - len(indent) - (3 if not at else 0), break_long_words=False)
        for at, each in enumerate(text.split("\n\n"))
    ]
    lines = [line for paragraph in paragraphs for line in (*paragraph, "")][:-1]
    yield f'{indent}"""{lines[0]}'
    yield from (f"{indent}{line}".rstrip() for line in lines[1:])
    yield f'{indent}"""'


def _quoted(value: Any) -> str:
    """In double quotes, as everywhere in the code."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)


typed = Notation(
    plain={"string": "str", "boolean": "bool", "null": "None", "integer": "int", "number": "float"},
    anything="Any",
    array="list[{}]",
    record="dict[str, {}]",
    literals=lambda values: f"Literal[{', '.join(map(_quoted, values))}]",
).typed
"""A schema as a type. Raises ``ValueError`` for one that has no notation here."""
