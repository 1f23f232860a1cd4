"""What the body of a chat completion may hold; the rest is refused with OpenAI's own messages."""

from __future__ import annotations

from typing import Any

from local.model.errors import ApiError, Json, invalid
from local.model.requests import check_choice, check_metadata, check_model, check_types

# fmt: off
KNOWN = frozenset({
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model", "moderation", "n",
    "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier", "seed",
    "service_tier", "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools",
    "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
})
# fmt: on
_TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "messages": (list,),
    "tools": (list,),
    "tool_choice": (str, dict),
    "parallel_tool_calls": (bool,),
    "response_format": (dict,),
    "metadata": (dict,),
    "store": (bool,),
    "stream": (bool,),
    "n": (int,),
    "max_tokens": (int,),
    "max_completion_tokens": (int,),
    "temperature": (int, float),
    "top_p": (int, float),
}
_ROLES = ("system", "assistant", "user", "tool", "developer")
_PARTS = ("text", "image_url", "input_audio", "refusal", "file")


def check_chat(body: Any, *, strict: bool) -> Json:
    """The body of a chat completion, if it may be one. `strict` refuses unknown parameters. Raises ApiError."""
    if not isinstance(body, dict):
        raise invalid("We could not parse the JSON body of your request.")
    if strict:
        for key in sorted(set(body) - KNOWN):
            raise invalid(f"Unrecognized request argument supplied: {key}")
    check_types(body, _TYPES)
    if not body.get("model"):
        raise invalid("you must provide a model parameter")
    check_model(body["model"])
    # Nothing here asks for either, so that they are refused rather than half made.
    if body.get("stream") or (body.get("n") or 1) != 1:
        raise invalid("The scripted model neither streams chat completions nor makes several at once.")
    # OpenAI's rule: metadata belong to stored completions.
    if body.get("metadata") and not body.get("store"):
        raise invalid("The 'metadata' parameter is only allowed when 'store' is enabled.", param="metadata")
    check_metadata(body.get("metadata") or {})
    _check_tools(body)
    _check_format(body.get("response_format"))
    messages = body.get("messages")
    if messages is None:
        raise _missing("messages")
    if not messages:
        raise _empty("messages")
    for i, message in enumerate(messages):
        _check_message(message, i)
    _check_order(messages)
    return body


def _check_tools(body: Json) -> None:
    tools = body.get("tools")
    if tools is None:
        for key in ("tool_choice", "parallel_tool_calls"):
            if body.get(key) is not None:
                raise invalid(
                    f"Invalid value for '{key}': '{key}' is only allowed when 'tools' are specified.", param=key
                )
        return
    if not tools:
        raise _empty("tools")
    for i, tool in enumerate(tools):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not kind:
            raise _missing(f"tools[{i}].type")
        if kind not in ("function", "custom"):
            raise _unsupported(kind, ("function", "custom"), f"tools[{i}].type")
        if not isinstance(tool.get(kind), dict):
            raise _missing(f"tools[{i}].{kind}")
        if not tool[kind].get("name"):
            raise _missing(f"tools[{i}].{kind}.name")
    _check_choice(body.get("tool_choice"), [tool[tool["type"]]["name"] for tool in tools])


def _check_choice(choice: Any, names: list[str]) -> None:
    if isinstance(choice, dict):
        if not isinstance(choice.get("function"), dict):
            raise _missing("tool_choice.function")
        choice = {"type": "function", "name": choice["function"].get("name")}
    check_choice(choice, names)


def _check_format(wanted: Json | None) -> None:
    if wanted is None:
        return
    kinds = ("json_object", "json_schema", "text")
    if wanted.get("type") not in kinds:
        raise _unsupported(wanted.get("type"), kinds, "response_format.type")
    if wanted["type"] == "json_schema":
        if not isinstance(wanted.get("json_schema"), dict):
            raise _missing("response_format.json_schema")
        if not wanted["json_schema"].get("name"):
            raise _missing("response_format.json_schema.name")


def _check_message(message: Any, i: int) -> None:
    where = f"messages[{i}]"
    if not isinstance(message, dict):
        raise invalid(f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
    role = message.get("role")
    if role is None:
        raise _missing(f"{where}.role")
    if role not in _ROLES:
        raise _unsupported(role, _ROLES, f"{where}.role")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise _missing(f"{where}.tool_call_id")
    calls = message.get("tool_calls") if role == "assistant" else None
    if calls is not None:
        _check_calls(calls, f"{where}.tool_calls")
    _check_content(message.get("content"), i, needed=not calls)


def _check_calls(calls: Any, where: str) -> None:
    if not isinstance(calls, list):
        raise invalid(f"Invalid type for '{where}': expected an array.", param=where, code="invalid_type")
    if not calls:
        raise _empty(where)
    for i, call in enumerate(calls):
        for path in (("id",), ("type",), ("function", "name"), ("function", "arguments")):
            value = call
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if not isinstance(value, str):
                raise _missing(f"{where}[{i}].{'.'.join(path)}")


def _check_content(content: Any, i: int, *, needed: bool) -> None:
    if isinstance(content, list):
        for k, part in enumerate(content):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in _PARTS:
                raise _unsupported(kind, _PARTS, f"messages[{i}].content[{k}].type")
    elif not isinstance(content, str) and (needed or content is not None):
        got = "null" if content is None else type(content).__name__
        raise invalid(f"Invalid value for 'content': expected a string, got {got}.", param=f"messages.[{i}].content")


def _check_order(messages: list[Json]) -> None:
    """Tool messages stand right after the message with their calls, one for every call."""
    waiting: dict[str, bool] = {}
    # A last message of no role: calls at the very end need answers, too.
    for i, message in enumerate([*messages, {"role": "end"}]):
        if message["role"] == "tool":
            _check_answer(message["tool_call_id"], waiting, i)
            waiting[message["tool_call_id"]] = False
            continue
        unanswered = [call_id for call_id, waits in waiting.items() if waits]
        if unanswered:
            raise invalid(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
                f" 'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(unanswered)}",
                param=f"messages.[{min(i, len(messages) - 1)}].role",
            )
        waiting = {call["id"]: True for call in message.get("tool_calls") or ()}


def _check_answer(call_id: str, waiting: dict[str, bool], i: int) -> None:
    if not waiting:
        raise invalid(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with"
            " 'tool_calls'.",
            param=f"messages.[{i}].role",
        )
    if call_id not in waiting:
        raise invalid(
            f"Invalid parameter: 'tool_call_id' of '{call_id}' not found in 'tool_calls' of previous message.",
            param=f"messages.[{i}].tool_call_id",
        )
    if not waiting[call_id]:
        raise invalid(
            f"Invalid parameter: Duplicate value for 'tool_call_id' of '{call_id}'.",
            param=f"messages.[{i}].tool_call_id",
        )


def _missing(param: str) -> ApiError:
    return invalid(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def _empty(param: str) -> ApiError:
    return invalid(
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=param,
        code="empty_array",
    )


def _unsupported(value: Any, supported: tuple[str, ...], param: str) -> ApiError:
    listed = ", ".join(f"'{each}'" for each in supported)
    return invalid(f"Invalid value: '{value}'. Supported values are: {listed}.", param=param, code="invalid_value")
