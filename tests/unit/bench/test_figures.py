"""How the figures of `dev.py bench` are compared and written."""

from __future__ import annotations

from bench.counting_proxy import Transaction, in_a_row
from bench.figures import DORMOUSE, compare, number, spread, table
from tests.parts.cases import cases


def sent(*times: tuple[float, float]) -> list[Transaction]:
    return [Transaction("GET", "/", begun, ended, 0) for begun, ended in times]


@cases(
    "transactions, expected",
    [
        (sent(), 0),
        (sent((1, 2)), 1),
        (sent((1, 2), (1.5, 2.5)), 1),
        (sent((1, 2), (2.1, 3), (3.1, 4)), 3),
        (sent((1, 5), (1, 2), (2.1, 3), (3.1, 4)), 3),
        (sent((2.1, 3), (1, 2)), 2),
    ],
)
def test_requests_one_after_another_are_the_longest_chain_in_which_none_overlap(
    transactions: list[Transaction], expected: int
) -> None:
    assert in_a_row(transactions) == expected


@cases(
    "value, expected",
    [(0, "0"), (2, "2"), (3.05, "3.05"), (0.1333, "0.133"), (1234.5, "1,234"), (10_000, "10,000"), (12.345, "12.35")],
)
def test_a_number_has_three_digits_at_least(value: float, expected: str) -> None:
    assert number(value) == expected


def test_a_spread_is_the_median_with_the_least_and_the_most() -> None:
    assert spread([3, 1, 2]) == "2 (1 to 3)"
    assert spread([2, 2]) == "2"


def test_ratios_are_of_the_same_round_and_the_aim_is_for_dormouse_alone() -> None:
    lines = compare("a wake", "ms", {DORMOUSE: [4, 20], "peer": [10, 50], "raw": [1, 10]}, base="raw", most_ratio=3)
    assert [line.who for line in lines] == ["raw", "peer", DORMOUSE]
    assert [line.ratios for line in lines] == [(), (10, 5), (4, 2)]
    assert [(line.aim, line.is_reached) for line in lines] == [("", None), ("", None), ("ratio ≤ 3", True)]


@cases("most, least, expected", [(2, None, True), (1.9, None, False), (None, 2, True), (None, 2.1, False)])
def test_an_aim_is_reached_by_the_median(most: float | None, least: float | None, expected: bool) -> None:
    (line,) = compare("status", "", {DORMOUSE: [1, 2, 30]}, most=most, least=least)
    assert line.is_reached is expected


def test_the_table_names_what_was_measured_once() -> None:
    written = table(compare("a wake", "ms", {DORMOUSE: [4], "raw": [2]}, base="raw", most_ratio=1.5))
    assert written[2:] == [
        "| a wake | raw | 2 ms |  |  |  |",
        "|  | Dormouse | 4 ms | 2 × raw | ratio ≤ 1.50 | **no** |",
    ]
