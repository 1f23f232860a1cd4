"""An unmodified Microsoft Agent Framework ``Agent`` as an agent of ours. Needs the extra ``agent-framework``.

The framework makes the request. What outlives a wake is ours: tools run from their rows, the session is a row, and
how a response ended is read from the provider's answer, since the framework makes empty successes of failed ones.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import agent_framework as af
from agent_framework import exceptions as raised
from agent_framework._middleware import categorize_middleware
from agent_framework_openai import RawOpenAIChatClient
from azure.core.exceptions import ClientAuthenticationError
from pydantic import BaseModel

from shared.agentkit import faults
from shared.agentkit.agent import AgentResponse, AgentSession, Item, ResponseStatus, RunOptions, Send
from shared.agentkit.caller import CallerInstructions, CallerTools, choice_to_framework, fenced, to_framework
from shared.agentkit.framework_tools import framework_tool
from shared.agentkit.provider import Provider, ProviderConfig, import_client
from shared.agentkit.provider_errors import is_clients_own, of_a_create
from shared.agentkit.responses import ResponsesAgent, read_response
from shared.agentkit.within import within

import_client()  # the framework has: nothing is left to wait for

_requests: ContextVar[list[str] | None] = ContextVar("requests", default=None)
"""The requests that the framework has made for the create at hand: without any, nothing can have been started."""


class FrameworkAgent(ResponsesAgent):
    """Works on a copy of ``agent`` that runs no tools and repeats no request; the original is left as it is.

    Polls, cancels and deletes are those of a ``ResponsesAgent``, over the framework client's own connection. Raises
    ``TypeError`` for an agent that could not keep our promises: see docs/agents.md.
    """

    streams = False  # the framework makes the request, and reads a stream to its end before it answers

    def __init__(
        self,
        agent: af.Agent,
        *,
        name: str | None = None,
        description: str | None = None,
        models: Iterable[str] = (),
        caller_options: Iterable[str] = (),
        caller_instructions: CallerInstructions | None = None,
        caller_tools: CallerTools = "refuse",
    ) -> None:
        client, defaults = agent.client, agent.default_options
        if not isinstance(client, RawOpenAIChatClient):
            raise TypeError(f"{type(client).__name__} has no background mode; use a client over the Responses API")
        middleware = categorize_middleware(agent.middleware, getattr(client, "function_middleware", None))
        if agent.mcp_tools or middleware["function"] or defaults.get("conversation_id") or not (name or agent.name):
            raise TypeError("it needs a name, and no local MCP tools, function middleware or fixed conversation_id")
        # A copy: the app's author may use the original elsewhere, with retries and tools.
        ours: Any = copy.copy(client)
        ours.client = client.client.with_options(max_retries=0)
        ours.client._prepare_request = functools.partial(_record_request, ours.client._prepare_request)
        # The framework would run the tools inside the call, without a row: twice after a crash.
        ours.function_invocation_configuration = {"enabled": False}
        ours._prepare_messages_for_openai = functools.partial(_restore_items, client._prepare_messages_for_openai)
        provider = Provider(ProviderConfig(credential=""))
        provider._client = ours.client
        wanted = defaults.get("response_format")
        super().__init__(
            name=name or agent.name or "",
            description=description or agent.description or "",
            instructions="",
            model="",
            provider=provider,
            tools=[framework_tool(each) for each in defaults.get("tools", ()) if isinstance(each, af.FunctionTool)],
            hosted_tools=[each for each in defaults.get("tools", ()) if isinstance(each, Mapping)],
            output_type=wanted if isinstance(wanted, type) and issubclass(wanted, BaseModel) else None,
            models=models,
            caller_options=caller_options,
            caller_instructions=caller_instructions,
            caller_tools=caller_tools,
        )
        self._agent: Any = copy.copy(agent)
        self._agent.client = ours
        self._has_hooks = bool(agent.context_providers or agent.middleware or getattr(client, "chat_middleware", None))
        self._tool_required = defaults.get("tool_choice") in ("required", {"mode": "required"})

    async def run(
        self, messages: Sequence[Item] | None, *, session: AgentSession, options: RunOptions
    ) -> AgentResponse:
        """Create through the framework, poll at the provider; context providers and middleware see texts only."""
        # Made anew each time: the framework moves its session to a response before that has an outcome.
        theirs = af.AgentSession(session_id=session.session_id, service_session_id=session.previous_response_id)
        asked: dict[str, Any] = {"background": options.background, "store": True, "model": options.model}
        if options.continuation_token is not None:
            try:
                response = await super().run(None, session=session, options=options)
                if response.status is ResponseStatus.PENDING or not response.text or not self._has_hooks:
                    return response
                asked["continuation_token"] = {"response_id": response.response_id}
                return _with_text_of(response, await self._agent.run(session=theirs, options=asked))
            except (raised.ChatClientException, ClientAuthenticationError) as error:
                raise faults.NoNews(str(error), code="provider_unreachable") from error
        return await self.prepare(messages or (), session=session, options=options)()

    def prepare(self, messages: Sequence[Item], *, session: AgentSession, options: RunOptions) -> Send:
        """What the framework is to be given; it builds the request itself, right before it sends it."""
        asked: dict[str, Any] = {"background": options.background, "store": True, "model": options.model}
        form = None if self.output is None else self.output.response_format()
        asked |= {"metadata": dict(options.metadata), "timeout": options.timeout, "response_format": form}
        asked |= to_framework(self._agent.default_options, options.caller_options)
        if options.instructions:
            asked["instructions"] = fenced(options.instructions)  # which the framework sets after the agent's own
        if self._tool_required and messages and messages[-1].get("type") == "function_call_output":
            asked["tool_choice"] = "auto"  # as the framework's own loop does: required once, not for ever
        # As they are: a declaration of the framework's (a ``FunctionTool`` without a function) would lose ``strict``.
        asked["tools"] = self._callers_tools(options)
        if options.tool_choice is not None:
            asked["tool_choice"] = choice_to_framework(options.tool_choice)
        return functools.partial(self._ask_framework, [_message(item) for item in messages], session, asked, options)

    async def _ask_framework(
        self, messages: Sequence[af.Message], session: AgentSession, asked: Mapping[str, Any], options: RunOptions
    ) -> AgentResponse:
        """Raises ``RequestNotBuilt`` where instructions, a context provider or middleware failed before the request."""
        theirs = af.AgentSession(session_id=session.session_id, service_session_id=session.previous_response_id)
        requests: list[str] = []
        token = _requests.set(requests)
        try:
            async with self._provider.create_slot(options.owner, blocking=not options.background):
                # The client's own timeout comes first.
                answer = await within(options.timeout + 0.5, self._run_agent(messages, theirs, asked))
            if isinstance(raw := getattr(answer.raw_representation, "raw_representation", None), BaseModel):
                return _with_text_of(
                    read_response(raw.model_dump(mode="json", exclude_unset=True, warnings=False)), answer
                )
        except faults.NotAccepted:  # no slot was free
            raise
        except Exception as error:
            raise _fault_of(error, session, sent=bool(requests)) from error
        finally:
            _requests.reset(token)
        # No request was made, so that there is no response to wait for either.
        if not answer.text:
            raise faults.Refused("Middleware ended the run without an answer.", code="no_answer")
        return _with_text_of(AgentResponse(status=ResponseStatus.COMPLETED, provider_status="not asked"), answer)

    async def _run_agent(
        self, messages: Sequence[af.Message], session: af.AgentSession, asked: Mapping[str, Any]
    ) -> af.AgentResponse[Any]:
        answer: af.AgentResponse[Any] = await self._agent.run(messages, session=session, options=asked)
        return answer


async def _record_request(prepare: Callable[[Any], Awaitable[None]], request: Any) -> None:
    """What the client calls with each request that it has built, right before it sends it."""
    await prepare(request)
    requests = _requests.get()
    if requests is not None:
        requests.append(str(request.method))


class _OurItem(dict[str, Any]):
    """An item of ours, passed through the framework as a message's raw representation."""


