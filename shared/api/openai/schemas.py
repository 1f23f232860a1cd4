"""OpenAI's bodies and objects in the contract: what clients use of them. OpenAI describes them in full.

Objects may have more fields than these, and bodies more parameters: some change nothing here, and any that asks for
what this app does not do is refused (``requests.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.api.openai.positions import MAX_NUMBER

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
# OpenAI's .NET client reads each as an `int`.
WHOLE: Schema = {"type": "integer", "format": "int32", "minimum": 0, "maximum": MAX_NUMBER}
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
            "description": "What the agent is to answer: a text, or messages and references to them.",
        },
        "background": _field(
            "Whether to answer at once; the response is then retrieved until it has ended. Default: `false`.",
            _or_null({"type": "boolean"}),
        ),
        "stream": STREAM,
        "metadata": NOTES,
        "previous_response_id": _field(
            "The response to go on from. One that was gone on from before begins a branch of its conversation.",
            _or_null(TEXT),
        ),
    },
}
CREATE_COMPLETION: Schema = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": MODEL_OF_REQUEST,
        "messages": _field("The conversation.", {**_list(OBJECT), "minItems": 1}),
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

TOKENS: Schema = {"type": "object", "additionalProperties": WHOLE}
USAGE: Schema = {
    "type": ["object", "null"],
    "required": ["input_tokens", "output_tokens", "total_tokens"],
    "properties": {
        "input_tokens": _field("Tokens of the input.", WHOLE),
        "input_tokens_details": _field("Some of them by kind.", TOKENS),
        "output_tokens": _field("Tokens of the output.", WHOLE),
        "output_tokens_details": _field("Some of them by kind.", TOKENS),
        "total_tokens": _field("Both together.", WHOLE),
    },
    "description": "Tokens of all turns together; null until the run has ended.",
}
ERROR: Schema = {
    "type": ["object", "null"],
    "required": ["code", "message", "type", "param"],
    "properties": {
        "code": _field("A stable word for programs.", TEXT),
        "message": _field("A sentence for people.", TEXT),
        "type": _field("Always `server_error`.", TEXT),
        "param": _field("Always null.", {"type": "null"}),
    },
    "description": "Why it failed; null unless it did.",
}
RESPONSE = _object(
    "response",
    {
        "id": _field("The response's id: that of its run, in OpenAI's form.", TEXT),
        "status": _field("`queued`, `in_progress`, or one of the final ones.", TEXT),
        "model": _field("The agent's name.", TEXT),
        "output": _field(
            "The agent's messages; empty until the run has ended. The last turn always has one: that of a run that "
            "failed, was cancelled or was cut short is `incomplete`, and without content where there were no words.",
            _list(OBJECT),
        ),
        "created_at": _field("When it was submitted, in seconds since 1970.", WHOLE),
        "completed_at": _field("When it ended, in seconds since 1970; null before.", _or_null(WHOLE)),
        "background": _field("Whether it was asked for so.", {"type": "boolean"}),
        "error": ERROR,
        "incomplete_details": _field("Why it was cut short: `reason`; null unless it was.", _or_null(OBJECT)),
        "usage": USAGE,
        "metadata": _field("What its caller noted on it.", {**OBJECT, "additionalProperties": TEXT}),
        "previous_response_id": _field("The response that it goes on from; null for a first one.", _or_null(TEXT)),
        "instructions": _field(
            "Those of its caller, where they follow the agent's own; null without any, or where they are read as a "
            "message.",
            _or_null(TEXT),
        ),
    },
    "id",
    "status",
    "model",
    "output",
)
RESPONSE_EVENT: Schema = {
    "type": "object",
    "required": ["type", "sequence_number"],
    "properties": {
        "type": _field("The kind of the event. Others may come: pass over them.", TEXT),
        "sequence_number": _field("Grows, with gaps. `starting_after` goes on after it.", WHOLE),
        "output_index": _field("The message, by its place in the output of the ended response.", WHOLE),
        "content_index": _field("The part of the message.", WHOLE),
        "response": _field("The response, in the events of its beginning and end.", RESPONSE),
    },
    "additionalProperties": True,
}
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
