"""What the body of a create may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from local.model.errors import ApiError, Json, invalid

# fmt: off
KNOWN = frozenset({
    "background", "context_management", "conversation", "include", "input", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls",
    "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream",
    "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
    "truncation", "user",
})
# fmt: on
_TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "input": (str, list),
    "background": (bool,),
    "store": (bool,),
    "stream": (bool,),
    "parallel_tool_calls": (bool,),
    "instructions": (str, list),
    "previous_response_id": (str,),
    "metadata": (dict,),
    "tools": (list,),
    "tool_choice": (str, dict),
    "text": (dict,),
    "reasoning": (dict,),
    "max_output_tokens": (int,),
    "temperature": (int, float),
    "top_p": (int, float),
}
_TOOL_NEEDS: dict[str, tuple[str, ...]] = {
    "function": ("name",),
    "mcp": ("server_label",),
    "code_interpreter": ("container",),
    "file_search": ("vector_store_ids",),
}
_MAX_PAIRS, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512


def check_create(body: Any, *, strict: bool) -> Json:
    """The body of a create, if it may be one. `strict` refuses unknown parameters. Raises ApiError."""
    if not isinstance(body, dict):
        raise invalid("We could not parse the JSON body of your request.")
    if strict:
        for key in sorted(set(body) - KNOWN):
            raise invalid(f"Unknown parameter: '{key}'.", param=key, code="unknown_parameter")
    check_types(body, _TYPES)
    if not body.get("model"):
        raise invalid("Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    check_model(body["model"])
    if not body.get("input") and not body.get("previous_response_id"):
        raise invalid("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    # Refused rather than ignored: a request would go on without its history.
    if body.get("conversation") is not None:
        raise invalid("The scripted model has no conversations.", param="conversation")
    # The API's rule: it must keep what is to be asked for later.
    if body.get("background") and body.get("store") is False:
        raise invalid("Background mode requires 'store' to be true.", param="background")
    _check_tools(body.get("tools") or [])
    check_choice(body.get("tool_choice"), [tool.get("name") for tool in body.get("tools") or []])
    _check_format(body.get("text") or {})
    check_metadata(body.get("metadata") or {})
    return body


def check_types(body: Json, types_of: Mapping[str, tuple[type, ...]]) -> None:
    """Every parameter that is given is of one of its types; a bool is no number. Raises ApiError."""
    for key, types in types_of.items():
        value = body.get(key)
        if value is not None and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
            got = type(value).__name__
            raise invalid(f"Invalid type for '{key}': got {got} instead.", param=key, code="invalid_type")


def check_model(name: str) -> None:
    """Every model exists but those that begin with `no-such`. Raises ApiError."""
    if name.startswith("no-such"):
        message = f"The model '{name}' does not exist or you do not have access to it."
        raise ApiError(404, message, code="model_not_found")


def _check_tools(tools: list[Any]) -> None:
    """Functions and hosted tools of any type; those we know must be complete."""
    for i, tool in enumerate(tools):
        needed = _TOOL_NEEDS.get(str(tool.get("type")), ()) if isinstance(tool, dict) else ()
        for key in ("type", *needed):
            if not isinstance(tool, dict) or not tool.get(key):
                param = f"tools[{i}].{key}"
                raise invalid(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def check_choice(choice: Any, names: Sequence[Any]) -> None:
    """A tool choice of the Responses API: what must be called is among the tools of these names. Raises ApiError."""
    kind = choice.get("type") if isinstance(choice, dict) else None
    if choice == "required" and not names:
        raise invalid("Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice")
    if kind == "function" and (choice.get("name") is None or choice["name"] not in names):
        raise invalid("Tool choice 'function' not found in 'tools' parameter.", param="tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        raise invalid(
            f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.",
            param="tool_choice",
            code="invalid_value",
        )


def _check_format(text: Json) -> None:
    wanted = text.get("format") or {}
    if not isinstance(wanted, dict):
        raise invalid("Invalid type for 'text.format'.", param="text.format", code="invalid_type")
    for key in ("name", "schema") if wanted.get("type") == "json_schema" else ():
        if not wanted.get(key):
            param = f"text.format.{key}"
            raise invalid(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def check_metadata(metadata: dict[Any, Any]) -> None:
    """At most 16 pairs of strings, of at most 64 and 512 characters. Raises ApiError."""
    if len(metadata) > _MAX_PAIRS:
        raise invalid(
            f"Invalid 'metadata': too many properties. Expected an object with at most {_MAX_PAIRS} properties,"
            f" but got an object with {len(metadata)} properties instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, value in metadata.items():
        if not isinstance(value, str):
            got = type(value).__name__
            raise invalid(
                f"Invalid type for 'metadata.{key}': expected a string, but got {got} instead.",
                param=f"metadata.{key}",
                code="invalid_type",
            )
        for what, text, most in (("key", key, _LONGEST_KEY), ("string", value, _LONGEST_VALUE)):
            if len(text) > most:
                raise invalid(
                    f"Invalid 'metadata.{key}': {what} too long. Expected a string with maximum length {most},"
                    f" but got a string with length {len(text)} instead.",
                    param=f"metadata.{key}",
                    code="string_above_max_length",
                )