def _message(item: Item) -> af.Message:
    """An item as the framework's providers and middleware are to read it."""
    role = item.get("role", "tool" if "output" in item else "assistant")
    return af.Message(role, [_text(item)], raw_representation=_OurItem(item))


def _text(item: Item) -> str:
    content = item.get("content") or item.get("output") or ""
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)


def _restore_items(prepare: Callable[..., list[Any]], messages: Sequence[af.Message], **more: Any) -> list[Any]:
    """Our items as they are, but for texts that middleware changed; the framework's own as it prepares them."""
    found: list[Any] = []
    for given, group in itertools.groupby(messages, key=lambda each: isinstance(each.raw_representation, _OurItem)):
        for message in group if given else ():
            item: Item = message.raw_representation or {}
            changed = {"output" if "output" in item else "content": message.text}
            found.append(item if message.text == _text(item) else item | changed)
        found += [] if given else prepare([*group], **more)
    return found


def _with_text_of(response: AgentResponse, answer: Any) -> AgentResponse:
    """The response with the text that the framework's middleware made of it."""
    text = "".join(part.text for message in answer.messages for part in message.contents if part.type == "text")
    if text == response.text or response.status is ResponseStatus.PENDING:
        return response
    part = {"type": "output_text", "text": text, "annotations": []}
    kept = [item for item in response.items if item.get("type") != "message"]
    return replace(response, text=text, items=(*kept, {"type": "message", "role": "assistant", "content": [part]}))


def _fault_of(error: Exception, session: AgentSession, *, sent: bool) -> Exception:
    """What a failed create means. The framework wraps the client's exceptions; its own bugs may hide a response."""
    if isinstance(error, raised.AgentInvalidRequestException | raised.ChatClientInvalidRequestException):
        return faults.Refused(str(error), code="invalid_request")
    origin = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(origin, ClientAuthenticationError):
        return faults.AccessDenied(str(origin), code="no_credential")
    # No request was made: nothing can have been started, whatever went wrong.
    if not sent and not is_clients_own(origin):
        return faults.RequestNotBuilt(type(origin).__name__, code="agent_error")
    match of_a_create(origin), session.previous_response_id:
        case (faults.PreviousResponseMissing() | faults.ToolOutputsRefused()) as fault, None:
            return faults.Refused(fault.message, code=fault.code)
        case faults.ProviderFault() as fault, _:
            return fault
    return faults.PerhapsAccepted(f"{type(origin).__name__}: {origin}", code="framework_error")
