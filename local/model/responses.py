"""Response objects. Nothing runs in between: the status of a response follows from the clock alone."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from local.model import hosted
from local.model.conversation import Conversation, new_id, text_of
from local.model.errors import Json
from local.model.script import Turn

TERMINAL = frozenset({"completed", "failed", "cancelled", "incomplete"})
_LONGEST_QUEUE = 0.25
# Near enough to real tokens for limits and sums, and the same at every run of a test.
_CHARS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Ending:
    """How a response comes to its end, and with what."""

    status: str
    output: tuple[Json, ...] = ()
    error: Json | None = None
    incomplete_reason: str | None = None
    usage: Json | None = None


def compose(turn: Turn, conversation: Conversation, request: Json) -> Ending:
    """The end of a turn's response. `max_output_tokens` cuts a text that is too long."""
    status = turn.status or "completed"
    text, cut = _text(turn, conversation), False
    limit = request.get("max_output_tokens")
    if text is not None and limit and len(text) > limit * _CHARS_A_TOKEN:
        text, cut = text[: limit * _CHARS_A_TOKEN], True
        status = turn.status or "incomplete"
    output = tuple(_output(turn, text, "incomplete" if status == "incomplete" else "completed", request))
    # No usage: the API does not count what a failed response has used.
    if status == "failed":
        code = turn.error.get("code", "server_error")
        message = turn.error.get("message", "The server had an error while processing your request.")
        return Ending(status, output, error={"code": code, "message": message})
    if status == "cancelled":
        return Ending(status, output)
    reason = ("max_output_tokens" if cut else turn.incomplete_reason) if status == "incomplete" else None
    usage = _usage(turn.usage, conversation, request, output)
    return Ending(status, output, incomplete_reason=reason, usage=usage)


def _text(turn: Turn, conversation: Conversation) -> str | None:
    if not turn.echo:
        return turn.text
    outputs = [f"{name}: {output}" for name, output in conversation.tool_outputs]
    own = [turn.text] if turn.text else []
    return "\n".join([*own, conversation.latest_user_message, *outputs, *conversation.approvals])


def _output(turn: Turn, text: str | None, status: str, request: Json) -> list[Json]:
    items: list[Json] = []
    if turn.reasoning is not None:
        # Only a request that asks for them gets summaries; the item itself is always there.
        asked = (request.get("reasoning") or {}).get("summary")
        summary = [{"type": "summary_text", "text": each} for each in turn.reasoning.split("\n\n") if asked]
        items.append({"id": new_id("rs"), "type": "reasoning", "summary": summary})
    items += [hosted.completed(item) for item in turn.hosted]
    content: list[Json] = []
    if text is not None:
        notes = [dict(each) for each in turn.annotations]
        content.append({"type": "output_text", "text": text, "annotations": notes, "logprobs": []})
    if turn.refusal is not None:
        content.append({"type": "refusal", "refusal": turn.refusal})
    if content:
        message = {"type": "message", "role": "assistant", "status": status, "content": content}
        items.append({"id": new_id("msg"), **message})
    for call in turn.calls:
        # 29 characters, as the API's own.
        call_id = call.call_id or new_id("call")[:29]
        named = {"call_id": call_id, "name": call.name, "arguments": call.arguments}
        items.append({"id": new_id("fc"), "type": "function_call", "status": status, **named})
    for approval in turn.approvals:
        items.append({"id": new_id("mcpr"), "type": "mcp_approval_request", **asdict(approval)})
    return items


def _usage(
    fixed: Mapping[str, int] | None, conversation: Conversation, request: Json, output: tuple[Json, ...]
) -> Json:
    characters = sum(_length(item) for item in conversation.items) + len(str(request.get("instructions") or ""))
    counts = {
        "input_tokens": math.ceil(characters / _CHARS_A_TOKEN),
        "output_tokens": math.ceil(sum(_length(item) for item in output) / _CHARS_A_TOKEN),
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        **(fixed or {}),
    }
    total = counts.get("total_tokens", counts["input_tokens"] + counts["output_tokens"])
    return {
        "input_tokens": counts["input_tokens"],
        "input_tokens_details": {"cached_tokens": counts["cached_tokens"], "cache_write_tokens": 0},
        "output_tokens": counts["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": counts["reasoning_tokens"]},
        "total_tokens": total,
    }


def _length(item: Json) -> int:
    texts = (item.get(key) for key in ("content", "arguments", "output", "summary"))
    return sum(len(text_of(text)) for text in texts)


