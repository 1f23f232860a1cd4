"""A Microsoft Agent Framework ``FunctionTool`` as a tool of ours: its schema and function, our rows."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import Any

import agent_framework as af

from shared.agentkit.strict import Json
from shared.agentkit.tools import Tool, ToolContext, json_object


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameworkTool(Tool):
    """Its ``additional_properties`` may hold ``timeout`` and ``at_most_once``; its approval mode is ours.

    A function that takes a ``FunctionInvocationContext`` finds our ``ToolContext`` in ``kwargs["tool_context"]``.
    """

    parameters: Json

    @property
    def schema(self) -> Json:
        """The parameters as the framework declares them."""
        return self.parameters

    def keywords(self, arguments: str, context: ToolContext) -> dict[str, Any]:
        """The whole object as one argument: the framework checks what is in it."""
        return {"arguments": json_object(arguments), "context": context}


def framework_tool(made: af.FunctionTool) -> FrameworkTool:
    """Raises ``TypeError`` for a tool that nothing here can run."""
    # The framework leaves the calls of such a tool to its own caller: here nothing would run them.
    if made.declaration_only or made.kind is not None:
        raise TypeError(f"the tool {made.name} has no function that could run here")

    async def call(arguments: dict[str, Any], context: ToolContext) -> str:
        about = af.FunctionInvocationContext(made, arguments, kwargs={"tool_context": context})
        found = af.FunctionTool.parse_result(await made.invoke(arguments=arguments, context=about))
        return "\n".join((each.text or "") if each.type == "text" else str(each.to_dict()) for each in found)

    def call_in_thread(arguments: dict[str, Any], context: ToolContext) -> str:
        # The framework would take a thread of the event loop's own executor, which name lookups need too.
        return asyncio.run(call(arguments, context))

    more = made.additional_properties or {}
    return FrameworkTool(
        name=made.name,
        description=made.description,
        function=call if inspect.iscoroutinefunction(made.func) else call_in_thread,
        timeout=more.get("timeout"),
        at_most_once=bool(more.get("at_most_once")),
        requires_approval=made.approval_mode == "always_require",
        parameters=made.parameters(),
    )
