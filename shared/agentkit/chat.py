"""An agent over Chat Completions: no background mode. It answers within the call and never returns a token.

Chat Completions keeps no conversation, so the agent is sent everything each time. Items keep the shape of the
Responses API on our side and are translated here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.agentkit import faults, lenient
from shared.agentkit.agent import (
    AgentResponse,
    AgentSession,
    FunctionCall,
    Item,
    ResponseStatus,
    RunOptions,
    Send,
    Usage,
)
from shared.agentkit.caller import OF_RESPONSES_ALONE, choice_to_chat, to_chat, tool_to_chat
from shared.agentkit.items import function_call, text_message
from shared.agentkit.provided import ProvidedAgent, check_sendable

Message = dict[str, Any]


class ChatAgent(ProvidedAgent):
    """An agent whose turns are chat completions."""

    background = False
    chains = False
    not_of_its_api = OF_RESPONSES_ALONE

    async def run(
        self, messages: Sequence[Item] | None, *, session: AgentSession, options: RunOptions
    ) -> AgentResponse:
        """Answer ``messages``, the whole conversation. Raises the faults of a create (``agentkit.faults``)."""
        if options.continuation_token is not None or messages is None:
            raise ValueError("an agent over Chat Completions has no continuation tokens")
        return await self.prepare(messages, session=session, options=options)()

    def prepare(self, messages: Sequence[Item], *, session: AgentSession, options: RunOptions) -> Send:
        """Build the request: instructions, tools and options may be code of the agent's own."""
        system = {"role": "system", "content": self._instructions_for(options)}
        # The agent's options first: they must not replace what the app relies on.
        caller = to_chat(self._options, options.caller_options)
        body: dict[str, Any] = {**caller, "model": options.model or self._model}
        if self.output is not None:
            schema = {"name": self.output.name, "schema": self.output.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        own = [tool_to_chat(tool.definition()) for tool in self.tools.values()] + self._hosted_tools
        if tools := own + [tool_to_chat(each) for each in self._callers_tools(options)]:
            body["tools"] = tools
            if options.tool_choice is not None:
                body["tool_choice"] = choice_to_chat(options.tool_choice)
        else:
            body.pop("parallel_tool_calls", None)  # which clients send unasked, and the API refuses without tools
        # Now, as a fault of the agent's own: later it would look like a request with an unknown outcome.
        check_sendable({**body, "messages": [system]})
        return functools.partial(self._create, {**body, "messages": to_messages(messages, system)}, options)

    async def _create(self, body: Mapping[str, Any], options: RunOptions) -> AgentResponse:
        # It answers when the work is done, and must not take the slots of creates that answer at once.
        answer = await self._provider.send(
            "/chat/completions", body, timeout=options.timeout, owner=options.owner, blocking=True
        )
        return read_completion(answer)

    async def cancel(self, response_id: str, *, timeout: float) -> AgentResponse | None:
        """Nothing runs at the provider between calls, so there is nothing to cancel."""
        return None

    async def delete(self, response_id: str, *, timeout: float) -> None:
        """The provider keeps no copy that could be deleted."""


def to_messages(items: Iterable[Item], *before: Message) -> list[Message]:
    """Conversation items as chat messages, behind those ``before``. Calls of one turn become one assistant message."""
    messages: list[Message] = list(before)
    for item in items:
        kind = item.get("type", "message")
        last = messages[-1] if messages else None
        if kind == "message" and item["role"] == "developer":
            # The older word, which all servers know. Some take one such message and no more, as the first of all.
            if last is not None and last["role"] == "system":
                messages[-1] = {**last, "content": f"{last['content']}\n\n{item['content']}"}
            else:
                messages.append({"role": "system", "content": item["content"]})
        elif kind == "message":
            content = _content(item["content"], is_own=item["role"] == "assistant")
            if item["role"] == "assistant" and last is not None and last.get("tool_calls"):
                # Text after calls: only tool messages may follow the message that has the calls.
                last["content"] = (last["content"] or "") + content
            else:
                messages.append({"role": item["role"], "content": content})
        elif kind == "function_call":
            call = {
                "id": item["call_id"],
                "type": "function",
                "function": {"name": item["name"], "arguments": item.get("arguments") or "{}"},
            }
            if last is not None and last["role"] == "assistant":
                last.setdefault("tool_calls", []).append(call)
            else:
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": _content(item["output"])})
    return messages


def read_completion(body: Mapping[str, Any]) -> AgentResponse:
    """A chat completion as a response of ours, whatever its parts are. Raises ``PerhapsAccepted`` when it is none."""
    choices = lenient.listed(body.get("choices"))
    if not choices or not _is_readable(choices[0].get("message")):
        raise faults.PerhapsAccepted("The provider answered with something that is no completion.", code="no_response")
    return _read_choice(body, choices[0])


def _is_readable(message: Any) -> bool:
    """Whether it is a message, and what it asks for is calls: an answer must not lose them and look complete."""
    if not isinstance(message, Mapping):
        return message is None
    asked = message.get("tool_calls") or []
    return isinstance(asked, list) and all(
        isinstance(call, Mapping)
        and (call.get("type", "function") != "function" or isinstance(call.get("function"), Mapping))
        for call in asked
    )


def _read_choice(body: Mapping[str, Any], choice: Mapping[str, Any]) -> AgentResponse:
    message = lenient.mapping(choice.get("message"))
    reason = lenient.word(choice.get("finish_reason")) or "stop"
    text = _text(message.get("content")) or _text(message.get("refusal"))
    calls = _calls(message)
    items = [text_message(text)] if text else []
    items += [function_call(call) for call in calls]
    # The names of the Responses API: callers see one set of reasons, whichever API the agent uses.
    incomplete = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)
    return AgentResponse(
        status=ResponseStatus.INCOMPLETE if incomplete else ResponseStatus.COMPLETED,
        provider_status=reason,
        response_id=lenient.response_id(body.get("id")),
        text=text,
        items=tuple(items),
        # A cut answer may hold half of the arguments of its last call.
        calls=() if incomplete else calls,
        usage=_usage(body.get("usage")),
        incomplete_reason=incomplete,
    )


