"""Part `points` of `dev.py prove`: a death at every point between two effects, under both drivers, and the table of it.

The tests do the work and write down what they saw (``Death``, one JSON object a line); here it is put together, checked
to be whole, and written into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local import ROOT
from local.prove.figures import Shown
from local.prove.tested import run_tests

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- begin: written by `dev.py prove --points --record` -->", "<!-- end of the points -->"
OUTCOMES = "DORMOUSE_PROVE_POINTS"
"""The variable that names the folder into which the tests write what they saw."""

DRIVERS = ("durable", "timer")
MATRIX = "tests/unit/runs/points/test_points.py"
KILLS = "tests/acceptance/test_kills.py"
_CELL = re.compile(r"`(\w+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A process that died at a point, whose story came to the same end."""

    point: str
    driver: str
    story: str
    effects: int
    """How many effects the story has: by the shortest one a point is tried in the default tier."""

    killed: bool = False
    """Whether it was a host, killed with ``kill -9``, and not an exception that nothing catches."""


@dataclass(slots=True)
class NamedPoint:
    """A row of the table."""

    name: str
    stories: dict[str, str] = field(default_factory=dict)
    """By driver: the shortest story that comes by it."""


def note(folder: str, deaths: Iterable[Death]) -> None:
    """Write deaths down for ``read``."""
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".jsonl", delete=False) as file:
        file.writelines(json.dumps(asdict(death)) + "\n" for death in deaths)


def read(folder: str) -> list[Death]:
    """All that were written down."""
    files = sorted(Path(folder).glob("*.jsonl"))
    return [Death(**json.loads(line)) for file in files for line in file.read_text("utf-8").splitlines()]


def named_points(page: str | None = None) -> list[NamedPoint]:
    """The points that the page names."""
    text = PAGE.read_text("utf-8") if page is None else page
    _, _, rest = text.partition(BEGIN)
    lines = rest.partition(END)[0].splitlines()
    return [_named(line) for line in lines if line.startswith("| ") and not line.startswith("| before")]


def _named(line: str) -> NamedPoint:
    name, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
    found = {driver: _CELL.search(cell) for driver, cell in zip(DRIVERS, cells, strict=False)}
    return NamedPoint(name=name, stories={driver: match[1] for driver, match in found.items() if match is not None})


def table(deaths: Iterable[Death]) -> str:
    """The table of the page."""
    by_point: dict[str, list[Death]] = {}
    for death in deaths:
        by_point.setdefault(death.point, []).append(death)
    lines = [
        "| before the effect | died in, under `durable` | died in, under `timer` | `kill -9` under |",
        "|---|---|---|---|",
    ]
    lines += [_row(name, by_point[name]) for name in sorted(by_point)]
    return "\n".join([*_summary(by_point), "", *lines, "", ""])


def _summary(by_point: Mapping[str, list[Death]]) -> Iterator[str]:
    all_deaths = [death for deaths in by_point.values() for death in deaths]
    kills = [death for death in all_deaths if death.killed]
    stories = {death.story for death in all_deaths if not death.killed}
    places = len({death.point for death in kills})
    yield (
        f"{len(by_point)} points, {len(all_deaths) - len(kills)} deaths in {len(stories)} stories; {len(kills)} times "
        f"a host was killed at one of {places} of them. Nothing was lost, and nothing done twice."
    )


def _row(name: str, deaths: list[Death]) -> str:
    cells = [_cell([each for each in deaths if each.driver == driver and not each.killed]) for driver in DRIVERS]
    killed = [driver for driver in DRIVERS if any(each.killed and each.driver == driver for each in deaths)]
    return f"| {name} | {' | '.join(cells)} | {', '.join(killed) or '-'} |"


def _cell(deaths: list[Death]) -> str:
    if not deaths:
        return "not passed"
    shortest = min(deaths, key=lambda each: (each.effects, each.story))
    times = f", {len(deaths)} times" if len(deaths) > 1 else ""
    return f"`{shortest.story}`{times}"


def problems(deaths: Iterable[Death], named: Iterable[NamedPoint]) -> list[str]:
    """What is missing: each named point under each driver that comes by it; and a name for each that is passed.

    At each a host is killed as well.
    """
    every, named = [*deaths], [*named]
    seen = {(death.point, death.driver) for death in every if not death.killed}
    killed = {(death.point, death.driver) for death in every if death.killed}
    unnamed = {death.point for death in every} - {point.name for point in named}
    return (
        [f"the page does not name `{name}`: `--record` writes it anew" for name in sorted(unnamed)]
        + [
            f"nothing died at `{point.name}` under {driver}"
            for point in named
            for driver in point.stories
            if (point.name, driver) not in seen
        ]
        + [
            f"no host was killed at `{point.name}` under {driver}"
            for point in named
            for driver in point.stories
            if (point.name, driver) not in killed
        ]
    )


def written(page: str, text: str) -> str:
    """The page with this table. Raises ``ValueError`` when it has no place for it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{text}{end}{after}"


def prove_points(options: argparse.Namespace) -> Shown:
    """Let a process die at every point, and write the table if that is wanted.

    With ``seen`` what the tests have left in that folder is put together, and nothing is run. It has failed when a
    story ended otherwise, or when nothing died at some point that the page names.
    """
    failed = 0
    if options.seen:
        deaths = read(str(options.seen))
    else:
        with tempfile.TemporaryDirectory() as folder:
            failed = run_tests(options, {OUTCOMES: folder}, MATRIX, KILLS)
            deaths = read(folder)
    page = PAGE.read_text("utf-8")
    text = table(deaths)
    if options.record and not failed:
        page = written(page, text)
        PAGE.write_text(page, "utf-8")
    wrong = problems(deaths, named_points(page))
    if failed:
        wrong.append(f"pytest ended with {failed}")
    if not deaths:
        wrong.append("nothing died")
    return Shown(figure=text.partition("\n")[0].removesuffix("."), wrong=tuple(wrong))
