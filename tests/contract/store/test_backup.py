"""A backup keeps each value as the service has it."""

from __future__ import annotations

from pathlib import Path

from local.backup.copying import back_up, restore
from local.stack import Azurite
from shared.runs.store.azure import AzureTables
from shared.runs.store.tables import Change, Kind, Table

VALUES = {
    "text": "é\n" * 10_000,
    "empty": "",
    "small": 7,
    "big": 2**53 + 1,
    "whole": 3.0,
    "broken": 0.1,
    "yes": True,
    "bytes": bytes(range(256)) * 200,
}


async def test_every_kind_of_value_comes_back_with_its_type(azurite: Azurite, prefix: str, tmp_path: Path) -> None:
    first = AzureTables.from_connection_string(azurite.connection_string, prefix)
    second = AzureTables.from_connection_string(azurite.connection_string, f"{prefix}b")
    try:
        for table in Table:
            changes = [Change(kind=Kind.INSERT, key=f"k{number:03}", values=VALUES) for number in range(12)]
            await first.commit(table, "p", changes)
        await back_up(first, tmp_path / "kept")
        await restore(second, tmp_path / "kept")
        for table in Table:
            before = [dict(row.values) async for row in first.query(table, "p")]
            found = [dict(row.values) async for row in second.query(table, "p")]
            assert found == before
            assert len(found) == 12
            assert {name: type(value) for name, value in found[0].items()} == {n: type(v) for n, v in VALUES.items()}
    finally:
        await first.close()
        await second.close()
