"""The ids of lines of the log."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from shared.runs.log import log
from shared.telemetry.spans import Recording, Span, root_of
from tests.unit.runs.conftest import Rig

RUN = "run_0af7651916cd43dd8448eb211c80319c_2"
BATCH = "batch_0b5f8d1c2e3a4967a1b2c3d4e5f60718"
IDS = ("run_id", "session_id", "batch_id", "turn", "trace_id", "span_id")


def ids(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in IDS if hasattr(record, name)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"run {RUN} is failed", {"run_id": RUN, "session_id": RUN[4:36]}),
        (f"{RUN}: its list's row is not written", {"run_id": RUN, "session_id": RUN[4:36]}),
        (f"{BATCH}: a wake crashed", {"batch_id": BATCH}),
    ],
)
def test_a_line_has_the_ids_of_what_it_names(
    text: str, expected: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    log.warning("%s", text)
    place = root_of(RUN if "run_id" in expected else BATCH)
    assert ids(caplog.records[-1]) == expected | {"trace_id": place.trace_id, "span_id": place.span_id}


def test_a_line_about_nobody_has_none(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("the sweep ran into its limit of %g s", 9)
    assert ids(caplog.records[-1]) == {}


async def test_a_line_of_a_wake_is_of_its_span_and_turn_whatever_it_names(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dormouse")
    await rig.model.script("s", [{"text": "Late.", "faults": {"create": [{"status": 401}]}}])
    spans: list[Span] = []
    ports = replace(rig.app.ports, telemetry=Recording(spans.append, rig.clock))
    traced = replace(rig, app=replace(rig.app, ports=ports))
    run = await traced.run_to_end()
    told = {record.getMessage().partition(": ")[0]: ids(record) for record in caplog.records if hasattr(record, "turn")}
    found = told[f"run {run.id}"]
    assert (found["run_id"], found["session_id"], found["turn"]) == (run.id, run.request.session_id, 1)
    assert found["trace_id"] == run.request.session_id
    assert found["span_id"] in {span.place.span_id for span in spans}
    assert json.dumps(found), "they are plain values"
