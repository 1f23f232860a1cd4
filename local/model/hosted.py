"""Items of tools that run at the provider: what a script leaves out of them, and how they are streamed."""

from __future__ import annotations

from collections.abc import Iterator

from local.model.conversation import new_id
from local.model.errors import Json

_PREFIX = {
    "web_search_call": "ws",
    "file_search_call": "fs",
    "code_interpreter_call": "ci",
    "image_generation_call": "ig",
    "mcp_call": "mcp",
    "mcp_list_tools": "mcpl",
}
_DEFAULTS: dict[str, Json] = {
    "web_search_call": {"action": {"type": "search", "query": ""}},
    "file_search_call": {"queries": [], "results": None},
    "code_interpreter_call": {"code": "", "container_id": "cntr_scripted", "outputs": None},
    "image_generation_call": {"result": None},
    "mcp_call": {"arguments": "{}", "output": None, "error": None, "approval_request_id": None},
    "mcp_list_tools": {"server_label": "scripted", "tools": []},
}
_PHASES = {
    "web_search_call": ("in_progress", "searching", "completed"),
    "file_search_call": ("in_progress", "searching", "completed"),
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
    "image_generation_call": ("in_progress", "generating", "completed"),
    "mcp_call": ("in_progress", "completed"),
    "mcp_list_tools": ("in_progress", "completed"),
}


def completed(item: Json) -> Json:
    """The item with an id and every other field that the API would give it."""
    kind = item["type"]
    # The API's lists of tools have no status.
    status = {"status": "completed"} if kind.endswith("_call") else {}
    return {"id": new_id(_PREFIX.get(kind, "item")), **status, **_DEFAULTS.get(kind, {}), **item}


def phase_events(at: Json, item: Json) -> Iterator[Json]:
    """The events between the item's beginning and its end; `at` names it."""
    kind = item["type"]
    if kind == "mcp_call":
        yield {"type": "response.mcp_call_arguments.done", **at, "arguments": item["arguments"]}
    for phase in _PHASES.get(kind, ()):
        yield {"type": f"response.{kind}.{phase}", **at}
