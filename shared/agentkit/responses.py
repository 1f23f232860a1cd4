"""An agent over the Responses API in background mode: OpenAI, Azure OpenAI, and servers that speak it.

One create per turn, then a query at a time until it is terminal. What a response means for the run is decided by
``runs``; here it is only read.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from shared.agentkit import faults, lenient
from shared.agentkit.agent import (
    Agent,
    AgentResponse,
    AgentSession,
    AgentUpdate,
    ContinuationToken,
    Item,
    ResponseStatus,
    RunOptions,
    Send,
    UpdateKind,
    Usage,
    text_of,
)
from shared.agentkit.caller import OF_CHAT_ALONE, to_responses
from shared.agentkit.extras import PARAGRAPH, annotation, hosted_call
from shared.agentkit.items import approvals_of, calls_of, read_items
from shared.agentkit.provided import ProvidedAgent, check_sendable

TEXT_EVENTS = frozenset({"response.output_text.delta", "response.refusal.delta"})
"""What becomes the text of a response: `text_of` reads the same from its items."""

# OpenAI's .NET client reads every number as an int32, and fails on a larger one.
MAX_SEQUENCE = 2**31 - 1
"""The highest number of an event that all clients can read; what is higher counts as none."""

TERMINAL = {status.value: status for status in ResponseStatus if status is not ResponseStatus.PENDING}


class ResponsesAgent(ProvidedAgent):
    """An agent whose turns are responses in the background.

    Instructions and tools are sent with every turn, because a chained response does not inherit them.
    """

    background = True
    chains = True
    streams = True
    not_of_its_api = OF_CHAT_ALONE

    async def run(
        self, messages: Sequence[Item] | None, *, session: AgentSession, options: RunOptions
    ) -> AgentResponse:
        """Create a turn's response from ``messages``, or ask about the one the token names.

        Raises the faults of ``agentkit.faults``: those of a create for messages, ``NoNews`` and
        ``ResponseMissing`` for a token.
        """
        if options.continuation_token is not None:
            response_id, model = options.continuation_token.response_id, options.model or self._model
            found = await self._provider.query(_path_of(response_id), timeout=options.timeout, model=model)
            return _this_response(found, response_id)
        return await self.prepare(messages or (), session=session, options=options)()

    def prepare(self, messages: Sequence[Item], *, session: AgentSession, options: RunOptions) -> Send:
        """Build a turn's request: instructions, tools and options may be code of the agent's own."""
        body: dict[str, Any] = {
            # The agent's options first: they must not replace what the app relies on.
            **to_responses(self._options, options.caller_options),
            "model": options.model or self._model,
            "instructions": self._instructions_for(options),
            "background": options.background,
            "store": True,  # some projects delete a background response minutes after its end otherwise
            "metadata": dict(options.metadata),
        }
        if options.stream and options.background and self.streams:
            body["stream"] = True  # the provider streams later only what was created so
        own = [tool.definition() for tool in self.tools.values()] + self._hosted_tools
        if tools := own + self._callers_tools(options):
            body["tools"] = tools
            body.setdefault("parallel_tool_calls", True)
            if options.tool_choice is not None:
                body["tool_choice"] = options.tool_choice
        if self.output is not None:
            body["text"] = {**body.get("text", {}), "format": self.output.response_format()}
        if session.previous_response_id is not None:
            body["previous_response_id"] = session.previous_response_id
        check_sendable(body)
        return functools.partial(self._create, {**body, "input": list(messages)}, session, options)

    async def _create(self, body: Mapping[str, Any], session: AgentSession, options: RunOptions) -> AgentResponse:
        try:
            answer = await self._provider.send(
                "/responses", body, timeout=options.timeout, owner=options.owner, blocking=not options.background
            )
            return read_response(answer)
        except (faults.PreviousResponseMissing, faults.ToolOutputsRefused) as fault:
            # Without a predecessor there is nothing to replay, so the refusal is final.
            if session.previous_response_id is not None:
                raise
            raise faults.Refused(fault.message, code=fault.code) from fault

    async def follow(self, response_id: str, *, after: int, timeout: float) -> AsyncGenerator[AgentUpdate, None]:
        """The response's updates after that sequence number, from the provider's own replay.

        Events that a server repeats, or sends out of order, are skipped: no number comes twice.
        """
        query = {"stream": "true", "starting_after": after}
        started, last = after > 0, after
        try:
            async with contextlib.aclosing(
                self._provider.follow(_path_of(response_id), query, timeout=timeout, model=self._model)
            ) as events:
                async for event in events:
                    number = event.get("sequence_number")
                    # A compatible server may send no numbers: then the events are counted.
                    sequence = number if type(number) is int and number <= MAX_SEQUENCE else last + 1
                    if sequence <= last:
                        continue
                    last = sequence
                    if event.get("type") == "response.in_progress" and not started:
                        # The first one begins the response; a later one means that the text starts again.
                        started = True
                    elif (update := read_event(event, sequence)) is not None:
                        yield update
        except faults.NoNews as fault:
            # Five minutes after its creation a response "can no longer be streamed": 400, and no retry helps.
            if fault.code != "http_400":
                raise
            raise faults.NotStreamed(fault.message, code="not_streamed") from fault

    async def cancel(self, response_id: str, *, timeout: float) -> AgentResponse | None:
        """Stop a background response. For a completed one servers answer 200, 400 or 409: then it is read instead."""
        try:
            return read_response(
                await self._provider.command(f"{_path_of(response_id)}/cancel", timeout=timeout, method="POST")
            )
        except faults.ResponseMissing:
            return None
        except faults.NoNews as fault:
            # Not cancellable usually means that it has ended: how is asked next.
            if fault.code not in ("http_400", "http_409"):
                raise
        try:
            # Part of the cancel: no pause holds it back.
            found = await self._provider.command(_path_of(response_id), timeout=timeout, method="GET")
            response = _this_response(found, response_id)
        except faults.ResponseMissing:
            return None
        if response.status is ResponseStatus.PENDING:
            raise faults.NoNews("The provider refuses to cancel a response that still runs.", code="cancel_refused")
        return response

    async def delete(self, response_id: str, *, timeout: float) -> None:
        """Delete a response at the provider."""
        try:
            await self._provider.command(_path_of(response_id), timeout=timeout, method="DELETE")
        except faults.ResponseMissing:
            return


def read_alike(one: Agent, other: Agent) -> bool:
    """Whether both find the same under a response's id: they ask the same provider, and read it by the same code."""
    if one is other:
        return True
    if not (isinstance(one, ResponsesAgent) and isinstance(other, ResponsesAgent)):
        return False
    return one._provider is other._provider and type(one).run is type(other).run is ResponsesAgent.run


