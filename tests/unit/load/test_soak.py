"""When a soak calls a process flat, and what it says has grown."""

from __future__ import annotations

from dataclasses import replace

from tests.load.soak import Sample, judged
from tests.parts.cases import cases

FLAT = Sample(rss_mb=120.0, handles=40, threads=12, submit_ms=40.0, status_ms=5.0, machine_ms=10.0)


@cases(
    "last, grown",
    [
        (FLAT, []),
        (replace(FLAT, rss_mb=127.0, handles=44, threads=16, submit_ms=69.0, status_ms=30.0), []),
        (replace(FLAT, rss_mb=129.0), ["rss_mb grew from 120.0 to 129.0"]),
        (replace(FLAT, handles=46), ["handles grew from 40 to 46"]),
        (replace(FLAT, threads=17), ["threads grew from 12 to 17"]),
        (replace(FLAT, submit_ms=71.0), ["submit_ms grew from 40.0 to 71.0"]),
        (replace(FLAT, status_ms=36.0), ["status_ms grew from 5.0 to 36.0"]),
        (replace(FLAT, submit_ms=400.0, status_ms=50.0, machine_ms=100.0), []),
    ],
)
def test_what_grows_from_the_second_to_the_last_quarter_is_named(last: Sample, grown: list[str]) -> None:
    cold = Sample(rss_mb=60.0, handles=10, threads=2, submit_ms=4_000.0, status_ms=900.0, machine_ms=10.0)
    assert judged([cold] * 3 + [FLAT] * 6 + [last] * 3, [])["violations"] == grown


def test_a_soak_without_four_samples_says_nothing() -> None:
    assert judged([FLAT] * 3, [])["violations"] == ["too short: there are not four samples"]
