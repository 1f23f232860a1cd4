"""What a run costs at the provider: one response of a turn at a time, and each attempt counted."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from local.model.records import KnownResponse, LoggedRequest
from shared.runs.model.run import Run
from tests.parts.invariants.seen import Seen

RUNNING = frozenset({"queued", "in_progress"})


def one_response_at_a_time(seen: Seen) -> Iterator[str]:
    """A turn adopts one response, and another only after that one failed; none is adopted that names another turn."""
    owners: dict[str, str] = {}
    for run_id, versions in seen.versions.items():
        turns: dict[int, list[str]] = defaultdict(list)
        for turn, response_id in _adopted(versions):
            if response_id not in turns[turn]:
                turns[turn].append(response_id)
            if owners.setdefault(response_id, run_id) != run_id:
                yield f"{response_id} is adopted by {owners[response_id]} and by {run_id}"
            if (wrong := _named_otherwise(seen, response_id, run_id, turn)) is not None:
                yield f"{response_id} is adopted by turn {turn} of {run_id}, and was made for {wrong}"
        for turn, adopted in turns.items():
            for before, after in itertools.pairwise(adopted):
                known = seen.by_id.get(before)
                if known is not None and known.status != "failed":
                    yield f"{run_id} turn {turn} adopted {after} after {before}, which is {known.status}"


def _adopted(versions: Sequence[Run]) -> Iterator[tuple[int, str]]:
    """Turn and id of each response that the run waits for, or went on from, version by version."""
    # What the session had before is no response of this run; and where the beginning is not known, neither is that.
    inherited = versions[0].chain.last_response_id if versions[0].turn.number == 1 else None
    before: Run | None = None
    for run in versions:
        if run.token is not None:
            yield run.turn.number, run.token.response_id
        last = run.chain.last_response_id
        if before is not None and last is not None and last not in (before.chain.last_response_id, inherited):
            # The write that takes a response in may begin the next turn at once.
            yield before.turn.number, last
        before = run


def _named_otherwise(seen: Seen, response_id: str, run_id: str, turn: int) -> str | None:
    known = seen.by_id.get(response_id)
    if known is None or "run" not in known.metadata:
        return None
    named = known.metadata["run"], known.metadata.get("turn")
    return None if named == (run_id, str(turn)) else f"turn {named[1]} of {named[0]}"


def one_request_an_attempt(seen: Seen) -> Iterator[str]:
    """Each attempt is sent to the provider once at most, with a nonce of its own."""
    sent = Counter(_attempt_of(each) for each in _creates(seen))
    for (run_id, turn, attempt), count in sent.items():
        if count > 1:
            yield f"attempt {attempt} of turn {turn} of {run_id} was sent {count} times"
    nonces = Counter(each.metadata.get("nonce", "") for each in _creates(seen))
    for nonce, count in nonces.items():
        if count > 1:
            yield f"the nonce {nonce!r} was sent {count} times"


def attempts_are_counted_and_bounded(seen: Seen) -> Iterator[str]:
    """Each attempt is counted in the row before it is sent; those that may have started a response are bounded."""
    settings = seen.settings
    counted: dict[tuple[str, int], int] = {}
    for run_id, versions in seen.versions.items():
        for run in versions:
            turn = run.turn
            counted[run_id, turn.number] = max(turn.attempt, counted.get((run_id, turn.number), 0))
            if turn.unknown_outcomes >= settings.create_attempts and not run.terminal:
                yield f"{run_id} goes on after {turn.unknown_outcomes} unknown outcomes in turn {turn.number}"
    started: Counter[tuple[str, int]] = Counter()
    for each in _creates(seen):
        run_id, turn_number, attempt = _attempt_of(each)
        started[run_id, turn_number] += each.accepted
        known = counted.get((run_id, turn_number))
        if known is not None and attempt > known:
            yield f"attempt {attempt} of turn {turn_number} of {run_id} was sent, and the row counts {known}"
    most = settings.create_attempts + settings.create_restarts + 1
    for (run_id, turn_number), count in started.items():
        if count > most:
            yield f"{count} responses were made for turn {turn_number} of {run_id}, and {most} may be"


def known_orphans_are_cancelled(seen: Seen) -> Iterator[str]:
    """At rest nothing runs at the provider whose id any row ever knew, or that more attempts than were counted made.

    What the provider itself has forgotten nobody can cancel.
    """
    knew = {each for versions in seen.versions.values() for run in versions for each in run.chain.response_ids}
    unknown: Counter[tuple[str, int]] = Counter()
    for response in seen.responses:
        if response.status not in RUNNING or _is_gone(response) or "run" not in response.metadata:
            continue
        if response.id in knew:
            yield f"{response.id} of {response.metadata['run']} is {response.status}, and a row knew of it"
        elif response.background:
            unknown[response.metadata["run"], int(response.metadata.get("turn", 0))] += 1
    for (run_id, turn), count in unknown.items():
        attempts = max(
            (run.turn.attempt for run in seen.versions.get(run_id, ()) if run.turn.number == turn), default=0
        )
        if count > attempts:
            yield f"{count} responses of turn {turn} of {run_id} run on unseen, and {attempts} attempts were counted"


def _is_gone(response: KnownResponse) -> bool:
    return response.deleted or response.forgotten


def _creates(seen: Seen) -> list[LoggedRequest]:
    return [each for each in seen.requests if each.operation in ("create", "chat") and "run" in each.metadata]


def _attempt_of(request: LoggedRequest) -> tuple[str, int, int]:
    said = request.metadata
    return said["run"], int(said["turn"]), int(said["attempt"])
