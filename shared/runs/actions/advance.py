"""One wake of a run: restore, act, persist. The only code that moves a run by itself."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from datetime import datetime
from typing import Any

from shared.agentkit.agent import Agent
from shared.runs.actions import outbox
from shared.runs.actions.create import Request, attempt_of, create, send
from shared.runs.actions.look import look
from shared.runs.actions.outcome import Outcome, outcome_of
from shared.runs.actions.start import start
from shared.runs.actions.tools import run_tools
from shared.runs.commit import commit
from shared.runs.concurrency import LostRace
from shared.runs.execution import execution
from shared.runs.metrics import measure_wake
from shared.runs.model.facts import AgentUnknown, ClaimRanOut, DeadlinePassed, WakeCrashed
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.rules.agenda import Action, ActionKind, early_look, next_action
from shared.runs.store.runs import Stored
from shared.runs.store.tables import StoreUnavailable
from shared.runs.store.unreadable import RowTooNew, RowTooOld
from shared.runs.traces import of_run


async def advance(
    ports: Ports, run_id: str, *, only: frozenset[ActionKind] | None = None, stored: Stored[Run] | None = None
) -> Outcome:
    """Do what is next, through as many phases as that takes, but at most one thing that blocks.

    ``only`` names the blocking actions that may be done; any other is left with ``wake_in`` 0. ``stored``: the run, as
    an earlier wake has left it. Any number of callers, at any time, in any process, are safe. Raises
    ``StoreUnavailable``; the rows then say what to do next.
    """
    with execution(ports.clock):
        stored = stored or await ports.runs.load(run_id)
        if stored is None:
            return Outcome(None, None)
        measure_wake(ports, stored.value)
        with ports.telemetry.span("wake", run_id, of_run(stored.value)):
            return await _guarded(ports, stored, _go_on(ports, stored, only))


async def send_first(ports: Ports, stored: Stored[Run], request: Request, agent: Agent) -> Stored[Run] | None:
    """The first create of a run that was committed with its claim: what a wake does, as safe as one.

    The run as it then is; None when it is gone. Raises ``StoreUnavailable``; the rows then say what to do next.
    """
    after: Stored[Run] | None = None

    async def work() -> Outcome:
        nonlocal after
        after = await send(ports, stored, request, agent)
        return outcome_of(after, ports.clock())

    await _guarded(ports, stored, work())
    return after or await ports.runs.load(stored.value.id)  # what was just written is not read again


async def _guarded(ports: Ports, stored: Stored[Run], work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Do the work of a wake. A lost race leaves it to the winner; an unexpected exception is counted in the row."""
    run_id = stored.value.id
    try:
        return await work
    except LostRace:
        return await _outcome_from_row(ports, run_id)
    # An outage, or a row of another version, is no fault of the run and must not count towards its end.
    except (StoreUnavailable, RowTooNew, RowTooOld):
        raise
    except Exception as error:  # a row of another run, or of a tool call, that cannot be read is one too
        log.exception("run %s: a wake crashed", run_id)
        return await _count_crash(ports, run_id, stored.value.schedule.crashes, error)
    finally:
        ports.interruptions.report(ports.clock())


async def _go_on(ports: Ports, stored: Stored[Run], only: frozenset[ActionKind] | None) -> Outcome:
    has_blocked, begun = False, stored
    while action := _next(stored.value, ports.clock(), has_blocked=has_blocked):
        # A wake must stay far below functionTimeout: the host restarts the worker then, with all that runs on it.
        if action.blocks and (has_blocked or (only is not None and action.kind not in only)):
            return replace(_left(ports, stored, begun), wake_in=0.0, may_be_early=False)
        has_blocked |= action.blocks
        after = await _act(ports, action, stored)
        if after is None:
            return Outcome(None, None)
        stored = after
    return _left(ports, stored, begun)


def _left(ports: Ports, stored: Stored[Run], begun: Stored[Run]) -> Outcome:
    """What the wake leaves behind, with the run if it has written that."""
    # What it began with may be out of date, and then refuses whatever is done, again and again.
    return replace(outcome_of(stored, ports.clock()), run=None if stored is begun else stored)


def _next(run: Run, now: datetime, *, has_blocked: bool) -> Action | None:
    """What is due; else, once a wake, a look: a webhook that woke the run is no reason to wait for the next one."""
    due = next_action(run, now)
    # A webhook is only a hint: it carries no result, and looking once is cheaper than trusting it.
    return early_look(run, now) if due is None and not has_blocked else due


async def _act(ports: Ports, action: Action, stored: Stored[Run]) -> Stored[Run] | None:
    """Do it, and the run as it then is; None when its row is gone."""
    run = stored.value
    agent = ports.agents.get(run.request.agent)
    match action.kind:
        case ActionKind.TIME_IS_UP:
            return (await commit(ports, stored, DeadlinePassed())).run
        case ActionKind.CLAIM_RAN_OUT:
            ports.interruptions.add(ports.clock(), run.id, requests=1)
            return (await commit(ports, stored, ClaimRanOut(attempt=attempt_of(run)))).run
        case ActionKind.OUTBOX if action.entry is not None:
            return await outbox.process(ports, stored, action.entry, agent)
        case ActionKind.START:
            return await start(ports, stored)
    # After time and outbox: a run of an unknown agent still ends, and its callback is still sent.
    if agent is None:
        return (await commit(ports, stored, AgentUnknown())).run
    match action.kind:
        case ActionKind.CREATE:
            return await create(ports, stored, agent)
        case ActionKind.LOOK:
            return await look(ports, stored, agent)
    return await run_tools(ports, stored, agent)


async def _outcome_from_row(ports: Ports, run_id: str) -> Outcome:
    stored = await ports.runs.load(run_id)
    return Outcome(None, None) if stored is None else outcome_of(stored, ports.clock())


async def _count_crash(ports: Ports, run_id: str, seen: int, error: Exception) -> Outcome:
    """Count an unexpected exception in the row and back off; ten in a row end the run."""
    stored = await ports.runs.load(run_id)
    if stored is None:
        return Outcome(None, None)
    # The class only: an exception's text may hold a secret, and callers read this.
    fact = WakeCrashed(seen=seen, error=type(error).__name__, jitter=ports.random())
    try:
        return outcome_of((await commit(ports, stored, fact)).run, ports.clock())
    except LostRace:
        return await _outcome_from_row(ports, run_id)
