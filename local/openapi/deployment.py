"""The table of profiles in docs/deploy.md, from infra/profiles.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from bench.counted import read
from bench.prices import QUEUES
from bench.scale.forecast import Forecast, forecast
from bench.scale.jobs import Jobs
from bench.scale.walls import App
from local.host.schedules import parse_timespan
from local.packaging.profiles import DEFAULT, Profile, read_profiles

MONTH_SECONDS = 30 * 86_400
RUNS = 1_000
"""Active runs for which the table says what they cost."""


def idle_polls(profile: Profile) -> int:
    """Looks at the hub's idle queues in 30 days, of one instance that is awake all the time.

    Each control queue, and the queue of activities, is looked at once in `maxQueuePollingInterval`.
    """
    gap = parse_timespan(profile.polling)
    assert gap, profile
    return round((profile.partitions + 1) * MONTH_SECONDS / gap.total_seconds())


def idle_dollars(profile: Profile) -> float:
    """What these looks cost."""
    return idle_polls(profile) * QUEUES


@cache
def _forecast(profile: str, driver: str) -> Forecast:
    app = App(profile=read_profiles()[profile], driver=driver, counted=read())
    return forecast(app, RUNS, Jobs())


def _by_driver(profile: Profile, said: Callable[[Forecast], str]) -> str:
    return " and ".join(said(_forecast(profile.name, driver)) for driver in ("durable", "timer"))


def _instances(most: int) -> str:
    return "1 instance" if most == 1 else f"{most} instances at most"


ROWS: Mapping[str, Callable[[Profile], str]] = {
    "for": lambda each: each.purpose,
    "driver": lambda each: f"`{each.driver}`",
    "durable backend": lambda each: f"`{each.backend}`",
    "task hub": lambda each: f"`{each.hub_name}`",
    "partitions (control queues)": lambda each: f"{each.partitions}",
    "an idle queue is looked at every": lambda each: each.polling,
    "orchestrators at once on an instance": lambda each: f"{each.orchestrators}",
    "activities at once on an instance": lambda each: f"{each.activities}",
    "carries at once, all instances together": lambda each: (
        f"{each.partitions * each.orchestrators} orchestrators, on {_instances(each.partitions)}; "
        f"{each.activities} activities for each instance there is"
    ),
    "carries until its [first wall](scale.md), under `durable` and `timer`": lambda each: (
        _by_driver(each, lambda found: f"{found.most_runs:,}") + " active runs"
    ),
    f"1,000 runs [cost](scale.md) while {RUNS:,} are active": lambda each: _by_driver(
        each, lambda found: f"${found.dollars:.3f}"
    ),
    "memory of an instance": lambda each: f"{each.memory:,} MB",
    "always ready, HTTP and wakes": lambda each: f"{each.always_ready_http} and {each.always_ready_durable}",
    "sweep every": lambda each: f"{each.app_settings()['DORMOUSE_SWEEP_SECONDS']} s",
    "requests to the provider at once": lambda each: each.settings["DORMOUSE_PROVIDER_CONCURRENCY"],
    "threads of the worker": lambda each: each.settings["PYTHON_THREADPOOL_THREAD_COUNT"],
    "looks at idle queues in 30 days": lambda each: f"{idle_polls(each):,}, ${idle_dollars(each):.2f}",
}
"""What the table says of a profile, by the name of its row."""


def table() -> str:
    """The profiles side by side in Markdown."""
    profiles = read_profiles().values()
    names = [f"`{each.name}`{' (the default)' if each.name == DEFAULT else ''}" for each in profiles]
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [f"| {row} | {' | '.join(cell(each) for each in profiles)} |" for row, cell in ROWS.items()]
    return "\n".join([*lines, "", ""])
