"""What `dev.py simulate` computes: it gives what was measured, and its walls are where the arithmetic puts them."""

from __future__ import annotations

import random
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from bench.counted import Counted, keep, read
from bench.scale import walls
from bench.scale.__main__ import main
from bench.scale.forecast import forecast
from bench.scale.jobs import Jobs, usual_gap
from bench.scale.playing import Durable, Timer, play_alone, play_once
from bench.scale.walls import EPISODE_SECONDS, App
from local import ROOT
from local.packaging.profiles import read_profiles
from shared.settings import Settings
from tests.parts.cases import cases

COUNTED = Counted(
    wake_transactions=2,
    swept_transactions=1,
    run_transactions=10,
    wake_executions=4,
    wake_seconds=0.02,
    looks_a_second=200,
)
SMALL, MEDIUM, LARGE = read_profiles().values()


def app(driver: str = "durable", **more: object) -> App:
    return replace(App(profile=MEDIUM, driver=driver, counted=COUNTED), **more)


def test_two_hundred_runs_are_seen_as_they_were_on_the_real_host() -> None:
    """Measured there with four orchestrators and one partition: half within 7.3 s, 90 % within 9.6 s."""
    looks_a_second = 4 / EPISODE_SECONDS / (read().wake_executions - 1)
    played = [
        play_once(Jobs(60, 60), Durable(1, 5.0), runs=200, rate=looks_a_second, submits=10, seed=seed)
        for seed in range(10)
    ]
    assert statistics.fmean(each.lag(0.5) for each in played) == pytest.approx(7.3, rel=0.2)
    assert statistics.fmean(each.lag(0.9) for each in played) == pytest.approx(9.6, rel=0.2)


def test_a_sweep_polls_by_itself_what_it_was_seen_to_poll_on_the_real_host() -> None:
    """30 a second; and `bench/sweeps.py` gives 25 at which the lag has not doubled."""
    assert app("timer").inline == pytest.approx(30, rel=0.2)


def test_the_wall_of_a_sweep_is_what_a_core_sweeps() -> None:
    """As it was counted: past that many looks a second the lag grows."""
    one = app("timer", profile=replace(LARGE, name="one core"), instances=1, counted=read())
    [wall] = [each for each in one.walls(read().looks_a_second, 0) if each.name == "processors"]
    assert wall.share == pytest.approx(1)


def test_past_a_wall_looks_are_fewer_and_later_and_as_many_as_it_admits() -> None:
    jobs = Jobs()
    found = forecast(app(), 100_000, jobs)
    assert not found.is_in_time
    assert found.walls[0].name == "orchestrators at once"
    rate = 40 / EPISODE_SECONDS / 3
    assert 100_000 * found.played.looks / found.played.seconds == pytest.approx(rate, rel=0.15)
    assert found.played.lag(0.5) > 10 * play_alone(jobs, Durable(4, 5.0)).lag(0.5)
    assert forecast(app(), found.most_runs // 2, jobs).is_in_time


@cases(
    "more, name, share",
    [
        ({}, "orchestrators at once", 100 * 3 * EPISODE_SECONDS / 40),
        ({"instances": 2}, "orchestrators at once", 100 * 3 * EPISODE_SECONDS / 20),
        ({"profile": LARGE}, "orchestrators at once", 100 * 3 * EPISODE_SECONDS / 160),
        ({}, "activities at once", 100 * 0.3 / (32 * 40)),
        ({}, "processors", 100 * 0.02 / (0.25 * 40)),
        ({}, "the storage account", (100 * (2 + 21) + 5 * (10 + 2 * 21)) / 20_000),
        ({"separate_accounts": True}, "the rows' account", (100 * 2 + 5 * 10) / 20_000),
        ({"driver": "timer"}, "processors", 100 / 200 / (0.25 * 40)),
        ({"driver": "timer"}, "due rows' partitions", 100 / 32_000),
        ({"driver": "timer"}, "the storage account", (100 * (1 + 1) + 5 * 10) / 20_000),
        ({"provider_requests": 50.0}, "the provider's rate limit", 105 / 50),
    ],
)
def test_how_much_of_each_wall_is_used(more: dict[str, object], name: str, share: float) -> None:
    """By 100 looks and 5 runs a second."""
    [wall] = [each for each in app(**more).walls(100, 5) if each.name == name]
    assert wall.share == pytest.approx(share)


def test_webhooks_bring_the_news_and_leave_half_of_the_looks_at_most() -> None:
    by_webhook, asked = (play_alone(Jobs(webhooks=webhooks), Timer(5)) for webhooks in (True, False))
    assert by_webhook.looks < asked.looks / 2
    assert by_webhook.lag(0.9) == pytest.approx(0.5)


def test_a_run_alone_costs_a_second_for_each_wake_and_many_share_them() -> None:
    alone, many = (forecast(app(), runs, Jobs()) for runs in (1, 500))
    seconds = 1 + alone.played.looks + alone.played.seconds / 60  # the submit, its looks, and a sweep each minute
    billed = 1_000 * seconds * 0.5 * 0.000026
    assert 0.6 < billed / alone.dollars < 1  # executions and transactions besides
    assert many.dollars < alone.dollars / 2


def test_where_it_says_what_is_set_elsewhere_that_is_so() -> None:
    bicep = (ROOT / "infra" / "main.bicep").read_text("utf-8")
    assert f"param maximumInstanceCount int = {walls.INSTANCES}\n" in bicep
    first, most = (Settings.model_fields[name].default for name in ("poll_first", "poll_max"))
    assert usual_gap(0.0, NoDice()) == first
    assert usual_gap(1e6, NoDice()) == most


class NoDice(random.Random):
    """Draws the least."""

    def random(self) -> float:
        return 0.0


def test_the_command_says_when_it_is_too_much(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", "1,000,000", "--profile", "small", "--driver", "timer"]) == 0
    said = capsys.readouterr().out
    assert "1,000,000 active runs at any time under `timer`, with the profile `small`." in said
    [most] = re.findall(r"That is too much. The first wall is met at ([\d,]+) runs", said)
    assert main(["--runs", str(int(most.replace(",", "")) // 2), "--profile", "small", "--driver", "timer"]) == 0
    assert "too much" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "0"], "a number above 0, not '0'"),
        (["--runs", "1.5"], "a whole number, not '1.5'"),
        (["--runs", "many"], "a number above 0, not 'many'"),
        (["--profile", "huge"], "invalid choice: 'huge'"),
        (["--median", "60", "--p95", "30"], "--p95 is below --median"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
    assert message in capsys.readouterr().err


def test_what_is_counted_anew_leaves_the_other_figures_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "counted.json"
    keep(dict.fromkeys(Counted.__dataclass_fields__, 1.0), path)
    keep({"wake_seconds": 0.123456}, path)
    assert (read(path).wake_seconds, read(path).wake_executions) == (0.1235, 1.0)
    keep({}, path)
    assert read(path).wake_seconds == 0.1235
