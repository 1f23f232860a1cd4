"""The table of OpenAI clients: what was measured, in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local.openapi import clients

REFUSED = {"code": "unsupported_parameter", "param": "tools", "message": "`tools`: not here."}


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the table is made of, empty."""
    monkeypatch.setattr(clients, "MEASURED", tmp_path)
    return tmp_path


def keep(folder: Path, client: str, version: str, **steps: object) -> None:
    """Keep what was measured of a client."""
    written = json.dumps({"client": client, "version": version, "steps": steps})
    (folder / f"{len(list(folder.iterdir()))}.json").write_text(written, "utf-8")


def test_each_client_is_a_row_and_each_refusal_says_why_and_whose_it_is(measured: Path) -> None:
    keep(measured, "wombat", "2.0 with dingo 1.0", text="yes", tools=REFUSED, lost=1, failed="`WombatError`")
    keep(measured, "Emu", "1.0", tools=REFUSED, turns=REFUSED, turns_unstored="yes", lost=3, lost_key=1)
    head, _, emu, wombat, *_, refusal, other, _, _ = clients.table().split("\n")
    assert [name.strip() for name in head.split("|")][2:-1] == [*clients.STEPS.values()]
    assert emu == (
        "| Emu 1.0 | – | – | – | refused; with `store: false` yes | – | – | refused | – "
        "| 3 runs; with an `Idempotency-Key` one run | – |"
    )
    assert wombat == ("| wombat 2.0 with dingo 1.0 | yes | – | – | – | – | – | refused | – | one run | `WombatError` |")
    assert refusal == "| its own tools | `unsupported_parameter` | `tools`: not here. | Emu 1.0, wombat 2.0 |"
    assert other == "| two turns | `unsupported_parameter` | `tools`: not here. | Emu 1.0 |"


def test_where_nothing_is_refused_nothing_is_said_of_it(measured: Path) -> None:
    keep(measured, "Emu", "1.0", text="yes", failed="`E`", failed_stream="an empty answer")
    assert "| `E`; streamed, an empty answer |" in clients.table()
    assert "refuses" not in clients.table()


def test_every_client_that_was_measured_names_its_steps_as_the_table_does() -> None:
    others = {other for other, _ in clients.ALSO.values()}
    for each in clients.all_measured():
        assert each["steps"].keys() <= clients.STEPS.keys() | others, each["client"]
        assert each["version"]
