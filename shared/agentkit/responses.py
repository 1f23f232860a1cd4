"""An agent over the Responses API in background mode: OpenAI, Azure OpenAI, and servers that speak it.

One create per turn, then questions until it is terminal. What a response means for the run is decided by
``runs``; here it is only read.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any

from shared.agentkit import faults
from shared.agentkit.agent import (
    AgentResponse,
    AgentSession,
    AgentUpdate,
    ApprovalRequest,
    ContinuationToken,
    FunctionCall,
    Item,
    ResponseStatus,
    RunOptions,
    UpdateKind,
    Usage,
    text_of,
)
from shared.agentkit.provided import ProvidedAgent

TEXT_EVENTS = frozenset({"response.output_text.delta", "response.refusal.delta"})
"""What becomes the text of a response: `text_of` reads the same from its items."""

TERMINAL = {status.value: status for status in ResponseStatus if status is not ResponseStatus.PENDING}


class ResponsesAgent(ProvidedAgent):
    """An agent whose turns are responses in the background.

    Instructions and tools are sent with every turn, because a chained response does not inherit them.
    """

    background = True
    chains = True
    streams = True

    async def run(
        self, messages: Sequence[Item] | None, *, session: AgentSession, options: RunOptions
    ) -> AgentResponse:
        """Create a turn's response from ``messages``, or ask about the one the token names.

        Raises the faults of ``agentkit.faults``: those of a create for messages, ``NoNews`` and
        ``ResponseMissing`` for a token.
        """
        if options.continuation_token is not None:
            response_id = options.continuation_token.response_id
            model = options.model or self._model
            found = await self._provider.ask(f"/responses/{response_id}", timeout=options.timeout, model=model)
            return _this_response(found, response_id)
        body: dict[str, Any] = {
            **self._options,
            "model": options.model or self._model,
            "instructions": self._told(options.run),
            "input": list(messages or ()),
            "background": options.background,
            "store": True,  # some projects delete a background response minutes after its end otherwise
            "metadata": dict(options.metadata),
        }
        if options.stream and options.background and self.streams:
            body["stream"] = True  # the provider streams later only what was created so
        if tools := [tool.definition() for tool in self.tools.values()] + self._hosted_tools:
            body["tools"] = tools
            body.setdefault("parallel_tool_calls", True)
        if self.output is not None:
            body["text"] = {**body.get("text", {}), "format": self.output.response_format()}
        if session.previous_response_id is not None:
            body["previous_response_id"] = session.previous_response_id
        try:
            answer = await self._provider.send(
                "/responses", body, timeout=options.timeout, owner=options.owner, blocking=not options.background
            )
            return read_response(answer)
        except (faults.PreviousResponseMissing, faults.ToolOutputsRefused) as fault:
            if session.previous_response_id is not None:
                raise
            raise faults.Refused(fault.message, code=fault.code) from fault

    async def follow(self, response_id: str, *, after: int, timeout: float) -> AsyncGenerator[AgentUpdate, None]:
        """The response's updates after that sequence number, from the provider's own replay.

        What a server tells again although it was asked not to is passed over.
        """
        query = {"stream": "true", "starting_after": after}
        working, last = after > 0, after
        try:
            async with contextlib.aclosing(
                self._provider.follow(f"/responses/{response_id}", query, timeout=timeout, model=self._model)
            ) as events:
                async for event in events:
                    number = event.get("sequence_number")
                    sequence = number if isinstance(number, int) else last + 1
                    if sequence <= after:
                        continue
                    last = sequence
                    if event.get("type") == "response.in_progress" and not working:
                        working = True
                    elif (update := read_event(event, sequence)) is not None:
                        yield update
        except faults.NoNews as fault:
            if fault.code != "http_400":
                raise
            raise faults.NotStreamed(fault.message, code="not_streamed") from fault

    async def cancel(self, response_id: str, *, timeout: float) -> AgentResponse | None:
        """Stop a background response. A completed one answers 200, 400 or 409 by server: then it is read instead."""
        try:
            return read_response(
                await self._provider.tell(f"/responses/{response_id}/cancel", timeout=timeout, method="POST")
            )
        except faults.ResponseMissing:
            return None
        except faults.NoNews as fault:
            if fault.code not in ("http_400", "http_409"):
                raise
        try:
            # Part of the cancel: no pause holds it back.
            found = await self._provider.tell(f"/responses/{response_id}", timeout=timeout, method="GET")
            response = _this_response(found, response_id)
        except faults.ResponseMissing:
            return None
        if response.status is ResponseStatus.PENDING:
            raise faults.NoNews("The provider refuses to cancel a response that still runs.", code="cancel_refused")
        return response

    async def delete(self, response_id: str, *, timeout: float) -> None:
        """Delete a response at the provider."""
        try:
            await self._provider.tell(f"/responses/{response_id}", timeout=timeout, method="DELETE")
        except faults.ResponseMissing:
            return


def _this_response(body: Mapping[str, Any], response_id: str) -> AgentResponse:
    response = read_response(body)
    if response.response_id != response_id:
        raise faults.NoNews("The provider answered with another response.", code="no_response")
    return response


def read_response(body: Mapping[str, Any]) -> AgentResponse:
    """A response object of the provider in our words.

    Unknown statuses count as pending; the run's deadline bounds them. Raises ``NoNews`` when it is no response.
    """
    response_id, word = body.get("id"), body.get("status")
    if not isinstance(response_id, str) or not isinstance(word, str):
        raise faults.NoNews("The provider answered with something that is no response.", code="no_response")
    status = TERMINAL.get(word, ResponseStatus.PENDING)
    if status is ResponseStatus.PENDING:
        token = ContinuationToken(response_id=response_id)
        return AgentResponse(
            status=status,
            provider_status=word,
            response_id=response_id,
            continuation_token=token,
            metadata=_metadata(body),
        )
    try:
        return _ended(body, response_id, word, status)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise faults.NoNews(f"The provider's response cannot be read: {error!r}"[:1_000], code="no_response") from error


def read_event(event: Mapping[str, Any], sequence: int) -> AgentUpdate | None:
    """An event of a followed response in our words; None for one that says nothing to us.

    Goes by the event's own ``type``. ``response.in_progress`` is a reset here: the first one is the caller's to
    recognise. Raises ``NoNews`` for an error inside the stream.
    """
    kind = str(event.get("type"))
    if kind in TEXT_EVENTS:
        text = event.get("delta")
        return (
            AgentUpdate(kind=UpdateKind.TEXT, sequence=sequence, text=text) if text and isinstance(text, str) else None
        )
    if kind == "response.in_progress":
        return AgentUpdate(kind=UpdateKind.RESET, sequence=sequence)
    if kind.removeprefix("response.") in TERMINAL and isinstance(event.get("response"), dict):
        response = read_response(event["response"])
        return AgentUpdate(kind=UpdateKind.ENDED, sequence=sequence, response=response)
    if kind == "error":
        raise faults.NoNews(str(event.get("message") or "The stream told of an error."), code="stream_error")
    return None


def _ended(body: Mapping[str, Any], response_id: str, word: str, status: ResponseStatus) -> AgentResponse:
    items = tuple(item for item in body.get("output") or () if isinstance(item, dict))
    error = body.get("error") or {}
    code, message = error.get("code"), error.get("message")
    reason = (body.get("incomplete_details") or {}).get("reason")
    return AgentResponse(
        status=status,
        provider_status=word,
        response_id=response_id,
        text=text_of(items),
        items=items,
        calls=_calls(items) if status is ResponseStatus.COMPLETED else (),
        approvals=_approvals(items) if status is ResponseStatus.COMPLETED else (),
        usage=_usage(body.get("usage")),
        metadata=_metadata(body),
        error_code=None if code is None else str(code),
        error_message=None if message is None else str(message),
        incomplete_reason=None if reason is None else str(reason),
    )


def _calls(items: Iterable[Item]) -> tuple[FunctionCall, ...]:
    return tuple(
        FunctionCall(call_id=item["call_id"], name=item.get("name", ""), arguments=item.get("arguments") or "")
        for item in items
        if item.get("type") == "function_call"
    )


def _metadata(body: Mapping[str, Any]) -> dict[str, str]:
    given = body.get("metadata")
    return {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}


def _approvals(items: Iterable[Item]) -> tuple[ApprovalRequest, ...]:
    return tuple(
        ApprovalRequest(
            request_id=item["id"],
            server=item.get("server_label", ""),
            name=item.get("name", ""),
            arguments=item.get("arguments") or "",
        )
        for item in items
        if item.get("type") == "mcp_approval_request"
    )


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    return Usage(
        input_tokens=usage.get("input_tokens") or 0,
        output_tokens=usage.get("output_tokens") or 0,
        total_tokens=usage.get("total_tokens") or 0,
        cached_tokens=(usage.get("input_tokens_details") or {}).get("cached_tokens") or 0,
        reasoning_tokens=(usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
    )
