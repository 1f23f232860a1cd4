"""`dev.py prove`: the parts, each of which prints a figure and fails when something does not hold."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from local.prove import figures
from local.prove.figures import Shown
from local.prove.mutated import prove_mutants
from local.prove.played import HISTORIES, RUNS, SOAK_MINUTES, prove_histories, prove_load, prove_planted, prove_soak
from local.prove.points import PAGE, prove_points
from local.prove.tested import prove_faults, prove_inputs
from local.stack.setup import print_now

PARTS: Mapping[str, Callable[[argparse.Namespace], Shown]] = {
    "points": prove_points,
    "histories": prove_histories,
    "planted": prove_planted,
    "inputs": prove_inputs,
    "faults": prove_faults,
    "load": prove_load,
    "soak": prove_soak,
    "mutants": prove_mutants,
}
"""Every part, by the option that asks for it."""

ONLY_WHEN_ASKED = frozenset({"soak", "mutants"})


def add_prove_options(command: argparse.ArgumentParser) -> None:
    """The parts, and what is done with their figures."""
    command.add_argument("--points", action="store_true", help="a death at every named point, under both drivers")
    text = f"random histories of the core (default: {HISTORIES})"
    command.add_argument("--histories", type=_positive, nargs="?", const=HISTORIES, metavar="N", help=text)
    command.add_argument("--planted", action="store_true", help="plant defects one at a time: each must be found")
    text = "hostile requests, each kind of caller at each operation, requests made from the contract"
    command.add_argument("--inputs", action="store_true", help=text)
    text = "storage and provider that fail at 5 and 10 percent, and each kind of fault of a provider"
    command.add_argument("--faults", action="store_true", help=text)
    text = f"so many runs under each driver, on hosts that are killed (default: {RUNS})"
    command.add_argument("--load", type=_positive, nargs="?", const=RUNS, metavar="RUNS", help=text)
    text = f"a host under a constant load for so long (default: {SOAK_MINUTES:g}); only when asked for"
    command.add_argument("--soak", type=float, nargs="?", const=SOAK_MINUTES, metavar="MINUTES", help=text)
    text = "small changes of the rules, one at a time, each of which a test must find; only when asked for"
    command.add_argument("--mutants", action="store_true", help=text)
    text = "write each figure into docs/reliability.md, unless a smaller number was asked for"
    command.add_argument("--record", action="store_true", help=text)
    text = "run nothing: put together what tests have left in this folder (`DORMOUSE_PROVE_POINTS` names it to them)"
    command.add_argument("--seen", type=Path, metavar="DIR", help=text)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {value}")
    return value


def parts_of(options: argparse.Namespace) -> list[str]:
    """The parts that are asked for; without any all that need no asking."""
    values = {**vars(options), "points": options.points or options.seen is not None}
    asked = [part for part in PARTS if values[part] not in (None, False)]
    return asked or [part for part in PARTS if part not in ONLY_WHEN_ASKED]


def prove(options: argparse.Namespace) -> int:
    """Each part that is asked for, one after the other, each recorded when it is over. 1 when any of them fails."""
    failed = [part for part in parts_of(options) if not _has_passed(part, PARTS[part](options), options)]
    return 1 if failed else 0


def _has_passed(part: str, shown: Shown, options: argparse.Namespace) -> bool:
    print_now(f"prove: {part}: {shown.figure}")
    for each in shown.wrong:
        print_now(f"prove: {part} FAILED: {each}")
    if options.record and not shown.wrong:
        if shown.is_full:
            page = PAGE.read_text("utf-8")
            PAGE.write_text(figures.written(page, part, shown.figure, figures.commit_and_date(), PARTS), "utf-8")
        else:
            print_now(f"prove: {part} is not recorded: it is less than the page is to tell of")
    return not shown.wrong
