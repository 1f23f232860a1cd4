"""The conversation a request continues, and the rules that the provider holds it to."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.model.errors import ApiError, Json, invalid
from local.model.script import id_to_answer, is_model_output

_PREFIX = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
    "mcp_approval_response": "mcprr",
}
_REQUIRED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "message": {"role": str, "content": (str, list)},
    "function_call": {"call_id": str, "name": str, "arguments": str},
    "function_call_output": {"call_id": str, "output": (str, list)},
    # its id is all that ties an answer to it (openai-dotnet#671), so a replay needs it
    "mcp_approval_request": {"id": str, "server_label": str, "name": str, "arguments": str},
    "mcp_approval_response": {"approval_request_id": str, "approve": bool},
}


def new_id(prefix: str) -> str:
    """A fresh id, such as `resp_…`."""
    return f"{prefix}_{secrets.token_hex(24)}"


def item_type(item: Json) -> str:
    """The type of an input item; a bare `{role, content}` is a message."""
    return str(item.get("type") or "message")


def text_of(content: Any) -> str:
    """The text in a message's content or a tool's output: a string, or parts that have text."""
    if isinstance(content, list):
        parts = (part for part in content if isinstance(part, dict))
        return "".join(text_of(part.get("text", part.get("refusal"))) for part in parts)
    return content if isinstance(content, str) else ""


def normal_items(given: Any) -> list[Json]:
    """Input as items in the provider's own shape, each with a type and an id. Raises ApiError."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise invalid("Invalid type for 'input': expected a string or an array.", param="input", code="invalid_type")
    return [_normal_item(item, f"input[{i}]") for i, item in enumerate(given)]


