"""The figures of `dev.py prove`: written into the page by part, and kept for the parts that did not run."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.prove import command, figures
from local.prove.counts import COUNTS, count, read_counts
from local.prove.figures import Shown
from local.prove.points import PAGE
from tests.parts.cases import cases

EMPTY = f"# Page\n\n{figures.BEGIN}\n\n{figures.END}\nand more\n"
ORDER = ("points", "histories", "planted")
ALL = ["points", "histories", "planted", "inputs", "faults", "load"]


def test_a_figure_replaces_only_that_of_its_part() -> None:
    page = figures.written(EMPTY, "planted", "9 of 9", "`aaa`, 2026-01-01", ORDER)
    page = figures.written(page, "points", "7 points", "`aaa`, 2026-01-01", ORDER)
    old = figures.recorded(page)
    page = figures.written(page, "points", "8 points", "`bbb`, 2026-01-02", ORDER)
    assert [*figures.recorded(page)] == ["points", "planted"]
    assert figures.recorded(page)["planted"] == old["planted"]
    assert "| points | `python3 dev.py prove --points` | 8 points | `bbb`, 2026-01-02 |" in page
    assert "7 points" not in page
    assert page.startswith("# Page\n")
    assert page.endswith("\nand more\n")


def test_a_row_of_a_part_that_is_no_more_goes() -> None:
    page = figures.written(EMPTY, "planted", "9 of 9", "`aaa`", ORDER)
    assert [*figures.recorded(figures.written(page, "points", "8 points", "`bbb`", ["points"]))] == ["points"]


@cases(("page", "figure", "says"), [
    ("# Page\n", "1", "needs the lines"),  # a page without a place
    (EMPTY, "1 | 2", "no figure"),  # a cell too many
    (EMPTY, "1\n2", "no figure"),  # a line too many
])  # fmt: skip
def test_what_does_not_fit_is_refused(page: str, figure: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        figures.written(page, "points", figure, "`aaa`", ORDER)


def test_where_a_figure_was_made_has_the_day() -> None:
    assert figures.commit_and_date(datetime(2026, 1, 2, 23, tzinfo=UTC)).endswith(", 2026-01-02")


def test_the_page_has_a_place_for_the_figures_and_no_row_of_another_part() -> None:
    page = PAGE.read_text("utf-8")
    assert figures.recorded(page).keys() <= command.PARTS.keys()
    figures.written(page, "points", "1", "`aaa`", command.PARTS)


def test_counts_of_one_name_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count("a", {"x": 1})
    monkeypatch.setenv(COUNTS, str(tmp_path))
    count("a", {"x": 1, "y": 2})
    count("a", {"x": 3})
    count("b", {"x": 4})
    assert read_counts(str(tmp_path)) == {"a": {"x": 4, "y": 2}, "b": {"x": 4}}


@cases(("asked", "parts"), [
    ("", ALL),  # nothing
    ("--record", ALL),  # only recorded
    ("--seen folder", ["points"]),  # points by what tests left
    ("--histories", ["histories"]),  # the default number
    ("--load 5 --planted", ["planted", "load"]),  # two
    ("--soak 1", ["soak"]),  # a soak
    ("--mutants", ["mutants"]),  # changes of the rules
])  # fmt: skip
def test_each_part_runs_when_asked_for_and_all_but_soak_and_mutants_without(asked: str, parts: list[str]) -> None:
    parser = ArgumentParser()
    command.add_prove_options(parser)
    assert command.parts_of(parser.parse_args(asked.split())) == parts


@pytest.fixture
def prove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run the command with parts that show this; its exit code, and the page after it."""
    page = tmp_path / "page.md"
    page.write_text(EMPTY, "utf-8")

    def run(asked: str, **shown: Shown) -> tuple[int, str]:
        parts = {name: lambda _, each=each: each for name, each in shown.items()}
        monkeypatch.setattr(command, "PARTS", {**command.PARTS, **parts})
        monkeypatch.setattr(command, "PAGE", page)
        parser = ArgumentParser()
        command.add_prove_options(parser)
        return command.prove(parser.parse_args(asked.split())), page.read_text("utf-8")

    return run


GOOD, LESS, BAD = Shown(figure="much"), Shown(figure="less", is_full=False), Shown(figure="much", wrong=("It broke.",))


@pytest.mark.parametrize(("asked", "shown", "code", "row"), [
    ("--load --record", GOOD, 0, True),  # passed
    ("--load", GOOD, 0, False),  # not to be recorded
    ("--load 5 --record", LESS, 0, False),  # less than the page tells of
    ("--load --record", BAD, 1, False),  # failed
])  # fmt: skip
def test_a_figure_is_recorded_when_all_of_it_was_shown(
    prove: Callable[..., tuple[int, str]], asked: str, shown: Shown, code: int, row: bool
) -> None:
    ended, page = prove(asked, load=shown)
    assert ended == code
    assert figures.recorded(page).keys() == ({"load"} if row else set())


def test_a_part_that_fails_keeps_no_other_from_running(
    prove: Callable[..., tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, page = prove("--planted --load --record", planted=BAD, load=GOOD)
    assert code == 1
    assert [*figures.recorded(page)] == ["load"]
    said = capsys.readouterr().out.splitlines()
    assert said == ["prove: planted: much", "prove: planted FAILED: It broke.", "prove: load: much"]