def _text(content: Any) -> str:
    """The text of a message; some servers send it in parts."""
    if isinstance(content, list):
        return "".join(lenient.text(part.get("text")) for part in lenient.listed(content))
    return lenient.text(content)


def _calls(message: Mapping[str, Any]) -> tuple[FunctionCall, ...]:
    found: list[FunctionCall] = []
    for call in lenient.listed(message.get("tool_calls")):
        function = lenient.mapping(call.get("function"))
        if call.get("type", "function") == "function":
            found.append(
                FunctionCall(
                    # Some servers leave the id out, but a tool's output must name its call.
                    call_id=lenient.identifier(call.get("id")) or f"call_{len(found)}",
                    name=lenient.identifier(function.get("name")),
                    arguments=lenient.json_text(function.get("arguments")),
                )
            )
    return tuple(found)


def _content(content: Any, *, is_own: bool = False) -> Any:
    """Content parts of the Responses API as those of Chat Completions; text stays text.

    ``is_own``: the model wrote it. Parts of kinds that only another API has are left out then; of a caller's
    they raise ``Refused``.
    """
    if isinstance(content, str):
        return content
    parts: list[Message] = []
    for given in content:
        part: Mapping[str, Any] = given
        kind = part.get("type")
        if kind in ("input_text", "output_text"):
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "refusal":
            parts.append({"type": "text", "text": part["refusal"]})
        elif kind == "input_image" and part.get("image_url"):
            image = {"url": part["image_url"], "detail": part.get("detail") or "auto"}
            parts.append({"type": "image_url", "image_url": image})
        elif not is_own:
            raise faults.Refused(
                f"Chat Completions takes no such {kind} content; use an agent over the Responses API.",
                code="unsupported_content",
            )
    # Many compatible servers take a text only, not a list of parts.
    if all(each["type"] == "text" for each in parts):
        return "".join(each["text"] for each in parts)
    return parts


def _usage(usage: Any) -> Usage:
    return Usage(
        input_tokens=lenient.counted(usage, "prompt_tokens"),
        output_tokens=lenient.counted(usage, "completion_tokens"),
        total_tokens=lenient.counted(usage, "total_tokens"),
        cached_tokens=lenient.counted(usage, "prompt_tokens_details", "cached_tokens"),
        reasoning_tokens=lenient.counted(usage, "completion_tokens_details", "reasoning_tokens"),
    )
