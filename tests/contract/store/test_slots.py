"""Slots, in memory and on Azurite alike."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from shared.runs.store.slots import Slot, SlotStore
from shared.runs.store.tables import Conflict, Tables
from tests.contract.store.records import NOW

SLOT = Slot(number=7, run_id="run_a_1", fingerprint="s", taken_at=NOW)


@pytest.fixture
def slots(tables: Tables) -> SlotStore:
    return SlotStore(tables)


async def test_a_slot_is_taken_once_and_comes_back_as_it_was(slots: SlotStore) -> None:
    claims = [slots.take("ann", replace(SLOT, run_id=f"run_{i}_1")) for i in range(4)]
    answers = await asyncio.gather(*claims, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "Conflict", "Conflict", "NoneType"]
    (held,) = await slots.held("ann")
    assert held == replace(SLOT, run_id=f"run_{answers.index(None)}_1", etag=held.etag)
    assert await slots.held("bob") == []


async def test_holding_a_slot_on_makes_what_was_read_of_it_stale(slots: SlotStore) -> None:
    await slots.take("ann", SLOT)
    (seen,) = await slots.held("ann")
    await slots.take("ann", seen)
    with pytest.raises(Conflict):
        await slots.free("ann", seen)
    with pytest.raises(Conflict):
        await slots.take("ann", seen)
    (now,) = await slots.held("ann")
    await slots.free("ann", now)
    assert await slots.held("ann") == []


async def test_only_its_holder_gives_a_slot_back(slots: SlotStore) -> None:
    await slots.take("ann", SLOT)
    await slots.give_back("ann", 7, "run_a_1", "another")
    await slots.give_back("ann", 7, "run_b_1", "s")
    await slots.give_back("ann", 8, "run_a_1", "s")
    assert len(await slots.held("ann")) == 1
    await slots.give_back("ann", 7, "run_a_1", "s")
    await slots.give_back("ann", 7, "run_a_1", "s")
    assert await slots.held("ann") == []
