"""Have the callback of a run's end delivered again."""

from __future__ import annotations

from shared.errors import CallbacksDisabled
from shared.runs.commit import commit
from shared.runs.model.facts import CallbackRequested
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.rules.change import Before, Refused
from shared.runs.rules.decide import decide


async def redeliver(ports: Ports, run_id: str) -> Run | None:
    """The run, which is to tell of its end anew, also after a 410 or when that was given up; None: no such run.

    Raises ``NoCallback``, ``RunNotEnded``, ``CallbacksDisabled``; ``LostRace``, ``StoreUnavailable``.
    """
    stored = await ports.runs.load(run_id)
    if stored is None or stored.value.is_deleted:
        return None
    fact = CallbackRequested()
    # Decided here as well, so that what is wrong with the run is said before what is wrong with the app.
    first = decide(Before(run=stored.value), fact, ports.clock(), ports.settings)
    if isinstance(first, Refused) and first.error is not None:
        raise first.error
    check_sender(ports)
    requested = await commit(ports, stored, fact)
    if requested.run.value.is_deleted:
        return None
    if requested.refused is not None and requested.refused.error is not None:
        raise requested.refused.error
    return requested.run.value


def check_sender(ports: Ports) -> None:
    """Raise ``CallbacksDisabled`` where the app sends none any more."""
    if ports.sender is None:
        raise CallbacksDisabled("This app sends no callbacks any more. Set DORMOUSE_CALLBACK_SECRET (`whsec_…`).")
