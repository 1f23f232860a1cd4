"""What `bench/sweeps.py` simulates: in time of its own, so that its figures are the same everywhere."""

from __future__ import annotations

import argparse

import pytest

from bench import sweeps
from tests.histories import loop

OPTIONS = argparse.Namespace(runs=2_000, seconds=20.0, look=0.5, cpu=0.008, slots=16)


def test_what_is_handed_out_is_polled_by_more_than_one_and_each_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MOST_CALLBACKS", 10**9)
    alone, spread = sweeps.carry(OPTIONS, 60, 0), sweeps.carry(OPTIONS, 60, 4)
    assert not alone.activities
    assert spread.activities > 0
    assert spread.lag < alone.lag
    assert spread.wakes <= 60 * (OPTIONS.seconds + sweeps.HUB_SECONDS)
    assert spread == sweeps.carry(OPTIONS, 60, 4)