def _this_response(body: Mapping[str, Any], response_id: str) -> AgentResponse:
    response = read_response(body)
    # A gateway that mixes up answers must not end a run with the text of another.
    if response.response_id != response_id:
        raise faults.NoNews("The provider answered with another response.", code="no_response")
    return response


def read_response(body: Mapping[str, Any]) -> AgentResponse:
    """A response object of the provider as ours, whatever its parts are: what cannot be read is left out.

    Unknown statuses count as pending; the run's deadline bounds them. Raises ``NoNews`` when it is no response.
    """
    response_id, own_status = lenient.response_id(body.get("id")), lenient.word(body.get("status"))
    if response_id is None or own_status is None:
        raise faults.NoNews("The provider answered with something that is no response.", code="no_response")
    status = TERMINAL.get(own_status, ResponseStatus.PENDING)
    if status is not ResponseStatus.PENDING:
        return _ended(body, response_id, own_status, status)
    return AgentResponse(
        status=status,
        provider_status=own_status,
        response_id=response_id,
        continuation_token=ContinuationToken(response_id=response_id),
        metadata=lenient.metadata(body.get("metadata")),
    )


def read_event(event: Mapping[str, Any], sequence: int) -> AgentUpdate | None:
    """An event of a followed response as an update; None for one that shows nothing.

    Goes by the event's own ``type``. ``response.in_progress`` is a reset here: the first one is the caller's to
    recognise. Raises ``NoNews`` for an error inside the stream.
    """
    kind = str(event.get("type"))
    if kind in TEXT_EVENTS:
        text = event.get("delta")
        if not text or not isinstance(text, str):
            return None
        return AgentUpdate(
            kind=UpdateKind.TEXT,
            sequence=sequence,
            text=text,
            refusal=kind == "response.refusal.delta",
            part=_part_of(event),
        )
    if kind == "response.in_progress":
        return AgentUpdate(kind=UpdateKind.RESET, sequence=sequence)
    if kind.removeprefix("response.") in TERMINAL and isinstance(event.get("response"), dict):
        response = read_response(event["response"])
        return AgentUpdate(kind=UpdateKind.ENDED, sequence=sequence, response=response)
    if kind == "error":
        raise faults.NoNews(lenient.text(event.get("message")) or "The stream told of an error.", code="stream_error")
    return _read_extra(kind, event, sequence)


