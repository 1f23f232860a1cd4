"""Runs as their owner reads them: one in full, a page of a list, the log of callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import RunNotFound
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.deliveries import Delivery
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.queries.conversation import current

if TYPE_CHECKING:
    from shared.runs.model.listed import ListedRun

MAX_BYTES = 4_000_000
"""Bytes of text that a page of anything holds at most, but for its first entry: the rest is on the next page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A tool call that waits for a person's approval."""

    call: ToolCall

    arguments: str
    """The JSON text that the model wrote, in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullRun:
    """A run with what its own row does not hold."""

    run: Run

    calls: Sequence[ToolCall] = ()
    """All tool calls, in the order in which they were asked for."""

    text: str = ""
    """The text of the last turn, in full."""

    output: str = ""
    """The structured output as JSON; empty without one."""

    questions: Sequence[Question] = ()

    annotations: str = ""
    """The citations of the text, as JSON; empty without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeCall:
    """A tool call with its long values."""

    call: ToolCall

    arguments: str
    """The JSON text that the model wrote, in full."""

    result: str
    """What the model was given, in full; empty until the call is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs a list wants."""

    statuses: frozenset[RunStatus] = frozenset()
    """Empty: any status."""

    agent: str | None = None
    """None: any agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """A page of an owner's runs, newest first."""

    runs: Sequence[ListedRun]

    cursor: str | None
    """Where the next page begins; None: this is the last."""


async def run_of_owner(ports: Ports, run_id: str, owner: str) -> Run:
    """The run. Raises ``RunNotFound`` for one that is not there, deleted, or another owner's."""
    return await run_if(ports, run_id, lambda run: run.request.owner == owner)


async def run_if(ports: Ports, run_id: str, may_be_seen: Callable[[Run], bool]) -> Run:
    """The run. Raises ``RunNotFound`` for one that is not there, deleted, or not to be seen by whoever asks."""
    stored = await ports.runs.load_visible(run_id)
    # One error for all: nobody learns which ids other owners have.
    if stored is None or not may_be_seen(stored.value):
        raise RunNotFound
    return stored.value


async def calls_of(ports: Ports, run: Run) -> Sequence[ToolCall]:
    """The run's tool calls."""
    # Most runs have none: that saves a query each time that one is read.
    return [call.value for call in await ports.runs.calls(run)] if run.may_have_calls else []


async def in_full(ports: Ports, run: Run, calls: Sequence[ToolCall]) -> FullRun:
    """The run with its long values. Raises ``RunNotFound`` if it is deleted meanwhile."""
    waiting = [call for call in calls if call.state is CallState.WAITING]
    try:
        return FullRun(
            run=run,
            calls=calls,
            text=await ports.runs.load_text(run, run.result.text),
            output=await ports.runs.load_text(run, run.result.output),
            # In full, however long: a person approves these very arguments.
            questions=[
                Question(call=call, arguments=await ports.runs.load_text(run, call.arguments)) for call in waiting
            ],
            annotations=await ports.runs.load_text(run, run.result.annotations),
        )
    except LookupError:
        # The parts of a deleted run are removed while its row is still there, as a tombstone.
        await current(ports, run)
        raise


async def whole_call(ports: Ports, run: Run, turn: int, index: int) -> WholeCall | None:
    """One call of the run; None when there is none. Raises ``RunNotFound`` if the run is deleted meanwhile."""
    stored = await ports.runs.calls(run, turn)
    call = next((each.value for each in stored if each.value.index == index), None)
    if call is None:
        return None
    try:
        return WholeCall(
            call=call,
            arguments=await ports.runs.load_text(run, call.arguments),
            result=await ports.runs.load_text(run, call.result),
        )
    except LookupError:
        await current(ports, run)
        raise


async def is_gone(ports: Ports, run_id: str) -> bool:
    """Whether the run was deleted since it was read, which takes its long values away."""
    again = await ports.runs.load(run_id)
    return again is None or again.value.is_deleted


async def runs_of_owner(ports: Ports, owner: str, cursor: str | None, limit: int, wanted: RunFilter) -> RunPage:
    """The page after the cursor. It may hold fewer than ``limit``, or none, and still have a next one.

    From the list's own rows: no run is read. Raises ``ValueError`` for a cursor that is none.
    """
    runs, following = await ports.index.runs(owner, cursor, limit, statuses=wanted.statuses, agent=wanted.agent)
    return RunPage(runs=runs, cursor=following)


async def deliveries_of(ports: Ports, run: Run) -> Sequence[Delivery]:
    """The log of the run's callbacks, oldest first."""
    return [stored.value for stored in await ports.runs.deliveries(run)]
