"""The dates that a sweep gives to due rows: of one partition together, in one transaction for many."""

from __future__ import annotations

from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.store.due import DueRow
from shared.runs.store.runs import Stored
from shared.runs.store.tables import StoreUnavailable

TOGETHER = 25
"""Rows that are written together: a process that dies before has so many of a partition looked at once more."""


class Dates:
    """The rows that are still to be written. Until then each is due, so that whatever happens somebody looks again."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._groups: dict[str, list[tuple[DueRow, Stored[Run] | None]]] = {}

        self.failed = 0
        """Rows that could not be written. They stay due."""

    async def add(self, dated: DueRow, run: Stored[Run] | None = None) -> None:
        """Have a row written, with others of its partition. ``run``: what it leads to, as it was just written."""
        group = self._groups.setdefault(dated.partition, [])
        group.append((dated, run))
        if len(group) >= TOGETHER:
            await self._write(self._groups.pop(dated.partition))

    async def write(self) -> None:
        """Have all the rest written."""
        while self._groups:
            await self._write(self._groups.popitem()[1])

    async def _write(self, group: list[tuple[DueRow, Stored[Run] | None]]) -> None:
        try:
            written = await self._ports.due.set_all([dated for dated, _ in group])
        except StoreUnavailable as error:
            log.warning("%d due rows are not dated and will be looked at again: %s", len(group), error)
            self.failed += len(group)
            return
        runs = {dated.run_id: run for dated, run in group}
        for row in written:
            if (run := runs[row.run_id]) is not None:
                self._ports.pending.keep(row, run)
