"""The messages of a chat as items of the Responses API, whose reader finds what is wrong with them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.agentkit.agent import Item
from shared.api.openai.parameters import unsupported
from shared.errors import NoSuchToolCall, ToolOutputsMissing


def to_items(messages: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """The items, and for each the place of its message. Only the form is changed: whatever is wrong stays.

    Raises ``UnsupportedParameter`` for what came before tools.
    """
    items: list[Any] = []
    places: list[str] = []
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        made = _items_of(message, place) if isinstance(message, dict) else [message]
        items += made
        places += [place] * len(made)
    return items, places


def check_calls(items: Sequence[Mapping[str, Any]], places: Sequence[str]) -> None:
    """That each call has its message of the role `tool` after it; ``items`` fit, and ``places`` says where they are.

    Raises ``NoSuchToolCall``, ``ToolOutputsMissing``, in the words of this API.
    """
    waiting: list[str] = []
    for item, place in zip(items, places, strict=True):
        if item.get("type") == "function_call":
            waiting.append(item["call_id"])
        elif item.get("type") == "function_call_output":
            if item["call_id"] not in waiting:
                raise NoSuchToolCall(
                    f"No call with the id {item['call_id'][:64]!r} waits for this message. Send the assistant's "
                    "message that has the call before it.",
                    param=f"{place}.tool_call_id",
                )
            waiting.remove(item["call_id"])
    if waiting:
        raise ToolOutputsMissing(
            f"No message of the role `tool` answers the call {waiting[0][:64]!r}. Send one for each call, behind the "
            "message that has it.",
            param="messages",
        )


def _items_of(message: Mapping[str, Any], param: str) -> list[Any]:
    role, calls = message.get("role"), message.get("tool_calls")
    if role == "function" or message.get("function_call"):
        raise unsupported(param, "`functions` are not taken here. Send `tools`, with messages of the role `tool`.")
    if role == "tool":
        return [_output_of(message)]
    if not calls:
        return [_message_of(message)]
    # A message that only calls has no words, and none would be read from it.
    said = [_message_of(message)] if message.get("content") else []
    return [*said, *(_call_of(each) for each in (calls if isinstance(calls, list) else [calls]))]


def _message_of(message: Mapping[str, Any]) -> Item:
    content = message.get("content")
    if isinstance(content, list):
        content = [_to_response_part(part) for part in content]
    if content is None and message.get("role") == "assistant" and isinstance(message.get("refusal"), str):
        content = message["refusal"]
    return {"role": message.get("role"), "content": content}


def _output_of(message: Mapping[str, Any]) -> Item:
    content = message.get("content")
    if isinstance(content, list):
        content = [_to_response_part(part) for part in content]
    call_id = message.get("tool_call_id")
    return {"type": "function_call_output", "call_id": call_id, "output": "" if content is None else content}


def _call_of(call: Any) -> Item:
    call = call if isinstance(call, dict) else {}
    function = call.get("function")
    called: Mapping[str, Any] = function if isinstance(function, dict) else {}
    return {"type": "function_call", "call_id": call.get("id"), **{n: called.get(n) for n in ("name", "arguments")}}


def _to_response_part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "input_text", "text": part.get("text")}
    if kind == "image_url":
        # Some clients send the address itself in place of an object.
        image = part.get("image_url")
        fields: Mapping[str, Any] = image if isinstance(image, dict) else {"url": image}
        return {"type": "input_image", "image_url": fields.get("url"), "detail": fields.get("detail")}
    return part
