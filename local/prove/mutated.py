"""Part `mutants` of `dev.py prove`: the rules of the core, changed in one place at a time, against their tests.

`tests/mutants/survivors.toml` has the mutants that no test finds, each with the reason why that is well.
"""

from __future__ import annotations

import argparse
import tomllib
from collections import Counter
from collections.abc import Mapping

from local import ROOT
from local.prove.figures import Shown, number
from local.prove.played import Result, run_program

SURVIVORS = ROOT / "tests" / "mutants" / "survivors.toml"


def prove_mutants(options: argparse.Namespace) -> Shown:
    """A mutant for each small change of the rules: a test finds it, or there is a reason why none does."""
    code, result = run_program(options, "tests.mutants")
    return mutants_shown(code, result, reasons_of(SURVIVORS.read_text("utf-8")))


def reasons_of(text: str) -> dict[str, str]:
    """The reason for each mutant that may survive. Raises ``ValueError`` for one that has two."""
    groups = tomllib.loads(text).get("survivors", [])
    listed = [(mutant, group["reason"]) for group in groups for mutant in group["mutants"]]
    twice = [mutant for mutant, count in Counter(mutant for mutant, _ in listed).items() if count > 1]
    if twice:
        raise ValueError(f"listed twice: {', '.join(twice)}")
    return dict(listed)


def mutants_shown(code: int, result: Result, reasons: Mapping[str, str]) -> Shown:
    """How many were found; wrong is a survivor without a reason, and a reason for what does not survive."""
    tried, survivors = int(result.get("mutants", 0)), [str(each) for each in result.get("survivors", ())]
    wrong = [f"survives without a reason: {each}" for each in survivors if each not in reasons]
    wrong += [f"has a reason and does not survive: {each}" for each in reasons if each not in survivors]
    if result.get("unwell"):
        wrong = [str(result["unwell"])]
    elif not tried:
        wrong = [f"nothing was tried: it ended with {code}"]
    figure = (
        f"{number(tried - len(survivors))} of {number(tried)} mutants in {result.get('files', 0)} files found by "
        f"{number(result.get('tests', 0))} tests in {number(result.get('seconds', 0))} s; "
        f"{len(survivors)} survive, each with its reason"
    )
    return Shown(figure=figure, wrong=tuple(wrong))
