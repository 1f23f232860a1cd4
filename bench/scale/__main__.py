"""How far a deployment goes, what happens at its walls, and what it costs: `python3 dev.py simulate` starts it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from bench.counted import read
from bench.figures import number
from bench.scale.forecast import Forecast, forecast
from bench.scale.jobs import Jobs
from bench.scale.walls import INSTANCES, App, part
from local.packaging.profiles import DEFAULT, read_profiles


def said(app: App, jobs: Jobs, found: Forecast) -> str:
    """It in words."""
    played, first = found.played, found.walls[0]
    job = f"half take {jobs.median:g} s at most, 95 % {jobs.p95:g} s" if jobs.sigma else f"all take {jobs.median:g} s"
    lines = [
        f"{found.runs:,} active runs at any time under `{app.driver}`, with the profile `{app.profile.name}`.",
        f"Of the responses {job}. The runs want {number(found.wanted)} looks a second.",
        "",
        f"  {'':36} {'used':>10} {'there is':>10}  {'':10} {'share':>8}  met at",
    ]
    for wall in found.walls:
        figures = f"{number(wall.used):>10} {number(wall.most):>10}  {wall.unit:10} {part(wall.share):>8}"
        lines.append(f"  {wall.name:36} {figures}  {found.met_at(wall):,} runs")
    lags = f"half of the ends within {number(played.lag(0.5))} s, 90 % within {number(played.lag(0.9))} s"
    lines += ["", f"Seen are {lags}. A run is looked at {number(played.looks)} times."]
    if not found.is_in_time:
        lines.append(f"That is too much. The first wall is met at {found.most_runs:,} runs: {first.name}.")
        lines.append("Nothing is lost: looks come later, and fewer.")
    lines.append(f"1,000 runs cost ${number(found.dollars)} at list prices, without the calls for their status.")
    return "\n".join(lines)


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    profiles = read_profiles()
    parser = argparse.ArgumentParser(prog="dev.py simulate", description=__doc__)
    parser.add_argument("--runs", type=count, default=1_000, help="active at any time (default: 1,000)")
    parser.add_argument("--profile", choices=profiles, default=DEFAULT, help=f"of the deployment (default: {DEFAULT})")
    parser.add_argument("--driver", choices=("durable", "timer"), help="default: the profile's")
    seconds = "how long responses take: half of them no longer (default: 60)"
    parser.add_argument("--median", type=positive, default=60.0, metavar="SECONDS", help=seconds)
    longest = "and 95 %% no longer than that (default: 15 times the median; the median itself: all take equally long)"
    parser.add_argument("--p95", type=positive, metavar="SECONDS", help=longest)
    parser.add_argument("--webhooks", action="store_true", help="the provider's webhooks bring the news; looks are few")
    parser.add_argument("--instances", type=count, default=INSTANCES, help=f"at most (default: {INSTANCES})")
    accounts = "rows and task hub have a storage account each"
    parser.add_argument("--separate-accounts", action="store_true", help=accounts)
    rate = "what the provider's rate limit admits (default: no limit)"
    parser.add_argument("--requests-per-minute", type=positive, default=math.inf, metavar="N", help=rate)
    options = parser.parse_args(arguments)
    if options.p95 is None:
        options.p95 = 15 * options.median
    if options.p95 < options.median:
        parser.error("--p95 is below --median")
    options.profile = profiles[options.profile]
    return options


def positive(text: str) -> float:
    """A number above 0. Raises ``ArgumentTypeError``."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"a number above 0, not {text!r}")
    return value


def count(text: str) -> int:
    """A whole number above 0. Raises ``ArgumentTypeError``."""
    if (value := positive(text)) != int(value):
        raise argparse.ArgumentTypeError(f"a whole number, not {text!r}")
    return int(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, compute, print."""
    options = options_of(arguments)
    app = App(
        profile=options.profile,
        driver=options.driver or options.profile.driver,
        counted=read(),
        instances=options.instances,
        separate_accounts=options.separate_accounts,
        provider_requests=options.requests_per_minute / 60,
    )
    jobs = Jobs(options.median, options.p95, options.webhooks)
    print(said(app, jobs, forecast(app, options.runs, jobs)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
