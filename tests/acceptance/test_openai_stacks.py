"""Fifteen stacks of other people's, unmodified, against `/api/v1`.

`DORMOUSE_TEST_RECORD=1 python3 dev.py test --all tests/acceptance/test_openai_stacks.py` writes anew what
`python3 dev.py check --fix` puts into docs/clients.md.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from local.openapi.clients import MEASURED
from tests.acceptance.conftest import Target
from tests.acceptance.openai_stacks import Client, measured, misshapen, play

RECORD = bool(os.environ.get("DORMOUSE_TEST_RECORD"))

CLIENTS = {
    "openai_2": Client(title="openai (Python)", environment="openai_2", program="use_openai.py"),
    "openai_3_3": Client(title="openai (Python)", environment="openai_3_3", program="use_openai.py"),
    "openai_3_57": Client(title="openai (Python)", environment="openai_3_57", program="use_openai.py"),
    "openai_3_57_chat": Client(
        title="openai (Python), chat", environment="openai_3_57", program="use_openai.py", arguments=("chat",)
    ),
}


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_of_other_people_does_what_the_table_says(target: Target, name: str, tmp_path: Path) -> None:
    client = CLIENTS[name]
    played = await play(client, target, tmp_path)
    problems = misshapen(played)
    found = await measured(client, played, target, problems)
    assert problems == []
    file = MEASURED / f"{name}.json"
    if RECORD:
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8", newline="\n")
    assert json.loads(file.read_text("utf-8")) == found, "measure anew: see the top of this file"
