"""Chat Completions by way of the Responses API: the same scripts and the same turns in another shape."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from local.model.conversation import normal_items
from local.model.errors import ApiError, Json
from local.model.responses import Ending, StoredResponse

_AS_IN_A_CREATE = ("model", "metadata", "parallel_tool_calls", "temperature", "top_p", "store", "user")
_FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}


def as_create(body: Json) -> Json:
    """A chat request as a create of the Responses API, without its input. It is never kept for retrieval."""
    request = {key: body[key] for key in _AS_IN_A_CREATE if body.get(key) is not None}
    # Chat Completions has no background mode, and what it stores cannot be continued.
    request |= {"store": False, "background": False}
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit:
        request["max_output_tokens"] = limit
    request["tools"] = [
        {"type": tool["type"], **tool["function"]} for tool in body.get("tools") or () if tool["type"] == "function"
    ]
    choice = body.get("tool_choice")
    if choice is not None:
        request["tool_choice"] = {"type": "function", **choice["function"]} if isinstance(choice, dict) else choice
    wanted = body.get("response_format")
    if wanted and wanted["type"] == "json_schema":
        request["text"] = {"format": {"type": "json_schema", **wanted["json_schema"]}}
    return request


def as_items(messages: Iterable[Json]) -> list[Json]:
    """Checked messages as conversation items: an assistant's calls and the tools' outputs become items of their own."""
    items: list[Json] = []
    for message in messages:
        if message["role"] == "tool":
            output = {"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}
            items.append(output)
            continue
        # Before its calls: a model writes its text first, then asks for tools.
        if message.get("content") is not None:
            items.append({"type": "message", "role": message["role"], "content": message["content"]})
        items += [
            {
                "type": "function_call",
                "call_id": call["id"],
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"],
            }
            for call in message.get("tool_calls") or ()
        ]
    return normal_items(items)


def completion(stored: StoredResponse, ending: Ending) -> Json:
    """The chat completion for an ended response. Raises ApiError (500) for one that failed or was cancelled."""
    if ending.status not in ("completed", "incomplete"):
        error = ending.error or {"code": "cancelled", "message": "The request was cancelled."}
        # Chat Completions has no status for a failure: it is an HTTP error.
        raise ApiError(500, error["message"], code=error["code"], kind="server_error")
    parts = [part for item in ending.output if item["type"] == "message" for part in item["content"]]
    calls = [
        {
            "id": item["call_id"],
            "type": "function",
            "function": {"name": item["name"], "arguments": item["arguments"]},
        }
        for item in ending.output
        if item["type"] == "function_call"
    ]
    message: Json = {
        "role": "assistant",
        "content": _joined(parts, "text"),
        "refusal": _joined(parts, "refusal"),
        "annotations": [],
        **({"tool_calls": calls} if calls else {}),
    }
    # Clients decide by this field whether to run tools.
    finish = "tool_calls" if calls else "stop"
    if ending.status == "incomplete":
        finish = _FINISH.get(ending.incomplete_reason or "", "length")
    return {
        "id": stored.id,
        "object": "chat.completion",
        "created": int(stored.created),
        "model": stored.request["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": _usage(ending.usage or {}),
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _joined(parts: list[Json], key: str) -> str | None:
    texts = [part[key] for part in parts if key in part]
    return "".join(texts) if texts else None


def _usage(usage: Json) -> Json:
    def detail(of: str, name: str) -> Any:
        return (usage.get(f"{of}_tokens_details") or {}).get(name, 0)

    return {
        "prompt_tokens": usage.get("input_tokens", 0),
        "completion_tokens": usage.get("output_tokens", 0),
        "total_tokens": usage.get("total_tokens", 0),
        "prompt_tokens_details": {"cached_tokens": detail("input", "cached_tokens"), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": detail("output", "reasoning_tokens"),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
