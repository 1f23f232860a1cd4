"""The stream of a response: which events it has, when each is due, and what was sent so far."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain

from local.model.errors import Json
from local.model.hosted import phase_events
from local.model.responses import TERMINAL, StoredResponse

# A long text in small pieces would be thousands of events, which a test has no time for.
_MAX_PIECES = 200
_SHORTEST_PIECE = 12


def timeline(stored: StoredResponse) -> list[tuple[float, Json]]:
    """Every event of a response with the time it is due (`inf`: never), in order and numbered.

    Output events are spread evenly over the time between `queued` and the end. What was due before a
    response was finished, failed or cancelled from outside keeps its number: a resumed stream has no gap.
    A cancelled one just ends, because the API has no event for it.
    """
    first = "queued" if stored.background else "in_progress"
    opening = [_lifecycle("created", stored.snapshot(first))]
    # Only a background response is ever queued.
    if stored.background:
        opening.append(_lifecycle("queued", stored.snapshot("queued")))
    progress = _lifecycle("in_progress", stored.snapshot("in_progress"))
    body = [] if stored.planned.status == "cancelled" else list(_output_events(stored.planned.output))
    if stored.turn.stream_restart:
        body = [*body[: len(body) // 2], progress, *body]
    due = [(stored.created, event) for event in opening]
    due.append((stored.working_from, progress))
    due += [(_due(stored, (i + 1) / (len(body) + 1)), event) for i, event in enumerate(body)]
    if stored.planned.status != "cancelled":
        final = stored.snapshot(stored.planned.status, stored.planned, stored.planned_end)
        due.append((stored.done_at, _lifecycle(stored.planned.status, final)))
    due = _forced(stored, due)
    return [(at, {**event, "sequence_number": number}) for number, (at, event) in enumerate(due)]


def _due(stored: StoredResponse, share: float) -> float:
    end = stored.think_ends_at if stored.finish_at is None else stored.finish_at
    # Half of the text comes first: a viewer must see a stream that has begun and stands still.
    if stored.turn.stuck and stored.finish_at is None and share > 0.5:
        return math.inf
    return stored.working_from + share * max(end - stored.working_from, 0.0)


def _forced(stored: StoredResponse, due: list[tuple[float, Json]]) -> list[tuple[float, Json]]:
    if stored.forced is None:
        return due
    kept = [(at, event) for at, event in due if at <= stored.forced_at]
    # A cancel that the provider did not carry out: the rest of the events comes, late.
    if stored.late_at < math.inf:
        return kept + [(stored.late_at, event) for _, event in due[len(kept) :]]
    if stored.forced.status != "cancelled":
        final = stored.snapshot(stored.forced.status, stored.forced, stored.forced_at)
        kept.append((stored.forced_at, _lifecycle(stored.forced.status, final)))
    return kept


def _lifecycle(name: str, response: Json) -> Json:
    return {"type": f"response.{name}", "response": response}


def _output_events(output: tuple[Json, ...]) -> Iterator[Json]:
    for index, item in enumerate(output):
        begun = {**item, "status": "in_progress"} if "status" in item else dict(item)
        # As the API does: an item is announced empty and filled by what follows; an approval request is whole.
        for key, empty in (("content", []), ("summary", []), ("arguments", "")):
            if key in item and item["type"] != "mcp_approval_request":
                begun[key] = empty
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        at: Json = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            yield from chain.from_iterable(
                _part_events({**at, "content_index": i}, part) for i, part in enumerate(item["content"])
            )
        elif item["type"] == "function_call":
            arguments = item["arguments"]
            yield from _deltas("response.function_call_arguments", at, arguments, {"arguments": arguments})
        elif item["type"] == "reasoning":
            yield from chain.from_iterable(
                _summary_events({**at, "summary_index": i}, part) for i, part in enumerate(item["summary"])
            )
        else:
            yield from phase_events(at, item)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part_events(at: Json, part: Json) -> Iterator[Json]:
    is_text = part["type"] == "output_text"
    key = "text" if is_text else "refusal"
    extra: Json = {"logprobs": []} if is_text else {}
    empty: Json = {"annotations": []} if is_text else {}
    yield {"type": "response.content_part.added", **at, "part": {**part, key: "", **empty}}
    name = "response.output_text" if is_text else "response.refusal"
    *deltas, done = _deltas(name, {**at, **extra}, part[key], {key: part[key]})
    yield from deltas
    for index, note in enumerate(part.get("annotations") or ()):
        added = {"annotation_index": index, "annotation": note}
        yield {"type": "response.output_text.annotation.added", **at, **added}
    yield done
    yield {"type": "response.content_part.done", **at, "part": part}


def _summary_events(at: Json, part: Json) -> Iterator[Json]:
    yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
    yield from _deltas("response.reasoning_summary_text", at, part["text"], {"text": part["text"]})
    yield {"type": "response.reasoning_summary_part.done", **at, "part": part}


def _deltas(name: str, at: Json, text: str, done: Json) -> Iterator[Json]:
    size = max(_SHORTEST_PIECE, math.ceil(len(text) / _MAX_PIECES))
    for start in range(0, len(text), size):
        yield {"type": f"{name}.delta", **at, "delta": text[start : start + size]}
    yield {"type": f"{name}.done", **at, **done}


async def due_events(stored: StoredResponse, after: int, clock: Callable[[], float]) -> AsyncIterator[Json]:
    """The events with a number above `after`, each when it is due, up to the response's end."""
    sent = after
    while True:
        # All of one moment: a slow reader holds the loop up at its events, and much may happen meanwhile.
        changed, now = stored.changed, clock()
        has_ended = stored.status_at(now) in TERMINAL
        waiting = stored.done_at if stored.done_at > now else math.inf
        for at, event in timeline(stored)[sent + 1 :]:
            if at > now:
                waiting = min(waiting, at)
                break
            yield event
            sent += 1
        if has_ended:
            return
        await stored.pause(waiting - clock(), changed)


def sse(event: Json) -> str:
    """An event as Server-Sent Events text."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
