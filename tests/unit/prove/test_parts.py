"""What the parts of `dev.py prove` read from programs and tests, and what they take for wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from local.prove import played, tested
from local.prove.figures import Shown
from tests.parts.cases import cases

SEEN = {"fact Looked": 9, "fact Claimed": 2, "fault late": 3, "process cut": 1}
HISTORIES = {"histories": 200_000, "seconds": 12.3, "violations": [], "uncovered": [], "seen": SEEN}


@cases(("code", "more", "asked", "wrong", "is_full"), [
    (0, {}, 200_000, [], True),  # all
    (0, {"histories": 2_000}, 2_000, [], False),  # a smaller number
    (1, {"histories": 199_950}, 200_000, ["only 199,950 histories of 200,000"], False),  # fewer than asked
    (1, {"violations": ["seed 1: x"]}, 200_000, ["seed 1: x"], True),  # a violation
    (1, {"uncovered": ["fact X: 0 of 1"]}, 200_000, ["seen too seldom: fact X: 0 of 1"], True),  # seen too seldom
    (2, {}, 200_000, ["it ended with 2"], True),  # it crashed
])  # fmt: skip
def test_histories(code: int, more: dict[str, Any], asked: int, wrong: list[str], is_full: bool) -> None:
    shown = played.histories_shown(code, {**HISTORIES, **more}, asked)
    assert [*shown.wrong] == wrong
    assert shown.is_full == is_full


def test_histories_say_of_how_many_kinds_things_were() -> None:
    shown = played.histories_shown(0, HISTORIES, 200_000)
    assert shown.figure == "200,000 histories in 12 s, with 2 kinds of facts, 1 kinds of faults"


def test_a_program_that_says_nothing_has_shown_nothing() -> None:
    nothing = played.last_object("a line\n")
    for shown in (
        played.histories_shown(0, nothing, 5),
        played.planted_shown(0, nothing),
        played.load_shown(0, nothing, 5),
        played.soak_shown(0, nothing, 5),
    ):
        assert shown.wrong
    assert played.last_object('{"runs": 1}\n{"runs": 2}\nand more\n') == {"runs": 2}


def found(seed: int | None, rule: str = "a_rule") -> dict[str, Any]:
    return {"rule": rule, "seed": seed}


@cases(("planted", "missing", "wrong"), [
    ({"a": found(3), "b": found(17)}, [], []),  # each was found
    ({"a": found(3), "b": found(None)}, [], ["not found: b"]),  # one was not
    ({"a": found(3)}, ["other"], ["no defect is planted against other"]),  # a rule without
    ({}, [], ["nothing was planted"]),  # none
])  # fmt: skip
def test_planted(planted: dict[str, Any], missing: list[str], wrong: list[str]) -> None:
    shown = played.planted_shown(1 if wrong else 0, {"planted": planted, "rules_without_defect": missing})
    assert [*shown.wrong] == wrong
    assert shown.figure.startswith(
        f"{len(planted) - (None in [e['seed'] for e in planted.values()])} of {len(planted)}"
    )


def of(driver: str, runs: int) -> dict[str, Any]:
    by_status = {"cancelled": 2, "completed": runs - 2}
    return {"driver": driver, "runs": runs, "seconds": 3.2, "kills": 4, "by_status": by_status}


@cases(("result", "asked", "wrong", "is_full"), [
    ({"drivers": [of("durable", 1_000), of("timer", 1_001)]}, 1_000, [], True),  # both
    (of("durable", 1_000), 1_000, [], True),  # one
    ({"drivers": [of("durable", 40), of("timer", 40)]}, 40, [], False),  # a smaller number
    ({"drivers": [of("durable", 1_200), of("timer", 998)]}, 1_000, ["only 998 runs of 1,000"], False),  # under one
    ({**of("timer", 1_000), "violations": ["x"]}, 1_000, ["x"], True),  # a violation
    ({**of("timer", 1_000), "violations": [*"abcdefg"]}, 1_000, [*"abcde", "and 2 more"], True),  # many
])  # fmt: skip
def test_load(result: dict[str, Any], asked: int, wrong: list[str], is_full: bool) -> None:
    shown = played.load_shown(1 if wrong else 0, result, asked)
    assert [*shown.wrong] == wrong
    assert shown.is_full == is_full


def test_load_says_how_runs_ended_under_each_driver() -> None:
    shown = played.load_shown(0, {"drivers": [of("durable", 1_000), of("timer", 1_001)]}, 1_000)
    durable, timer = shown.figure.split("; ")
    assert durable == "durable: 1,000 runs in 3 s, 4 kills of a host, completed 998, cancelled 2"
    assert timer == "timer: 1,001 runs in 3 s, 4 kills of a host, completed 999, cancelled 2"


@cases(("minutes", "asked", "violations", "wrong", "is_full"), [
    (20.0, 20.0, [], [], True),  # all
    (2.0, 2.0, [], [], False),  # less was asked for
    (2.0, 20.0, [], ["only 2 minutes of 20"], False),  # less than asked
    (20.0, 20.0, ["rss_mb grew"], ["rss_mb grew"], True),  # it grows
])  # fmt: skip
def test_soak(minutes: float, asked: float, violations: list[str], wrong: list[str], is_full: bool) -> None:
    memory = {"second_quarter": 130.5, "last_quarter": 131}
    result = {"minutes": minutes, "runs": 1_200, "rss_mb": memory, "violations": violations}
    shown = played.soak_shown(1 if wrong else 0, result, asked)
    assert shown == Shown(
        figure=f"{minutes:g} minutes, 1,200 runs, MB of memory 130.5 then 131", wrong=tuple(wrong), is_full=is_full
    )


COUNTS = {
    tested.HOSTILE: Counter(requests=1_600, operations=37),
    tested.CALLERS: Counter(callers=24, operations=60, requests=1_440),
    tested.GENERATED: Counter(requests=5_000),
    "weather at 5%": Counter(runs=96, requests=1_000, busy=20, late=31),
    "weather at 10%": Counter(runs=96, requests=1_000, busy=90),
    tested.PROVIDER: Counter({"requests": 200, "429": 4, "drop": 7}),
}


def test_inputs_and_faults_are_put_into_a_line() -> None:
    assert tested.inputs_figure(COUNTS) == (
        "1,600 hostile requests to 37 operations; 24 kinds of callers at 60 operations, 1,440 requests; "
        "5,000 requests made from the contract"
    )
    assert tested.faults_figure(COUNTS) == (
        "at 5% 96 runs: 51 of 1,000 requests (late 31, busy 20); at 10% 96 runs: 90 of 1,000 requests (busy 90); "
        "11 scripted faults of the provider in 200 requests (drop 7, 429 4)"
    )


@pytest.mark.parametrize("name", COUNTS)
def test_a_test_that_counted_nothing_is_missed(name: str) -> None:
    counts = {each: counted for each, counted in COUNTS.items() if each != name}
    assert tested.shown("", 0, COUNTS, [*COUNTS]).wrong == ()
    assert tested.shown("", 0, counts, [*COUNTS]).wrong == (f"nothing was counted of: {name}",)
    assert tested.shown("", 1, COUNTS, [*COUNTS]).wrong == ("pytest ended with 1",)
