"""Other people's clients of OpenAI, unmodified, against `/api/v1`: each does its steps, and is a row of a table.

With `DORMOUSE_TEST_RECORD=1` in the environment this file and `test_openai_dotnet.py` measure anew what
`python3 dev.py check --fix` then writes into docs/clients.md.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from local.openapi.clients import MEASURED
from tests.acceptance.conftest import Target
from tests.acceptance.openai_stacks import Client, measured, misshapen, play
from tests.acceptance.test_openai_dotnet import ROWS

RECORD = bool(os.environ.get("DORMOUSE_TEST_RECORD"))

CHAT = ("chat",)


def of_python(title: str, environment: str, program: str, **more: Any) -> Client:
    """A client of this language."""
    return Client(title=title, environment=environment, program=f"use_{program}.py", **more)


def both(name: str, title: str, environment: str, program: str, **more: Any) -> dict[str, Client]:
    """A client that speaks both APIs."""
    return {
        name: of_python(title, environment, program, **more),
        f"{name}_chat": of_python(f"{title}, chat", environment, program, arguments=CHAT, **more),
    }


def of_npm(name: str, title: str, program: str, *packages: str, **more: Any) -> dict[str, Client]:
    """A client for JavaScript, which speaks both APIs."""
    made: dict[str, Any] = {"program": f"use_{program}.mjs", **more}
    return {
        name: Client(title=title, arguments=packages, **made),
        f"{name}_chat": Client(title=f"{title}, chat", arguments=(*packages, "chat"), **made),
    }


CLIENTS = {
    "openai_2_54": of_python("openai (Python)", "openai_2", "openai"),
    "openai_3_3": of_python("openai (Python)", "openai_3_3", "openai"),
    **both("openai_3_57", "openai (Python)", "openai_3_57", "openai"),
    **both("openai_agents", "openai-agents", "openai_3_57", "agents"),
    **both("langchain", "langchain-openai", "openai_3_57", "langchain"),
    **both("pydantic_ai", "pydantic-ai", "openai_3_57", "pydantic_ai"),
    **both("agent_framework", "Agent Framework (Python)", "openai_3_57", "agent_framework"),
    "litellm": of_python("litellm", "openai_3_57", "litellm", repeats="never"),
    "litellm_chat": of_python("litellm, chat", "openai_3_57", "litellm", arguments=CHAT),
    **both("llm", "llm", "openai_3_57", "llm"),
    "llama_index": of_python("LlamaIndex OpenAIResponses", "openai_2", "llama_index"),
    "instructor": of_python("instructor, chat", "openai_3_3", "instructor", wraps=True),
    **of_npm("npm_openai_6", "openai (npm)", "openai", "openai-6"),
    **of_npm("npm_openai_7", "openai (npm)", "openai", "openai"),
    **of_npm("ai_sdk_6", "Vercel AI SDK", "ai_sdk", "ai-6", "@ai-sdk/openai-3", repeats="unmarked"),
    **of_npm("ai_sdk_7", "Vercel AI SDK", "ai_sdk", "ai", "@ai-sdk/openai", repeats="unmarked"),
}


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


def test_each_row_of_the_table_is_measured_by_a_test() -> None:
    assert {file.stem for file in MEASURED.glob("*.json")} == CLIENTS.keys() | ROWS.keys()


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
    kept = json.loads(file.read_text("utf-8"))
    differs = {step: (kept["steps"].get(step), now) for step, now in found["steps"].items()}
    assert {step: both for step, both in differs.items() if both[0] != both[1]} == {}, "measure anew: see the top"
    assert kept == found
