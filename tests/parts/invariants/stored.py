"""The rows: each is whole, and somebody comes back to whatever is not finished."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta

from shared.runs.model.batch import Deleted
from shared.runs.model.listed import list_status
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import PartRef, Run
from shared.runs.rules.agenda import next_time
from shared.runs.store.due import ASIDE
from shared.runs.store.tables import Row, Table
from tests.parts.invariants.seen import Seen

SLACK = timedelta(minutes=7)
"""A look may be made as long before its time as looks are apart, and the due row says nothing of that: with the minute
of an announcement this is the longest that a due row may be late."""


def every_row_has_somebody_who_looks(seen: Seen) -> Iterator[str]:
    """Whatever is not finished, or not shown as it is, has a due row, dated when somebody must look at it."""
    for run in seen.runs.values():
        if not run.is_done:
            yield from _looked_at(seen, run)
    for batch in seen.batches.values():
        if not batch.is_done and batch.id not in seen.due:
            yield f"{batch.id} is {batch.status}, and has no due row"
    for one in seen.schedules:
        if one.next_at is not None and one.id not in seen.due:
            yield f"{one.id} is to begin a run at {one.next_at}, and has no due row"
    yield from _left_alone(seen)
    for subject, shows in _listed(seen).items():
        one = seen.runs.get(subject) or seen.batches.get(subject)
        wanted = None if one is None else list_status(one)
        if subject not in seen.due and shows != ("" if wanted is None else wanted.value):
            yield f"the list shows {subject} as {shows!r}, it is {wanted}, and there is no due row"


def _looked_at(seen: Seen, run: Run) -> Iterator[str]:
    due, soonest = seen.due.get(run.id), next_time(run)
    if due is None:
        yield f"{run.id} is {run.status} with {len(run.outbox.entries)} entries in its outbox, and has no due row"
    elif soonest is not None and not due.quarantined:
        latest = max(soonest.due, seen.now) + timedelta(seconds=seen.settings.overdue) + SLACK
        # The row of a run that was announced and is not there. A process that was frozen between its last look at the
        # clock and its write may commit the run under it: it is found when the hour is over.
        is_aside = due.due == due.announced_at + ASIDE
        if due.due > latest and not is_aside:
            yield f"{run.id} is to be woken at {soonest.due}, and its due row is dated {due.due}"


def _left_alone(seen: Seen) -> Iterator[str]:
    """Rows whose run or batch is not there: its submit was cut off, or is under way."""
    alone: Counter[str] = Counter()
    for row in seen.rows.get(Table.RUNS, ()):
        kind, _, rest = row.key.partition(":")
        run_id = f"run_{row.partition}_{int(rest[:8] or 0)}" if rest else ""
        if kind in ("item", "tool", "part", "delivery") and run_id not in seen.runs and run_id not in seen.due:
            alone[run_id] += 1
    for row in seen.rows.get(Table.BATCHES, ()):
        if row.partition not in seen.batches and row.partition not in seen.due:
            alone[row.partition] += 1
    for subject, count in alone.items():
        yield f"{count} rows of {subject} are there without it, and without a due row"


def _listed(seen: Seen) -> dict[str, str]:
    """What the lists show, by id; empty for what they hide."""
    rows = seen.rows.get(Table.INDEX, ())
    lists = [row for row in rows if row.partition.startswith(("owner:", "batches:"))]
    return {row.key.split(":")[1]: str(row.values.get("status", "")) for row in lists}


def nothing_that_a_row_names_is_missing(seen: Seen) -> Iterator[str]:
    """A run that is not deleted has all its items and calls, and every value that its rows refer to."""
    items: dict[str, list[int]] = defaultdict(list)
    for row in seen.rows.get(Table.RUNS, ()):
        if row.key.startswith("item:"):
            _, number, index = row.key.split(":")
            items[f"run_{row.partition}_{int(number)}"].append(int(index))
    calls = Counter((call.run, call.turn) for call in seen.calls.values())
    for run in seen.runs.values():
        if run.is_deleted:
            continue
        if sorted(items[run.id]) != [*range(run.chain.items)]:
            yield f"{run.id} counts {run.chain.items} items, and {sorted(items[run.id])} are there"
        if calls[run.id, run.turn.number] != run.turn.calls:
            count = calls[run.id, run.turn.number]
            yield f"{run.id} counts {run.turn.calls} calls in turn {run.turn.number}, and {count} are there"
    yield from _missing_parts(seen)


def _missing_parts(seen: Seen) -> Iterator[str]:
    for table in (Table.RUNS, Table.BATCHES):
        rows = seen.rows.get(table, ())
        there = Counter((row.partition, row.key.rpartition(":")[0]) for row in rows if row.key.startswith("part:"))
        for row in rows:
            if not _is_kept(seen, table, row):
                continue
            for digest, count in _references(seen, row):
                number = int(row.key.split(":")[1])
                found = there[row.partition, f"part:{number:08}:{digest}"]
                if found < count:
                    yield f"{row.partition}/{row.key} refers to {count} parts, and {found} are there"


def _is_kept(seen: Seen, table: Table, row: Row) -> bool:
    """Whether the row is of something that is there and not being deleted."""
    kind, _, rest = row.key.partition(":")
    if table is Table.BATCHES:
        batch = seen.batches.get(row.partition)
        return kind == "item" and batch is not None and not batch.is_deleted
    if kind not in ("run", "item", "tool"):
        return False
    run = seen.runs.get(f"run_{row.partition}_{int(rest[:8])}")
    return run is not None and not run.is_deleted


def _references(seen: Seen, row: Row) -> Iterator[tuple[str, int]]:
    for name, value in row.values.items():
        if name.endswith("_part") and value:
            digest, _, count = str(value).partition(":")
            yield digest, int(count)
    if row.key.startswith("run:"):
        run = seen.runs[f"run_{row.partition}_{int(row.key[4:])}"]
        yield from ((each.digest, each.count) for each in run.request.history if isinstance(each, PartRef))


def batch_counts_agree_with_results(seen: Seen) -> Iterator[str]:
    """A batch counts each item once: as many results as it says, and one run an item at most."""
    for batch in seen.batches.values():
        if isinstance(batch.phase, Deleted):
            continue
        results = seen.results.get(batch.id, [])
        counted, progress = Counter(each.status for each in results), batch.progress
        never = _never_started(seen, batch.id)
        refused = sum(1 for index in batch.request.refused if not any(each.index == index for each in results))
        for status, count, besides in (
            (RunStatus.COMPLETED, progress.completed, 0),
            (RunStatus.INCOMPLETE, progress.incomplete, 0),
            (RunStatus.FAILED, progress.failed, refused + (never if progress.failed_from is not None else 0)),
            (RunStatus.CANCELLED, progress.cancelled, never if progress.cancelled_from is not None else 0),
        ):
            if not counted[status] <= count <= counted[status] + besides:
                yield f"{batch.id} counts {count} {status} items, and has {counted[status]} such results"
        if batch.pending < 0:
            yield f"{batch.id} counts more items than it has"
        if batch.status.terminal and (batch.pending or progress.active):
            yield f"{batch.id} is {batch.status}, with {batch.pending} items pending and {len(progress.active)} active"


def _never_started(seen: Seen, batch_id: str) -> int:
    batch = seen.batches[batch_id]
    firsts = [each for each in (batch.progress.cancelled_from, batch.progress.failed_from) if each is not None]
    return sum(batch.request.total - first for first in firsts)