def _normal_item(item: Any, where: str) -> Json:
    if not isinstance(item, dict):
        raise _wrong(where)
    kind = item_type(item)
    for key, types in _REQUIRED.get(kind, {}).items():
        if item.get(key) is None:
            param = f"{where}.{key}"
            raise invalid(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
        if not isinstance(item[key], types):
            raise _wrong(f"{where}.{key}")
    if not isinstance(item.get("id") or "", str):
        raise _wrong(f"{where}.id")
    # The API's approval items have no status.
    status = {} if kind.startswith("mcp_approval") else {"status": "completed"}
    normal = {**status, **item, "type": kind}
    normal["id"] = item.get("id") or new_id(_PREFIX.get(kind, "item"))
    if kind == "message" and isinstance(item["content"], str):
        part = "output_text" if item["role"] == "assistant" else "input_text"
        normal["content"] = [{"type": part, "text": item["content"]}]
        if part == "output_text":
            normal["content"][0]["annotations"] = []
    return normal


def _wrong(param: str) -> ApiError:
    return invalid(f"Invalid type for '{param}'.", param=param, code="invalid_type")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything that the model sees: the chain's items, then this request's input."""

    history: tuple[Json, ...]
    given: tuple[Json, ...]

    @property
    def items(self) -> tuple[Json, ...]:
        return self.history + self.given

    @property
    def user_messages(self) -> list[str]:
        """The text of every user message, oldest first."""
        return [text_of(item.get("content")) for item in self.items if item.get("role") == "user"]

    @property
    def latest_user_message(self) -> str:
        return next(reversed(self.user_messages), "")

    @property
    def since_user(self) -> tuple[Json, ...]:
        """The items after the latest user message."""
        items = self.items
        users = [i for i, item in enumerate(items) if item.get("role") == "user"]
        return items[users[-1] + 1 :] if users else items

    @property
    def tool_outputs(self) -> list[tuple[str, str]]:
        """Name of the function and text of its output, for each output since the latest user message."""
        names = {item["call_id"]: item["name"] for item in self.items if item["type"] == "function_call"}
        return [
            (names.get(item["call_id"], "?"), text_of(item.get("output")))
            for item in self.since_user
            if item["type"] == "function_call_output"
        ]

    @property
    def approvals(self) -> list[str]:
        """What became of each approval request that was answered since the latest user message, as a line."""
        names = {item["id"]: item["name"] for item in self.items if item["type"] == "mcp_approval_request"}
        lines = []
        for item in self.since_user:
            if item["type"] == "mcp_approval_response":
                reason = f" ({item['reason']})" if item.get("reason") else ""
                verdict = "approved" if item["approve"] else "refused"
                lines.append(f"{names.get(item['approval_request_id'], '?')}: {verdict}{reason}")
        return lines

    def position(self, script: str, turn: int, metadata: Mapping[str, str]) -> str:
        """The same for every attempt at one turn of one run, by chain or by replay.

        It depends on the script, the turn, the user's text, the ids of the calls since then, and any
        metadata whose name ends in `run` or `run_id` (so that two equal runs in one account differ).
        """
        # The app's own ids: the model sees no run, and two equal inputs would look like attempts at one turn.
        runs = sorted(str(value) for key, value in metadata.items() if key.endswith(("run", "run_id")))
        calls = sorted(call_id for item in self.since_user if (call_id := id_to_answer(item)) is not None)
        parts = [script, turn, len(self.user_messages), self.latest_user_message, runs, calls]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def check_calls(items: Iterable[Json]) -> None:
    """Every output follows its call, every call has exactly one output. Raises ApiError."""
    open_calls: dict[str, bool] = {}
    for item in items:
        call_id = str(item.get("call_id"))
        if item["type"] == "function_call":
            # Only while it is open: the API lets a later turn use an id again.
            if open_calls.get(call_id):
                raise invalid(f"Duplicate function call found with call_id {call_id}.", param="input")
            open_calls[call_id] = True
        elif item["type"] == "function_call_output":
            if call_id not in open_calls:
                raise no_call(call_id)
            if not open_calls[call_id]:
                raise invalid(f"Duplicate tool output found for function call {call_id}.", param="input")
            open_calls[call_id] = False
    for call_id, is_open in open_calls.items():
        if is_open:
            raise invalid(f"No tool output found for function call {call_id}.", param="input")


def no_call(call_id: str) -> ApiError:
    """An output without its call; Azure OpenAI answers so after background predecessors too."""
    return invalid(f"No tool call found for function call output with call_id {call_id}.", param="input")


def check_approvals(items: Iterable[Json]) -> None:
    """Every answer follows its approval request, every request has exactly one answer. Raises ApiError."""
    open_requests: dict[str, bool] = {}
    for item in items:
        if item["type"] == "mcp_approval_request":
            open_requests[item["id"]] = True
        elif item["type"] == "mcp_approval_response":
            request_id = item["approval_request_id"]
            if request_id not in open_requests:
                raise invalid(
                    "The following MCP approval requests have approval responses but weren't passed as input:"
                    f" {request_id}",
                    param="input",
                )
            if not open_requests[request_id]:
                raise invalid(
                    f"Duplicate approval response found for MCP approval request {request_id}.", param="input"
                )
            open_requests[request_id] = False
    unanswered = [request_id for request_id, is_open in open_requests.items() if is_open]
    if unanswered:
        message = f"The following MCP approval requests do not have an approval: {', '.join(unanswered)}"
        raise invalid(message, param="input")


def check_reasoning(items: Sequence[Json]) -> None:
    """A replayed `reasoning` item stands before another item of the model. Raises ApiError."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        if item["type"] == "reasoning" and (following is None or not is_model_output(following)):
            raise invalid(
                f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.",
                param="input",
            )


def resolve_ids(
    given: Any, known: Mapping[str, Json], reasoning_of: Mapping[str, str], history: Sequence[Json]
) -> list[Any]:
    """Replayed items that carry ids must be known ones; references are replaced. Raises ApiError."""
    if not isinstance(given, list):
        return [{"role": "user", "content": given}] if isinstance(given, str) else given
    resolved: list[Any] = []
    seen = {item["id"] for item in history}
    for item in given:
        item_id = item.get("id") if isinstance(item, dict) else None
        if not item_id or not isinstance(item_id, str):
            resolved.append(item)
            continue
        if item_id not in known:
            raise ApiError(404, f"Item with id '{item_id}' not found.", param="input")
        if item_id in seen:
            raise invalid(
                f"Duplicate item found with id {item_id}. Remove duplicate items from your input and try again.",
                param="input",
            )
        seen.add(item_id)
        # Some clients refer back by ``item_reference`` instead of sending an item again (Vercel's AI SDK).
        resolved.append(known[item_id] if item_type(item) == "item_reference" else item)
        needs = reasoning_of.get(item_id)
        if needs and needs not in seen:
            raise invalid(
                f"Item '{item_id}' of type '{item_type(resolved[-1])}' was provided without its required"
                f" 'reasoning' item: '{needs}'.",
                param="input",
            )
    return resolved
