"""What agents over a provider's model have in common, whichever API they speak."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

from shared.agentkit import faults
from shared.agentkit.agent import AgentUpdate, Item, RunInfo, RunOptions
from shared.agentkit.caller import CallerInstructions, CallerTools, check_names, with_callers
from shared.agentkit.output import OutputFormat
from shared.agentkit.provider import Provider
from shared.agentkit.tools import Tool, by_name

if TYPE_CHECKING:
    from pydantic import BaseModel

Instructions = str | Callable[[RunInfo], str]
"""The instructions of the model: a text, or a function of the run."""


class ProvidedAgent:
    """An agent whose model is a provider's.

    ``options`` go into every request as they are (``reasoning``, ``max_output_tokens``, ``service_tier``, …).
    ``hosted_tools`` run at the provider (web search, code interpreter, MCP servers), in its own notation.
    ``output_type`` makes the result an object; ``models`` are those that a caller may choose besides ``model``.
    ``caller_options`` names the options that a caller may set, over the agent's own (``agentkit.caller``).
    ``caller_instructions`` is what becomes of a caller's instructions; None: they follow the agent's own, or are a
    message of the caller's where a tool needs approval, since they must not talk a person into it.
    ``caller_tools``: whether a caller may bring functions of their own, which they run themselves.
    """

    not_of_its_api: frozenset[str] = frozenset()
    """Options that no caller may set, for its API does not have them."""

    def __init__(
        self,
        *,
        name: str,
        description: str,
        instructions: Instructions,
        model: str,
        provider: Provider,
        tools: Iterable[Tool] = (),
        hosted_tools: Iterable[Mapping[str, Any]] = (),
        output_type: type[BaseModel] | None = None,
        models: Iterable[str] = (),
        options: Mapping[str, Any] | None = None,
        caller_options: Iterable[str] = (),
        caller_instructions: CallerInstructions | None = None,
        caller_tools: CallerTools = "refuse",
    ) -> None:
        self.name = name
        self.description = description
        self.tools = by_name(tools)
        self.output = None if output_type is None else OutputFormat(output_type)
        # Agents of the framework have their model in the framework's client, and an empty one here.
        self.model = model or None
        self.models = frozenset({model, *models} - {""})
        self._hosted_tools = [dict(each) for each in hosted_tools]
        self._instructions = instructions
        self._model = model
        self._provider = provider
        self._options = dict(options or {})
        self.caller_options = check_names(caller_options, unknown_there=self.not_of_its_api, agent=name)
        if caller_instructions not in (None, *get_args(CallerInstructions)):
            raise ValueError(f"caller_instructions of the agent {name} cannot be {caller_instructions!r}")
        self._caller_instructions = caller_instructions
        if caller_tools not in get_args(CallerTools):
            raise ValueError(f"caller_tools of the agent {name} cannot be {caller_tools!r}")
        self.caller_tools: CallerTools = caller_tools

    @property
    def asks_approval(self) -> bool:
        """An MCP server's tools need approval unless ``require_approval`` is ``never``: the provider's rule."""
        servers = [each for each in self._hosted_tools if each.get("type") == "mcp"]
        return any(tool.requires_approval for tool in self.tools.values()) or any(
            each.get("require_approval") != "never" for each in servers
        )

    @property
    def caller_instructions(self) -> CallerInstructions:
        """What becomes of a caller's instructions."""
        return self._caller_instructions or ("input" if self.asks_approval else "append")

    streams = False

    async def follow(self, response_id: str, *, after: int, timeout: float) -> AsyncGenerator[AgentUpdate, None]:
        """Nothing to follow: raises ``NotStreamed``."""
        # The ``yield`` makes this an async generator, which is what callers close.
        nothing: tuple[AgentUpdate, ...] = ()
        for update in nothing:
            yield update
        raise faults.NotStreamed(f"The agent {self.name} has no live text.", code="not_streamed")

    async def check(self, *, timeout: float) -> None:
        """Ask for the list of models: cheap, and it needs the same credential."""
        await self._provider.query("/models", timeout=timeout)

    def _callers_tools(self, options: RunOptions) -> list[Item]:
        """The caller's functions, without those that are called like a tool of the agent: a deploy may have added it.

        Providers refuse two tools of one name, and the agent's own are what its instructions mean.
        """
        return [each for each in options.tools if each["name"] not in self.tools]

    def _instructions_for(self, options: RunOptions) -> str:
        """The instructions for this run: the agent's own, and after them what its caller adds."""
        return with_callers(self._own_instructions_for(options.run), options.instructions)

    def _own_instructions_for(self, run: RunInfo | None) -> str:
        if isinstance(self._instructions, str):
            return self._instructions
        # A look or a cancel names no run, and needs no instructions.
        if run is None:
            raise ValueError("these instructions are a function of the run, and there is none")
        text = self._instructions(run)
        # An ``async`` function gives a coroutine here, which would only fail when it is sent.
        if not isinstance(text, str):
            raise TypeError(f"the instructions of the agent {self.name} are a {type(text).__name__}, not a text")
        return text


def check_sendable(body: Mapping[str, Any]) -> None:
    """Raise ``TypeError`` or ``ValueError`` for a part of a request that the client could not write as JSON."""
    # ``allow_nan`` and ``encode`` refuse NaN and halves of surrogate pairs, as providers do.
    json.dumps(body, ensure_ascii=False, allow_nan=False, default=_encode).encode()


def _encode(value: Any) -> Any:
    """What the `openai` client encodes besides JSON: datetimes and pydantic models."""
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_unset=True, mode="json", by_alias=True)
    raise TypeError(f"a {type(value).__name__} cannot be sent")
