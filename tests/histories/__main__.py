"""`python -m tests.histories`: many histories over all cores, or the planted defects; what it found as one JSON line.

`dev.py prove` starts it and reads the line. A seed is a history, on every machine: to split many over machines give
each as many as it is to play and a first seed of its own (`--histories 100000 --first 100000` on the second of some).
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from local.stack.parts import Azurite
from tests.histories.coverage import uncovered
from tests.histories.defects import BY_NAME, DEFECTS
from tests.histories.history import play, play_on
from tests.histories.loop import NoEnd
from tests.parts.invariants import RULES

A_PIECE = 50
"""Histories that a worker plays before it reports."""

A_PIECE_ON_A_SERVICE = 5
"""The same over a service."""

MOST_FOR_A_DEFECT = 500
"""Histories in which a planted defect must have been found."""

OPERATED, SCHEDULED = 3, 7
"""The last digits of the seeds in whose histories there is an operator, or are schedules."""

SHOWN = 20
"""Violations that are printed."""


@dataclass(slots=True)
class Piece:
    """What some histories came to."""

    played: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def play_piece(seeds: range, service: str | None = None) -> Piece:
    """The histories of some seeds: in memory, or over the tables behind a connection string."""
    piece = Piece()
    for seed in seeds:
        for violation in one(seed, piece.seen, service):
            piece.violations.append(f"seed {seed}: {violation}")
        piece.played += 1
    return piece


def one(seed: int, seen: Counter[str], service: str | None = None) -> list[str]:
    """The violations of one history, in words; what it raised is one too."""
    try:
        if service is None:
            played = play(seed, operated=seed % 10 == OPERATED, scheduled=seed % 10 == SCHEDULED)
        else:
            played = play_on(service, seed)
    except NoEnd as error:
        return [f"everything_ends: it goes on for ever, {error}"]
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    seen.update(played.seen)
    return [str(each) for each in played.violations]


def find(name: str) -> tuple[str, int | None, str]:
    """A planted defect: its name, the seed of the history that finds it (None: none does), and what that says."""
    with BY_NAME[name].planted():
        for seed in range(MOST_FOR_A_DEFECT):
            found = one(seed, Counter())
            # Against its own rule: another that is broken as well proves nothing of this one.
            own = [each for each in found if each.startswith(BY_NAME[name].breaks)]
            if own:
                return name, seed, own[0]
    return name, None, ""


def histories(count: int, first: int, jobs: int, service: str | None = None) -> dict[str, Any]:
    """Play so many; what they came to."""
    began, total = time.monotonic(), Piece()
    end, size = first + count, A_PIECE if service is None else A_PIECE_ON_A_SERVICE
    pieces = [range(each, min(each + size, end)) for each in range(first, end, size)]
    with multiprocessing.Pool(jobs, _collect_seldom) as pool:
        for piece in pool.imap_unordered(partial(play_piece, service=service), pieces):
            total.played += piece.played
            total.seen.update(piece.seen)
            total.violations += piece.violations
            for violation in piece.violations:
                _say(f"  {violation}")
            _say(f"  {total.played} histories, {len(total.violations)} violations")
    seconds = time.monotonic() - began
    return {
        "histories": total.played,
        "seconds": round(seconds, 1),
        "a_second": round(total.played / seconds, 1),
        "violations": total.violations[:SHOWN],
        # Whatever is seen on a service is seen in memory, too, and far more of it.
        "uncovered": uncovered(total.seen, total.played) if service is None else [],
        "seen": dict(sorted(total.seen.items())),
    }


def planted(names: list[str], jobs: int) -> dict[str, Any]:
    """Plant each defect; where each was found."""
    found: dict[str, dict[str, Any]] = {}
    with multiprocessing.Pool(jobs, _collect_seldom, maxtasksperchild=1) as pool:
        for name, seed, said in pool.imap_unordered(find, names):
            defect = BY_NAME[name]
            found[name] = {"rule": defect.breaks, "sentence": defect.sentence, "seed": seed, "found": said}
            _say(f"  {name}: " + ("NOT FOUND" if seed is None else f"found in history {seed}"))
    unguarded = sorted(set(RULES) - {defect.breaks for defect in DEFECTS})
    return {"planted": found, "rules_without_defect": unguarded}


def is_well(result: dict[str, Any], wanted: int) -> bool:
    """Whether nothing was found, or everything that was planted; and as many histories as were asked for."""
    if "planted" in result:
        missed = [each for each in result["planted"].values() if each["seed"] is None]
        return not missed and not result["rules_without_defect"]
    return not result["violations"] and not result["uncovered"] and result["histories"] >= wanted


def _collect_seldom() -> None:
    # Modules never go, and what a history leaves behind is little.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run it; 1 when something is not well."""
    command = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    command.add_argument("--histories", type=int, default=2_000)
    command.add_argument("--first", type=int, default=0, help="the first seed")
    command.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    command.add_argument("--azurite", action="store_true", help="over Azurite's tables in place of those in memory")
    command.add_argument("--planted", nargs="*", help="plant defects: all, or those that are named")
    options = command.parse_args()
    if options.planted is not None:
        result = planted(options.planted or list(BY_NAME), options.jobs)
    elif options.azurite:
        with TemporaryDirectory() as folder, Azurite(Path(folder) / "data", log=Path(folder) / "log") as azurite:
            result = histories(options.histories, options.first, options.jobs, azurite.connection_string)
    else:
        result = histories(options.histories, options.first, options.jobs)
    print(json.dumps(result))
    return 0 if is_well(result, options.histories) else 1


if __name__ == "__main__":
    sys.exit(main())