@dataclass(eq=False, kw_only=True)
class StoredResponse:
    """A response that was created. Times are epoch seconds by the account's clock."""

    id: str
    request: Json
    given: tuple[Json, ...]
    """The request's own input items."""
    previous: StoredResponse | None
    script: str
    turn_index: int
    attempt: int
    turn: Turn
    created: float
    think: float
    planned: Ending
    forced: Ending | None = None
    forced_at: float = math.inf
    late_at: float = math.inf
    finish_at: float | None = None
    cancelled: bool = False
    """A cancel was accepted, whatever came of it."""
    deleted: bool = False
    forgotten: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the next change from outside. Take it before you read a status that you mean to wait on."""

    @property
    def background(self) -> bool:
        return bool(self.request.get("background"))

    @property
    def kept(self) -> bool:
        """False for `store=false`: it can be neither retrieved nor continued."""
        return self.request.get("store") is not False

    @property
    def working_from(self) -> float:
        """When `queued` ends."""
        if not self.background:
            return self.created
        default = min(_LONGEST_QUEUE, self.think / 10)
        planned = self.created + (default if self.turn.queued is None else self.turn.queued)
        return planned if self.finish_at is None else min(planned, self.finish_at)

    @property
    def think_ends_at(self) -> float:
        """When the think time is over, for one that is stuck too."""
        return max(self.working_from, self.created + self.think)

    @property
    def done_at(self) -> float:
        """When it ends by itself (or has been made to end)."""
        if self.finish_at is not None:
            return self.finish_at
        return math.inf if self.turn.stuck else self.think_ends_at

    @property
    def planned_end(self) -> float:
        """When the planned end comes or, for one that is stuck, would have come."""
        end = min(self.done_at, self.late_at)
        return self.think_ends_at if end == math.inf else end

    def ending_at(self, now: float) -> Ending | None:
        """Its end, if that has come."""
        # First: what comes late replaces the forced end.
        if now >= self.late_at:
            return self.planned
        if now >= self.forced_at:
            return self.forced
        return self.planned if now >= self.done_at else None

    def status_at(self, now: float) -> str:
        ending = self.ending_at(now)
        if ending is not None:
            return ending.status
        return "queued" if now < self.working_from else "in_progress"

    def forgotten_at(self, now: float) -> bool:
        """Whether the API has forgotten its id, because it was told to or by plan."""
        return self.forgotten or (self.turn.id_gone is not None and now >= self.created + self.turn.id_gone)

    def known_at(self, now: float) -> bool:
        """Whether its id is still known to the API."""
        return self.kept and not (self.deleted or self.forgotten_at(now))

    def force(self, ending: Ending, now: float) -> None:
        """End it now, in another way than planned, whatever it was."""
        self.forced, self.forced_at, self.late_at = ending, now, math.inf
        self._notify()

    def cancel(self, now: float) -> None:
        """Cancel one that is under way; `late_completed` lets it complete all the same."""
        self.force(Ending("cancelled"), now)
        if self.turn.late_completed is not None:
            # Cancel is advisory: a cancelled response has been seen `completed` minutes later.
            self.late_at = now + self.turn.late_completed

    def finish(self, now: float) -> None:
        """Bring the planned end about now."""
        if self.ending_at(now) is None:
            self.finish_at = now
            self._notify()

    async def pause(self, seconds: float, changed: asyncio.Event | None = None) -> None:
        """Wait this long, or until it has been changed from outside (since `changed` was taken)."""
        try:
            async with asyncio.timeout(None if seconds == math.inf else max(seconds, 0.0)):
                await (changed or self.changed).wait()
        except TimeoutError:
            return

    def _notify(self) -> None:
        self.changed.set()
        # A fresh one: who waits for the next change must not be woken by this one again.
        self.changed = asyncio.Event()

    def rendered(self, now: float) -> Json:
        """The response object at this moment."""
        ending = self.ending_at(now)
        ended_at = self.planned_end if ending is self.planned else self.forced_at
        return self.snapshot(self.status_at(now), ending, ended_at)

    def snapshot(self, status: str, ending: Ending | None = None, ended_at: float = 0.0) -> Json:
        """The response object with this status and, once it has ended, what came of it."""
        asked = self.request
        end = ending or Ending(status)
        done = status in ("completed", "incomplete")
        reason = end.incomplete_reason
        return {
            "id": self.id,
            "object": "response",
            "created_at": int(self.created),
            "status": status,
            "background": self.background,
            "completed_at": int(ended_at) if status == "completed" and ending else None,
            "error": end.error,
            "incomplete_details": {"reason": reason} if reason else None,
            "instructions": asked.get("instructions"),
            "max_output_tokens": asked.get("max_output_tokens"),
            "max_tool_calls": asked.get("max_tool_calls"),
            "metadata": asked.get("metadata") or {},
            "model": asked["model"],
            # A response that still runs has no output when it is polled, and a failed one has none at all.
            "output": list(end.output) if done else [],
            "parallel_tool_calls": _given(asked, "parallel_tool_calls", True),
            "previous_response_id": asked.get("previous_response_id"),
            "prompt_cache_key": asked.get("prompt_cache_key"),
            "reasoning": {"effort": None, "summary": None, **(asked.get("reasoning") or {})},
            "safety_identifier": asked.get("safety_identifier"),
            "service_tier": "default" if done else asked.get("service_tier") or "auto",
            "store": self.kept,
            "temperature": _given(asked, "temperature", 1.0),
            "text": {"format": {"type": "text"}, "verbosity": "medium", **(asked.get("text") or {})},
            "tool_choice": _given(asked, "tool_choice", "auto"),
            "tools": [_tool(tool) for tool in asked.get("tools") or ()],
            "top_logprobs": _given(asked, "top_logprobs", 0),
            "top_p": _given(asked, "top_p", 1.0),
            "truncation": _given(asked, "truncation", "disabled"),
            "usage": end.usage if done else None,
            "user": asked.get("user"),
        }


def _given(asked: Json, key: str, default: Any) -> Any:
    value = asked.get(key)
    return default if value is None else value


def _tool(tool: Json) -> Json:
    defaults = {"description": None, "parameters": None, "strict": True} if tool["type"] == "function" else {}
    return {**defaults, **tool}