def _read_extra(kind: str, event: Mapping[str, Any], sequence: int) -> AgentUpdate | None:
    """What goes on beside the text: citations, the provider's own tools, summaries of the model's reasoning."""
    match kind:
        case "response.output_text.annotation.added":
            note = annotation(event.get("annotation"))
            if note is not None:
                return AgentUpdate(kind=UpdateKind.ANNOTATION, sequence=sequence, annotation=note, part=_part_of(event))
        case "response.output_item.added" | "response.output_item.done":
            status = "in_progress" if kind.endswith("added") else "completed"
            call = hosted_call(event.get("item"), lenient.count(event.get("output_index")), status=status)
            if call is not None:
                return AgentUpdate(kind=UpdateKind.HOSTED_CALL, sequence=sequence, hosted_call=call)
        case "response.reasoning_summary_text.delta":
            text = event.get("delta")
            if text and isinstance(text, str):
                return AgentUpdate(kind=UpdateKind.REASONING, sequence=sequence, text=text)
        # After each and not before the next: whoever follows from here cannot know whether there was one before.
        case "response.reasoning_summary_part.done":
            return AgentUpdate(kind=UpdateKind.REASONING, sequence=sequence, text=PARAGRAPH)
    return None


def _part_of(event: Mapping[str, Any]) -> tuple[int, int]:
    return lenient.count(event.get("output_index")), lenient.count(event.get("content_index"))


def _ended(body: Mapping[str, Any], response_id: str, own_status: str, status: ResponseStatus) -> AgentResponse:
    items = read_items(body.get("output"))
    error = lenient.mapping(body.get("error"))
    done = status is ResponseStatus.COMPLETED
    return AgentResponse(
        status=status,
        provider_status=own_status,
        response_id=response_id,
        text=text_of(items),
        items=items,
        # A response that was cut off may hold half of the arguments of its last call.
        calls=calls_of(items) if done else (),
        approvals=approvals_of(items) if done else (),
        usage=_usage(body.get("usage")),
        metadata=lenient.metadata(body.get("metadata")),
        error_code=lenient.word(error.get("code")),
        error_message=lenient.word(error.get("message"), lenient.MAX_MESSAGE),
        incomplete_reason=lenient.word(lenient.mapping(body.get("incomplete_details")).get("reason")),
        ended_at=lenient.moment(body.get("completed_at")),
    )


def _usage(usage: Any) -> Usage:
    return Usage(
        input_tokens=lenient.counted(usage, "input_tokens"),
        output_tokens=lenient.counted(usage, "output_tokens"),
        total_tokens=lenient.counted(usage, "total_tokens"),
        cached_tokens=lenient.counted(usage, "input_tokens_details", "cached_tokens"),
        reasoning_tokens=lenient.counted(usage, "output_tokens_details", "reasoning_tokens"),
    )


def _path_of(response_id: str) -> str:
    """The path of a response: its id is one segment, whatever characters it has."""
    return f"/responses/{quote(response_id, safe='')}"
