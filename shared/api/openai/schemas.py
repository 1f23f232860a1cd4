"""OpenAI's bodies and objects in the contract: what clients use of them. OpenAI describes them in full.

Objects may have more fields than these, and bodies more parameters: some change nothing here, and any that asks for
what this app does not do is refused (``requests.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
OBJECT: Schema = {"type": "object", "additionalProperties": True}


def _field(text: str, schema: Schema) -> Schema:
    return {**schema, "description": text}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _object(word: str, fields: Mapping[str, Schema], *required: str) -> Schema:
    """An object of OpenAI's, by the word in its ``object`` and by those of its fields that are always there."""
    kind = {"const": word, "type": "string", "description": f"What this is: always `{word}`."}
    made: Schema = {"type": "object", "required": ["object", *required], "properties": {"object": kind, **fields}}
    return made | {"additionalProperties": True}


# --- what is sent ---

MODEL_OF_REQUEST = _field("The agent's name.", TEXT)
STREAM = _field(
    "Whether to answer with events, as the text is written. Default: `false`.", _or_null({"type": "boolean"})
)
NOTES = _field(
    "Up to 16 notes of your own, which are kept with the run.",
    {"type": ["object", "null"], "maxProperties": 16, "additionalProperties": TEXT},
)

CREATE_RESPONSE: Schema = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": MODEL_OF_REQUEST,
        "input": {
            "anyOf": [TEXT, {**_list(OBJECT), "minItems": 1}],
            "description": "What the agent is to answer: a text, or messages, of which the last is the user's.",
        },
        "background": _field(
            "Whether to answer at once; the response is then retrieved until it has ended. Default: `false`.",
            _or_null({"type": "boolean"}),
        ),
        "stream": STREAM,
        "metadata": NOTES,
        "previous_response_id": _field("The response to go on from, the latest of its conversation.", _or_null(TEXT)),
    },
}
CREATE_COMPLETION: Schema = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": MODEL_OF_REQUEST,
        "messages": _field(
            "The conversation, of which the last message is the user's.", {**_list(OBJECT), "minItems": 1}
        ),
        "stream": STREAM,
        "metadata": NOTES,
    },
}

# --- what is answered ---

MODEL = _object(
    "model",
    {
        "id": _field("The agent's name.", TEXT),
        "created": _field("Always 0: an agent is code, and has no such time.", WHOLE),
        "owned_by": _field("Always `dormouse`.", TEXT),
        "description": _field("What the agent is for.", TEXT),
    },
    "id",
)
MODELS = _object("list", {"data": _field("The agents; the default one first.", _list(MODEL))}, "data")

RESPONSE = _object(
    "response",
    {
        "id": _field("The response's id: that of its run, in OpenAI's form.", TEXT),
        "status": _field("`queued`, `in_progress`, or one of the final ones.", TEXT),
        "model": _field("The agent's name.", TEXT),
        "output": _field("The agent's messages; empty until the run has ended.", _list(OBJECT)),
        "created_at": _field("When it was submitted, in seconds since 1970.", WHOLE),
        "completed_at": _field("When it ended, in seconds since 1970; null before.", _or_null(WHOLE)),
        "background": _field("Whether it was asked for so.", {"type": "boolean"}),
        "error": _field("Why it failed: `code` and `message`; null unless it did.", _or_null(OBJECT)),
        "incomplete_details": _field("Why it was cut short: `reason`; null unless it was.", _or_null(OBJECT)),
        "usage": _field("Tokens of all turns together; null until the run has ended.", _or_null(OBJECT)),
        "metadata": _field("What its caller noted on it.", {**OBJECT, "additionalProperties": TEXT}),
        "previous_response_id": _field("The response that it goes on from; null for a first one.", _or_null(TEXT)),
    },
    "id",
    "status",
    "model",
    "output",
)
DELETED = _object(
    "response.deleted",
    {
        "id": _field("The id of the response that was deleted.", TEXT),
        "deleted": _field("Always true.", {"const": True, "type": "boolean"}),
    },
    "id",
)
INPUT_ITEMS = _object(
    "list",
    {
        "data": _field("The messages that it answers.", _list(OBJECT)),
        "has_more": _field("Whether there is a next page.", {"type": "boolean"}),
        "first_id": _field("The id of the first item of this page; empty without one.", TEXT),
        "last_id": _field("The id of the last, for `after`; empty without one.", TEXT),
    },
    "data",
)
COMPLETION = _object(
    "chat.completion",
    {
        "id": _field("The completion's id.", TEXT),
        "choices": _field("The one answer, as `message` and `finish_reason`.", _list(OBJECT)),
        "usage": _field("Tokens of all turns together.", OBJECT),
        "created": _field("When it was submitted, in seconds since 1970.", WHOLE),
        "model": _field("The agent's name.", TEXT),
    },
    "id",
    "choices",
    "usage",
)
