"""Settings of released versions: a deployment that has set them is not to notice a newer minor version.

A file is written once, when its version is released, and not changed after it: docs/versioning.md.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.settings import Settings

RELEASED = sorted(Path(__file__).parent.glob("settings_*.json"))


@pytest.mark.parametrize("file", RELEASED, ids=lambda file: file.stem)
def test_each_released_setting_is_there_and_takes_what_was_its_default(file: Path) -> None:
    released: dict[str, str | None] = json.loads(file.read_text("utf-8"))
    gone = released.keys() - {info.alias for info in Settings.model_fields.values()}
    assert not gone, f"{file.stem} has {sorted(gone)}: keep reading them until the next major version"
    Settings(**{name: value for name, value in released.items() if value is not None})


def test_the_first_release_is_there() -> None:
    assert "settings_1_0" in {file.stem for file in RELEASED}
