"""Answers of `/api/v1` held against the types of OpenAI's own Python client: nothing missing, and nothing besides."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseItemList
from pydantic import BaseModel, ValidationError

from tests.parts.strict_reader import TYPES, unreadable

DONE = "[DONE]"

BESIDES = {
    "ResponseError": {"type", "param"},
    "Response": {"store"},
    "Model": {"description"},
    "ResponseFunctionCallArgumentsDoneEvent": {"name"},
}
"""Fields that the app sends beside those of OpenAI's types.

An error says the same of itself wherever it stands; `store` is sent by OpenAI's API, too; what an agent does is ours.
The name of a function whose arguments are done is in the types of some versions (2.54, 3.3) and not of others.
"""

LEFT_OUT = {
    *("access_programs", "conversation", "image", "input_transformations", "moderation", "prompt", "prompt_cache_key"),
    *("prompt_cache_diagnostics", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "tool_usage"),
}
"""Fields of a response that belong to what was not asked for."""

ANSWERS = {
    r"/responses(/[^/]+(/cancel)?)?": Response,
    r"/responses/[^/]+/input_items": ResponseItemList,
    r"/chat/completions": ChatCompletion,
    r"/models/[^/]+": Model,
}
"""What is answered, by the address below that of the face."""


def problems_of(method: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> list[str]:
    """What in an answer is not as OpenAI's types have it."""
    kind = headers.get("content-type", "")
    if status >= 400:
        return [] if kind.startswith("application/json") and is_error(json.loads(body)) else [f"no error: {body!r}"]
    if kind.startswith("text/event-stream"):
        return [found for event in events_of(body) for found in problems_of_event(event)]
    answer, path = json.loads(body), _below(url)
    found = [f"unreadable: {each!r}" for each in unreadable(answer)]
    if method == "DELETE":
        return found if answer.keys() == {"id", "object", "deleted"} else [*found, f"deleted: {answer}"]
    if path == "/models":
        found += [] if answer.keys() == {"object", "data"} else [f"a list: {answer.keys()}"]
        return found + [each for model in answer["data"] for each in problems(Model, model)]
    for pattern, typed in ANSWERS.items():
        if re.fullmatch(pattern, path):
            return found + problems(typed, answer)
    return [*found, f"nobody has a type for {path}"]


def problems_of_event(event: Any) -> list[str]:
    """The same of an event of a stream."""
    if event == DONE:
        return []
    found = [f"unreadable: {each!r}" for each in unreadable(event)]
    if event.get("object") == "chat.completion.chunk":
        return found + problems(ChatCompletionChunk, event)
    if event.keys() == {"error"}:
        return found + ([] if is_error(event) else [f"no error: {event}"])
    return found + problems(TYPES[event["type"]], event)


def problems(typed: type[BaseModel], data: Any) -> list[str]:
    """What is wrong with this as a value of that type: missing, of another type, or besides."""
    try:
        value = typed.model_validate(_with_known_code(data))
    except ValidationError as error:
        return [f"{typed.__name__}.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return [*_besides(value), *_left_out(data)]


def is_error(answer: Any) -> bool:
    """Whether an error has what OpenAI's clients show of it."""
    error = answer.get("error") if isinstance(answer, dict) else None
    words = ("message", "type", "code")
    return isinstance(error, dict) and "param" in error and all(isinstance(error.get(word), str) for word in words)


def events_of(body: bytes) -> list[Any]:
    """The events of a stream, as far as each is whole: an event ends with an empty line."""
    whole = body.decode(errors="ignore").split("\n\n")[:-1]
    lines = [line[6:] for event in whole for line in event.splitlines() if line.startswith("data: ")]
    return [line if line == DONE else json.loads(line) for line in lines]


def _below(url: str) -> str:
    """The address below that of the face, however the client came there."""
    path = urlsplit(url).path.partition("/api/v1")[2]
    return re.sub(r"^/openai(/v1|/deployments/[^/]+)?", "", path)


def _with_known_code(data: Any) -> Any:
    # OpenAI's type names its own codes alone. Ours say more, and its clients take any.
    if isinstance(data, dict) and isinstance(data.get("response"), dict):
        return {**data, "response": _with_known_code(data["response"])}
    if isinstance(data, dict) and data.get("object") == "response" and data.get("error"):
        return {**data, "error": {**data["error"], "code": "server_error"}}
    return data


def _besides(value: Any) -> Iterator[str]:
    if isinstance(value, BaseModel):
        name = type(value).__name__
        if more := (value.model_extra or {}).keys() - BESIDES.get(name, set()):
            yield f"{name} has {sorted(more)} besides"
        for field in value.model_fields_set & type(value).model_fields.keys():
            yield from _besides(getattr(value, field))
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _besides(each)


def _left_out(data: Any) -> Iterator[str]:
    if isinstance(data, dict) and data.get("object") == "response":
        if less := Response.model_fields.keys() - data.keys() - LEFT_OUT:
            yield f"the response lacks {sorted(less)}"
    elif isinstance(data, dict) and "response" in data:
        yield from _left_out(data["response"])
