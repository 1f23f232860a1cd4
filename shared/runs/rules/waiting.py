"""What a run waits for, in a word for programs and a sentence for people. Pure: no I/O, no clock.

The one place for it: the API, the page, the clients and the logs say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.phases import Creating, Ended, Pending, RunningTools, RunStatus, Scheduled, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules.agenda import look_or_try

MAX_NAMES = 3
"""Tools that a sentence names."""


class WaitingFor(StrEnum):
    """What the run waits for. Later versions may know more."""

    START = "start"
    """It was submitted for later, and its time has not come, or its owner has as many active runs as there may be."""

    PROVIDER = "provider"
    """The model provider has the request, or is given it at once."""

    TOOLS = "tools"
    """The app's own tools run."""

    PERSON = "person"
    """Somebody is to approve a call."""

    RETRY = "retry"
    """Something went wrong that passes, and is tried again."""

    NOTHING = "nothing"
    """The run has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What a run waits for."""

    word: WaitingFor
    """For programs."""

    sentence: str
    """For people."""

    next_try: datetime | None
    """When the app looks or tries next by itself; None where somebody else decides, and at the end."""


def waiting_of(run: Run, calls: Sequence[ToolCall] = ()) -> Waiting:
    """What the run waits for. ``calls``: its tool calls, where they are known, for their names."""
    next_try = next_look_or_try(run)
    word, sentence = _said(run, calls, next_try)
    return Waiting(word=word, sentence=sentence, next_try=next_try)


def next_look_or_try(run: Run) -> datetime | None:
    """When the app asks the provider or tries again; None while tools run, while parked, and after the end."""
    match run.phase:  # no schedule decides when tools are done
        case RunningTools(lease=lease) if lease is not None or run.schedule.resume_at is None:
            return None
    return look_or_try(run)


def _said(run: Run, calls: Sequence[ToolCall], next_try: datetime | None) -> tuple[WaitingFor, str]:
    match run.phase:
        case Ended(status=status):
            return WaitingFor.NOTHING, f"The run is {_STATUS[status]}."
        case Scheduled(refusals=refusals) if run.schedule.resume_at is None:
            return WaitingFor.START, _START_REFUSED.format(_seconds(run)) if refusals else f"It starts at {_time(run)}."
        case WaitingForAnswers():
            names = _names(call for call in calls if call.state is CallState.WAITING)
            return WaitingFor.PERSON, f"Waiting for somebody to approve {_listed(names) or 'a tool call'}."
        case RunningTools() if next_try is None:
            names = _names(call for call in calls if call.turn == run.turn.number and call.state.runnable)
            return WaitingFor.TOOLS, f"{_listed(names)} {_are(names)} running." if names else _TOOLS
        case Pending() if run.schedule.agent_unknown_since is not None or run.schedule.crashes:
            pass  # what keeps the app from looking
        case Pending(no_news=failures) if failures:
            return WaitingFor.PROVIDER, f"The provider did not answer the last look. Next look in {_seconds(run)}."
        case Pending():
            return WaitingFor.PROVIDER, f"The model is thinking. Next look in {_seconds(run)}."
        case Creating(claim=claim) if claim is not None:
            return WaitingFor.PROVIDER, "The request is at the provider, and its answer is not known yet."
        case Creating(not_before=None) if run.schedule.resume_at is None:
            return WaitingFor.PROVIDER, "The request to the model is about to be sent."
    return WaitingFor.RETRY, f"{_why(run)} Next try in {_seconds(run)}."


_TOOLS = "The run's tools are running."
_START_REFUSED = "As many runs as may be are active: it starts once one of them has ended. Next try in {}."
_STATUS = {
    RunStatus.COMPLETED: "completed",
    RunStatus.INCOMPLETE: "incomplete: the model was stopped early",
    RunStatus.FAILED: "over: it failed",
    RunStatus.CANCELLED: "cancelled",
}


def _why(run: Run) -> str:
    if run.schedule.agent_unknown_since is not None:
        return f"This version of the app does not know the agent {run.request.agent}."
    if run.schedule.crashes:
        return "The last wake failed."
    word = run.chain.provider_status
    return f"The last try did not succeed ({word})." if word else "The last try did not succeed."


def _time(run: Run) -> str:
    return f"{run.request.start_at:%Y-%m-%d %H:%M:%S} UTC"


def _seconds(run: Run) -> str:
    # The gap as it was chosen, and no clock: what a caller reads must not change from second to second.
    return f"{max(1, round(run.schedule.retry_after))} s"


def _names(calls: Iterable[ToolCall]) -> list[str]:
    return list(dict.fromkeys(call.name for call in calls))


def _listed(names: Sequence[str]) -> str:
    """Some of the names as a sentence has them; empty without any."""
    shown = names[:MAX_NAMES]
    if len(names) > MAX_NAMES:
        return f"{', '.join(shown)} and {len(names) - MAX_NAMES} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
