"""Answer what a run asks approval for."""

from __future__ import annotations

from collections.abc import Mapping

from shared.runs.commit import commit
from shared.runs.model.facts import Answered, Approve
from shared.runs.model.run import Run
from shared.runs.ports import Ports


async def answer(ports: Ports, run_id: str, answers: Mapping[str, Approve], *, by: str = "") -> Run | None:
    """Take the answers, by approval id or call id, all or none; the run, or None when there is none.

    ``by``: who gives them, as the run then tells.

    The same answer again is fine. Raises ``AlreadyAnswered`` for a different one, ``NotWaiting`` for a call that nobody
    is asked about, ``AmbiguousCallId`` for a call id that names several, ``RunEnded``; ``LostRace``,
    ``StoreUnavailable``.
    """
    stored = await ports.runs.load(run_id)
    if stored is None or stored.value.is_deleted:
        return None
    answered = await commit(ports, stored, Answered(answers=answers, by=by))
    # A refusal without an error: the same answer again, as a client sends it that lost the first reply.
    if answered.refused is not None and answered.refused.error is not None:
        raise answered.refused.error
    # Looked at once more: it may have been deleted between the two reads.
    return None if answered.run.value.is_deleted else answered.run.value
