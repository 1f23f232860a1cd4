"""``/api/v1/chat/completions``: a run as a chat completion, for agents that answer while a request may wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.api.pacing import EventStream
from shared.api.rendering import json_response
from shared.api.v1.chunks import check_ended_well, chunks
from shared.api.v1.keys import owner_of
from shared.api.v1.messages import read_input, unsupported, wrong
from shared.api.v1.objects import completion_object
from shared.api.v1.requests import read_body, read_fields, submission_of, with_key
from shared.api.v1.starting import begin, finished, moment, said_in
from shared.drivers.driver import Driver
from shared.runs.commands.submission import Submission
from shared.wiring import App

OF_RESPONSES = ("background", "previous_response_id", "include", "truncation", "text", "reasoning", "instructions")
"""What belongs to the other API."""


async def create(request: Any, app: App, driver: Driver) -> Any:
    """``POST /api/v1/chat/completions``: the completion, when the run has ended; or its chunks, as they come."""
    since = moment()
    owner = owner_of(request, app.settings)
    body = await read_body(request, app)
    wanted = with_key(_read(body, owner, app), request)
    with app.watching.places.take(owner) as place:  # before anything is begun
        run = await begin(request, wanted, app, driver)
        if wanted.stream:
            return EventStream(chunks(run, app, driver, with_usage=_wants_usage(body), since=since), place.keep())
        run = await finished(request, wanted, run, app, since=since)
    check_ended_well(run)
    return json_response(completion_object(run, await said_in(run, app)))


def _wants_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _read(body: Mapping[str, Any], owner: str, app: App) -> Submission:
    for name in OF_RESPONSES:
        if name in body:
            raise unsupported(name, "Chat Completions have no such parameter.")
    fields = read_fields(body, given="messages")
    messages = body["messages"]
    if not isinstance(messages, list):
        raise wrong("messages", "must be a list of messages, and not empty")
    given = [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]
    return submission_of(fields, read_input(given, param="messages"), owner, app)


def _message(message: Any, param: str) -> Any:
    """A chat message in the shape of the Responses API; what is wrong with it is found there."""
    if not isinstance(message, dict):
        return message
    if message.get("role") in ("tool", "function") or message.get("tool_calls") or message.get("function_call"):
        raise unsupported(param, "the agent's tools run here; leave calls and their results out of the messages.")
    content = message.get("content")
    if isinstance(content, list):
        content = [_part(part) for part in content]
    return {"role": message.get("role"), "content": content}


def _part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "input_text", "text": part.get("text")}
    if kind == "image_url":
        image = part.get("image_url")
        given: Mapping[str, Any] = image if isinstance(image, dict) else {"url": image}
        return {"type": "input_image", "image_url": given.get("url"), "detail": given.get("detail")}
    return part
