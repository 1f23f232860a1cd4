"""The tables of docs/scale.md."""

from __future__ import annotations

from collections.abc import Iterator

from bench.counted import read
from bench.figures import number
from bench.scale.forecast import forecast
from bench.scale.jobs import Jobs
from bench.scale.walls import App, part
from local.packaging.profiles import read_profiles

RUNS = (1, 1_000, 100_000, 1_000_000)
HEAD = ("active runs", "looks a second", "lag: half, 90 %", "first wall", "used", "met at", "1,000 runs cost")


def tables() -> str:
    """What `python3 dev.py simulate` says of some numbers of runs, in Markdown."""
    return "\n".join(_lines()) + "\n\n"


def _lines() -> Iterator[str]:
    counted, jobs = read(), Jobs()
    for profile in read_profiles().values():
        for driver in ("durable", "timer"):
            app = App(profile=profile, driver=driver, counted=counted)
            yield from (f"### `{profile.name}` under `{driver}`", "")
            yield f"| {' | '.join(HEAD)} |"
            yield "|---" * len(HEAD) + "|"
            for runs in RUNS:
                found = forecast(app, runs, jobs)
                wall, lag = found.walls[0], found.played.lag
                seen = f"{number(lag(0.5))} s, {number(lag(0.9))} s"
                met = f"{found.most_runs:,}"
                cells = (f"{runs:,}", number(found.wanted), seen, wall.name, f"{part(wall.share)}", met)
                yield f"| {' | '.join(cells)} | ${number(found.dollars)} |"
            yield ""
