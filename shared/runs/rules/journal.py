"""What the journal says of each fact. Pure: a run before and after, and the fact, in; the journal out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from shared.runs.model import facts
from shared.runs.model.facts import Fact
from shared.runs.model.journal import Journal, Line, LineKind
from shared.runs.model.outbox import EntryKind
from shared.runs.model.phases import Creating, Pending, RunningTools, WaitingForAnswers
from shared.runs.model.run import Run

MAX_BYTES = 8_000
"""Of all lines of a run together, as JSON."""

KEPT_FIRST = 10
"""Lines at the beginning that are never left out."""

_LINE_BYTES = 130  # of the names of all fields and the largest numbers that they can have
_MAX_WORD = 100

_MERGED = frozenset(
    {
        LineKind.LOOKED,
        LineKind.NO_ANSWER,
        LineKind.RETRY,
        LineKind.WAITING,
        LineKind.CRASHED,
        LineKind.CALLBACK,
    }
)
"""What often follows itself: one line stands for all in a row with the same code."""


def milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return round(moment.timestamp() * 1_000)


def begun(created_at: datetime) -> Journal:
    """The journal of a new run."""
    return Journal(lines=(Line(at=milliseconds(created_at), kind=LineKind.CREATED),))


def noted(before: Run, after: Run, fact: Fact, now: datetime, took_ms: int) -> Journal:
    """The journal after the fact. ``took_ms``: how long the app was at work since it last wrote."""
    kind_and_code = _line_of(before, after, fact)
    if kind_and_code is None:
        # Renewals and the like: what they took belongs to the line of the work that they are part of.
        return before.journal
    kind, code = kind_and_code
    line = Line(
        at=milliseconds(now),
        kind=kind,
        wakes=after.counters.wakes - before.counters.wakes,
        ms=took_ms,
        turn=before.turn.number,
        code=_cut(code),
        by=_cut(fact.by) if isinstance(fact, facts.Answered | facts.CancelRequested) else "",
    )
    lines = list(before.journal.lines)
    _append(lines, line)
    if after.terminal and not before.terminal and line.kind is not LineKind.ENDED:
        code = _cut(after.result.error_code or after.status.value)
        lines.append(Line(at=line.at, kind=LineKind.ENDED, code=code))
    elif isinstance(after.phase, WaitingForAnswers) and not isinstance(before.phase, WaitingForAnswers):
        lines.append(Line(at=line.at, kind=LineKind.PARKED, turn=after.turn.number))
    return Journal(lines=_thinned(lines))


def _line_of(before: Run, after: Run, fact: Fact) -> tuple[LineKind, str] | None:
    """Kind and code; None for what has no line of its own: no such fact counts a wake."""
    match fact:
        case facts.Started():
            return LineKind.STARTED, ""
        case facts.NotStarted():
            return LineKind.WAITING, "too_many_active_runs"
        case facts.Claimed():
            return LineKind.SENT, ""
        case facts.NotBuilt() | facts.NotCreated():
            return LineKind.RETRY, fact.fault.code
        case facts.OutcomeUnknown():
            return LineKind.RETRY, fact.code
        case facts.ClaimRanOut():
            return LineKind.RETRY, "outcome_unknown"
        case facts.ResponseCreated() if before.phase == after.phase:
            return None  # an orphan
        case facts.ResponseCreated() | facts.Looked():
            return _of_a_response(after, is_new=isinstance(fact, facts.ResponseCreated))
        case facts.NoNews():
            return LineKind.NO_ANSWER, fact.fault.code
        case facts.LeaseTaken() | facts.ToolsSettled():
            return LineKind.TOOLS, ""
        case facts.Answered():
            return LineKind.ANSWERED, ""
        case facts.AgentUnknown():
            return LineKind.WAITING, "agent_unknown"
        case facts.WakeCrashed():
            return LineKind.CRASHED, fact.error
        case facts.CancelRequested() | facts.DeadlinePassed():
            return LineKind.ENDED, after.result.error_code or after.status.value
        case facts.OutboxTried(entry=entry, counts=True) if entry.kind is EntryKind.CALLBACK:
            return LineKind.CALLBACK, "retry"
        case facts.OutboxDone(entry=entry) if entry.kind is EntryKind.CALLBACK:
            return LineKind.CALLBACK, "" if fact.callback_state is None else fact.callback_state.value
    return None


def _of_a_response(after: Run, *, is_new: bool) -> tuple[LineKind, str]:
    if isinstance(after.phase, Pending):
        return (LineKind.TURN_STARTED if is_new else LineKind.LOOKED), ""
    if isinstance(after.phase, Creating) and after.phase.not_before is not None:
        return LineKind.RETRY, after.chain.provider_status or ""
    if isinstance(after.phase, RunningTools):
        return LineKind.TURN_ENDED, "tool_calls"
    return LineKind.TURN_ENDED, after.chain.provider_status or ""


def _append(lines: list[Line], line: Line) -> None:
    last = lines[-1] if lines else None
    if last is None or last.turn != line.turn:
        lines.append(line)
    elif last.kind is LineKind.SENT and line.kind in (LineKind.TURN_STARTED, LineKind.TURN_ENDED, LineKind.RETRY):
        # What became of the request takes the place of that it was sent.
        lines.pop()
        _append(lines, replace(_merged(last, line), kind=line.kind, code=line.code, count=1))
    elif last.kind is line.kind is LineKind.TOOLS:
        lines[-1] = replace(_merged(last, line), count=1)  # the lease was taken, and then all calls were settled
    elif last.kind is line.kind and line.kind in _MERGED and last.code == line.code:
        lines[-1] = _merged(last, line)
    else:
        lines.append(line)


def _merged(first: Line, second: Line) -> Line:
    return replace(
        first,
        last=second.at if second.last is None else second.last,
        count=first.count + second.count,
        wakes=first.wakes + second.wakes,
        ms=first.ms + second.ms,
    )


def _thinned(lines: list[Line]) -> tuple[Line, ...]:
    """As many of the lines as there is room for: those in the middle become one."""
    room = MAX_BYTES - sum(map(_size, lines))
    # Twelve of our own take less; what is in a row may be another version's.
    while room < 0 and len(lines) > KEPT_FIRST + 2:
        first, second = lines[KEPT_FIRST : KEPT_FIRST + 2]
        both = replace(_merged(first, second), kind=LineKind.OMITTED, turn=0, code="", by="")
        lines[KEPT_FIRST : KEPT_FIRST + 2] = [both]
        room += _size(first) + _size(second) - _size(both)
    return tuple(lines)


def _size(line: Line) -> int:
    return _LINE_BYTES + len(f"{line.kind}{line.code}{line.by}".encode("utf-8", "replace"))


def _cut(text: str) -> str:
    return text[:_MAX_WORD]
