"""What a comparison found, and how it is written down."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DORMOUSE = "Dormouse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One contestant's figure. Its `values` are those of the rounds, in order: one where it is counted or computed."""

    what: str
    who: str
    unit: str
    values: tuple[float, ...]
    against: str = ""
    """Whom the ratio compares with; empty: nobody."""

    ratios: tuple[float, ...] = ()
    """By round, each with what the other took in the same round."""

    aim: str = ""
    """What must be reached, in words; empty where nothing must, as for a peer."""

    is_reached: bool | None = None

    @property
    def figure(self) -> str:
        """Median, and least to most where there are several."""
        return f"{spread(self.values)} {self.unit}".strip()

    @property
    def ratio(self) -> str:
        """The same of the ratios."""
        return f"{spread(self.ratios)} × {self.against}" if self.ratios else ""

    @property
    def reached(self) -> str:
        """`yes`, `NO`, or nothing."""
        return {True: "yes", False: "**no**", None: ""}[self.is_reached]


def spread(values: Sequence[float]) -> str:
    """Median, and least to most where they differ as printed."""
    least, median, most = (number(each) for each in (min(values), statistics.median(values), max(values)))
    return median if least == most else f"{median} ({least} to {most})"


def number(value: float) -> str:
    """Three digits, at least."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def compare(
    what: str,
    unit: str,
    found: Mapping[str, Sequence[float]],
    *,
    base: str = "",
    most_ratio: float | None = None,
    most: float | None = None,
    least: float | None = None,
) -> list[Line]:
    """A line for each contestant, `base` first. The aims are for `DORMOUSE`: of its ratio to `base`, or its figure."""
    names = sorted(found, key=lambda name: (name != base, name == DORMOUSE))
    return [_line(what, unit, found, name, base, (most_ratio, most, least)) for name in names]


def _line(
    what: str,
    unit: str,
    found: Mapping[str, Sequence[float]],
    name: str,
    base: str,
    aims: tuple[float | None, float | None, float | None],
) -> Line:
    values = tuple(found[name])
    ratios = tuple(mine / its for mine, its in zip(values, found[base], strict=True)) if base and name != base else ()
    aim, is_reached = _judged(values, ratios, *aims) if name == DORMOUSE else ("", None)
    against = base if ratios else ""
    return Line(
        what=what, who=name, unit=unit, values=values, against=against, ratios=ratios, aim=aim, is_reached=is_reached
    )


def _judged(
    values: Sequence[float], ratios: Sequence[float], most_ratio: float | None, most: float | None, least: float | None
) -> tuple[str, bool | None]:
    """By the medians."""
    if most_ratio is not None:
        return f"ratio ≤ {number(most_ratio)}", statistics.median(ratios) <= most_ratio
    if most is not None:
        return f"≤ {number(most)}", statistics.median(values) <= most
    if least is not None:
        return f"≥ {number(least)}", statistics.median(values) >= least
    return "", None


def table(lines: Sequence[Line]) -> list[str]:
    """A Markdown table."""
    head = ("what", "who", "median (least to most)", "ratio", "must reach", "reached")
    rows = [(line.what, line.who, line.figure, line.ratio, line.aim, line.reached) for line in lines]
    written, before = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"], ""
    for what, *rest in rows:
        written.append(f"| {' | '.join((what if what != before else '', *rest))} |")
        before = what
    return written
