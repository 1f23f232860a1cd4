"""Start a run that was submitted for later, once its time has come."""

from __future__ import annotations

from shared.errors import TooManyActiveRuns
from shared.runs.actions.admission import admit
from shared.runs.commit import commit, give_slot_back
from shared.runs.concurrency import LostRace
from shared.runs.model.facts import NotStarted, Started
from shared.runs.model.phases import Scheduled
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.store.runs import Stored


async def start(ports: Ports, stored: Stored[Run]) -> Stored[Run]:
    """Take a slot and begin the run; where the owner has none left, put it off. The run as it then is.

    The slot comes first, as in a submit: one that a crash leaves behind is the run's own when it is tried again.
    """
    run, began = stored.value, ports.clock()
    try:
        admitted = await admit(ports, run)
    except TooManyActiveRuns:
        refusals = run.phase.refusals if isinstance(run.phase, Scheduled) else 0
        fact = NotStarted(refusals=refusals, jitter=ports.random())
        return (await commit(ports, stored, fact)).run
    slot = admitted.request.slot
    try:
        after = (await commit(ports, stored, Started(slot=slot, taken_at=began))).run
    except LostRace:  # the row is gone
        await give_slot_back(ports, admitted)
        raise
    # Another wake has started it with a slot of its own, or it is over.
    if after.value.terminal or after.value.request.slot != slot:
        await give_slot_back(ports, admitted)
    return after
