"""A provider's output items in the shape that everything here relies on, whatever was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.agentkit.agent import ApprovalRequest, FunctionCall, Item
from shared.agentkit.lenient import MAX_MESSAGE, identifier, json_text, listed, plain, text

INPUT_ONLY = frozenset({"function_call_output", "mcp_approval_response"})
"""Items that only an app sends. In a response they would look like results of tools that never ran: left out."""


def read_items(output: Any) -> tuple[Item, ...]:
    """The items of a response, each with the fields that its type needs, as texts; what is no item is left out."""
    found: list[Item] = []
    for given in listed(output):
        item: Item = plain(given)
        # Compatible servers leave the type of a message out.
        kind = item.get("type", "message" if "content" in item else None)
        if not isinstance(kind, str) or kind in INPUT_ONLY:
            continue
        item["type"] = kind
        found.append(_READ.get(kind, _as_it_is)(item, len(found)))
    return tuple(found)


def calls_of(items: tuple[Item, ...]) -> tuple[FunctionCall, ...]:
    """The tools that the items ask for."""
    return tuple(
        FunctionCall(call_id=item["call_id"], name=item["name"], arguments=item["arguments"])
        for item in items
        if item["type"] == "function_call"
    )


def approvals_of(items: tuple[Item, ...]) -> tuple[ApprovalRequest, ...]:
    """The calls of hosted tools that the items want approved."""
    return tuple(
        ApprovalRequest(
            request_id=item["id"], server=item["server_label"], name=item["name"], arguments=item["arguments"]
        )
        for item in items
        if item["type"] == "mcp_approval_request"
    )


def text_message(text: str) -> Item:
    """A message of the agent with this text."""
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "content": [part]}


def function_call(call: FunctionCall) -> Item:
    """A call as an item."""
    return {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}


def _as_it_is(item: Item, index: int) -> Item:
    return item


def _message(item: Item, index: int) -> Item:
    content = item.get("content")
    # Compatible servers may send plain text where the API has a list of parts.
    given = [{"type": "output_text", "text": content}] if isinstance(content, str) else listed(content)
    return {**item, "role": "assistant", "content": [part for each in given if (part := _part(each)) is not None]}


def _part(given: Mapping[str, Any]) -> Item | None:
    match given.get("type"):
        case "output_text" | "text":
            # The API's schema requires the list, and typed clients read it unasked.
            notes = [dict(each) for each in listed(given.get("annotations"))]
            return {**given, "type": "output_text", "text": text(given.get("text")), "annotations": notes}
        case "refusal":
            return {**given, "refusal": text(given.get("refusal"))}
        case str():
            return dict(given)
    return None


def _function_call(item: Item, index: int) -> Item:
    return {
        **item,
        # Every call needs an id that its output can name, whatever a compatible server leaves out.
        "call_id": identifier(item.get("call_id")) or identifier(item.get("id")) or f"call_{index}",
        "name": identifier(item.get("name")),
        "arguments": json_text(item.get("arguments")),
    }


def _approval_request(item: Item, index: int) -> Item:
    return {
        **item,
        "id": identifier(item.get("id")) or f"mcpr_{index}",
        "server_label": text(item.get("server_label"), MAX_MESSAGE)[:256],
        "name": identifier(item.get("name")),
        "arguments": json_text(item.get("arguments")),
    }


_READ = {"message": _message, "function_call": _function_call, "mcp_approval_request": _approval_request}
