"""What is gone, and what lists show of what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from shared.runs.model.ids import parse_run_id
from shared.runs.model.listed import list_status
from shared.runs.model.outbox import EntryKind
from shared.runs.store.tables import Row, Table
from tests.parts.invariants.seen import Seen


def lists_show_what_is(seen: Seen) -> Iterator[str]:
    """At rest each owner's list shows every run and batch once, as it is, and none that is deleted."""
    shown: Counter[str] = Counter()
    for row in seen.rows.get(Table.INDEX, ()):
        if not row.partition.startswith(("owner:", "batches:")):
            continue
        subject, status = row.key.split(":")[1], str(row.values.get("status", ""))
        one = seen.runs.get(subject) or seen.batches.get(subject)
        wanted = None if one is None else list_status(one)
        if status and status != (None if wanted is None else wanted.value):
            yield f"the list shows {subject} as {status}, and it is {wanted}"
        shown[subject] += bool(status)
    for one in (*seen.runs.values(), *seen.batches.values()):
        if not one.is_deleted and shown[one.id] != 1:
            yield f"the list shows {one.id} {shown[one.id]} times"


def nothing_of_what_was_purged(seen: Seen) -> Iterator[str]:
    """Once a run, session or batch is purged no row anywhere is of it, and the provider keeps no copy."""
    if not seen.purged:
        return
    for table, rows in seen.rows.items():
        for row in rows:
            for name in _named_by(table, row) & seen.purged:
                yield f"{table}/{row.partition}/{row.key} is left of {name}"
    knew = {each for versions in seen.versions.values() for run in versions for each in run.chain.response_ids}
    for response in seen.responses:
        run_id = response.metadata.get("run", "")
        is_purged = bool({run_id, _session_of(run_id)} & seen.purged)
        if is_purged and response.id in knew and not (response.deleted or response.forgotten):
            yield f"the provider keeps {response.id} of {run_id}"


def _named_by(table: Table, row: Row) -> set[str]:
    """The ids that a row is about: runs, sessions, batches."""
    rest = row.key.partition(":")[2]
    match table:
        case Table.RUNS:
            return {row.partition, f"run_{row.partition}_{int(rest[:8])}"} if rest else {row.partition}
        case Table.BATCHES:
            return {row.partition}
        case Table.DUE:
            return {row.key, _session_of(row.key), row.key.removeprefix("session_")}
    if row.partition.startswith(("owner:", "batches:")):
        return {row.key.split(":")[1], _session_of(row.key.split(":")[1])}
    # The row of a key answers its replays for a while longer, with the ids alone; a slot is found when it is needed.
    return set()


def _session_of(run_id: str) -> str:
    parsed = parse_run_id(run_id)
    return "" if parsed is None else parsed[0]


def nothing_private_after_deletion(seen: Seen) -> Iterator[str]:
    """Once a run's rows are deleted no row anywhere holds a word that its caller or its model wrote.

    But a batch that is not deleted: it keeps what its items ask.
    """
    for run_id, words in seen.private.items():
        if not _is_emptied(seen, run_id):
            continue
        for table, rows in seen.rows.items():
            for row in rows:
                if not _is_kept(seen, table, row) and any(_holds(row, word) for word in words):
                    yield f"{table}/{row.partition}/{row.key} holds what was written in {run_id}"


def _is_kept(seen: Seen, table: Table, row: Row) -> bool:
    batch = seen.batches.get(row.partition) if table is Table.BATCHES else None
    return batch is not None and not batch.is_deleted


def _is_emptied(seen: Seen, run_id: str) -> bool:
    run = seen.runs.get(run_id)
    if run is None:
        return run_id in seen.purged or _session_of(run_id) in seen.purged
    return run.is_deleted and not run.outbox.of(EntryKind.ROWS) and run.request.batch_id is None


def _holds(row: Row, word: str) -> bool:
    if word in row.key or word in row.partition:
        return True
    data = word.encode()
    return any(data in value if isinstance(value, bytes) else word in str(value) for value in row.values.values())
