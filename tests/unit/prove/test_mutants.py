"""What is changed in a file, and what `dev.py prove --mutants` takes for wrong."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from local import ROOT
from local.prove import mutated
from shared.runs.rules import schedule
from tests.mutants.__main__ import RULES
from tests.mutants.changes import mutants_of
from tests.mutants.forks import replace_code
from tests.parts.cases import cases


@cases(("source", "expected"), [
    ("x = a < b", ["a < b -> a <= b"]),  # a bound
    ("x = a == b", ["a == b -> a != b"]),  # equality
    ("x = a and b", ["a and b -> a or b", "a and b -> b", "a and b -> a"]),
    ("x = not a", ["not a -> a"]),
    ("x = a + b", ["a + b -> a - b"]),
    ("x = A | B", ["A | B -> A", "A | B -> B"]),
    ("x = 2", ["2 -> 3"]),
    ("x = True", ["True -> False"]),
    ("x = 'word'", ["'word' -> 'anotherword'"]),
    ("x = 'a sentence'", []),  # wording
    ("x = f'{a}b'", []),
    ("x = min(a)", ["min(a) -> max(a)"]),
    ("x = f(a, b=c)", ["f(a, b=c) without b=c"]),
    ("x = {A, B}", ["{A, B} without A", "{A, B} without B"]),
    ("x = {A: B}", ["{A: B} without A"]),
    ("x = a[:n]", [":n -> :"]),
    ("x: int = a", []),
    ("assert a < b", []),
    ("import a", []),
    ("f(a)", ["f(a) -> pass"]),
    ("raise a", ["raise a -> pass"]),
    ("if a < b:\n    x = c", ["a < b -> True", "a < b -> False", "a < b -> a <= b"]),
    ("match a:\n    case B():\n        x = c", ["B() -> B() if False"]),
    ("match a:\n    case B() if c:\n        x = d", ["c -> True", "c -> False"]),
])  # fmt: skip
def test_what_is_changed(source: str, expected: list[str]) -> None:
    mutants = mutants_of("a.py", source)
    assert [each.name.partition(": ")[2] for each in mutants] == expected
    for mutant in mutants:
        compile(mutant.source, mutant.file, "exec")
        assert mutant.source != source


def test_a_mutant_outside_of_functions_is_named_by_the_line_of_its_table() -> None:
    source = "LIMIT = 2\nTABLE: T = {a.B: f({C: (D,)}, e=True), **more}\nclass F:\n    g: int = 1\n"
    names = [each.name for each in mutants_of("a.py", source)]
    assert names == [
        "LIMIT: 2 -> 3",
        "TABLE: {a.B: f({C: (D,)}, e=True), **more} without a.B",
        "TABLE: {a.B: f({C: (D,)}, e=True), **more} without more",
        "TABLE.a.B: f({C: (D,)}, e=True) without e=True",
        "TABLE.a.B: {C: (D,)} without C",
        "TABLE.a.B: True -> False",
        "F.g: 1 -> 2",
    ]


def test_an_assignment_may_go_when_the_name_has_a_value_before_it() -> None:
    names = [each.name for each in mutants_of("a.py", "def f(a):\n    b = a\n    a = b\n    b = a\n")]
    assert names == ["f: a = b -> pass", "f: b = a -> pass"]


def test_mutants_have_a_name_each_and_know_their_function_and_lines() -> None:
    source = "class A:\n    def f(self, a=1):\n        if a:\n            return 2\n        return 2\n"
    found = [(each.name, each.function, [*each.lines]) for each in mutants_of("a.py", source)]
    assert found == [
        ("A.f: 1 -> 2", None, [2]),  # a default is made when the module is loaded
        ("A.f: a -> True", "A.f", [3]),
        ("A.f: a -> False", "A.f", [3]),
        ("A.f: 2 -> 3", "A.f", [4]),
        ("A.f: 2 -> 3 (2)", "A.f", [5]),
    ]


def test_the_source_of_a_mutant_differs_in_one_place() -> None:
    source = 'def f(a):\n    """Ä sentence."""\n    return g("ä", a, b=1)  # why\n'
    without, _, other = mutants_of("a.py", source)
    assert without.source == source.replace('g("ä", a, b=1)', "(g('ä', a))")
    assert other.source == source.replace("b=1", "b=2")


def test_the_code_of_a_mutant_takes_the_place_of_the_function_wherever_it_was_imported_to() -> None:
    file, imported = f"{RULES}/schedule.py", schedule.unknown_outcome_wait
    mutants = mutants_of(file, (ROOT / file).read_text("utf-8"))
    (mutant,) = (each for each in mutants if each.function == "unknown_outcome_wait" and "> max(" in each.name)
    code = imported.__code__
    try:
        replace_code(mutant)
        assert imported(1) == schedule.UNKNOWN_OUTCOME_WAITS[-1]
    finally:
        imported.__code__ = code
    assert imported(1) == schedule.UNKNOWN_OUTCOME_WAITS[0]
    assert sys.modules[schedule.__name__] is schedule


SHOWN = {"mutants": 1_200, "files": 2, "tests": 900, "seconds": 61.4, "survivors": ["a: b"]}


@cases(("code", "more", "reasons", "wrong"), [
    (0, {}, {"a: b": "equivalent"}, []),
    (0, {"survivors": []}, {}, []),
    (0, {}, {}, ["survives without a reason: a: b"]),
    (0, {}, {"a: b": "equivalent", "c": "wording"}, ["has a reason and does not survive: c"]),
    (1, {"unwell": "tests fail without a mutant"}, {}, ["tests fail without a mutant"]),
    (1, {"mutants": 0}, {}, ["nothing was tried: it ended with 1"]),
])  # fmt: skip
def test_what_is_wrong(code: int, more: dict[str, Any], reasons: dict[str, str], wrong: list[str]) -> None:
    assert [*mutated.mutants_shown(code, {**SHOWN, **more}, reasons).wrong] == wrong


def test_the_figure() -> None:
    shown = mutated.mutants_shown(0, SHOWN, {"a: b": "equivalent"})
    assert shown.figure == (
        "1,199 of 1,200 mutants in 2 files found by 900 tests in 61 s; 1 survive, each with its reason"
    )


def test_a_mutant_has_one_reason() -> None:
    group = '[[survivors]]\nreason = "equivalent"\nmutants = ["a", "b"]\n'
    assert mutated.reasons_of(group) == {"a": "equivalent", "b": "equivalent"}
    with pytest.raises(ValueError, match="twice: a, b"):
        mutated.reasons_of(group + group)


def test_every_survivor_is_a_mutant_that_there_is() -> None:
    reasons = mutated.reasons_of(mutated.SURVIVORS.read_text("utf-8"))
    files = {each.partition(": ")[0] for each in reasons}
    there = {f"{file}: {each.name}" for file in files for each in mutants_of(file, (ROOT / file).read_text("utf-8"))}
    assert reasons.keys() <= there
    assert all(reason.strip() for reason in reasons.values())
