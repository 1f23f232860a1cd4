"""Requests that nobody thought of: schemathesis makes them from the contract, the whole local stack answers them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from shared.api.routing import METHODS
from tests.acceptance.client import Api
from tests.acceptance.conftest import CLIENT_KEYS, Stack
from tests.acceptance.test_webhooks import SECRET
from tests.parts.contract import FILE

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
TOKEN_SECRET = "a-secret-of-the-tests-" * 2
EXAMPLES = 40
"""Requests an operation and phase, at most."""


HOOKS = f"""
from urllib.parse import unquote
import schemathesis

@schemathesis.hook
def filter_case(context, case):
    # What the host answers by itself: methods that no trigger can have, characters that no route takes.
    path = unquote("".join(map(str, case.path_parameters.values())))
    return case.method.upper() in {METHODS} and all("!" <= each <= "~" for each in path)
"""

Schemathesis = Callable[..., Awaitable[None]]


def with_events(document: Any) -> Any:
    """The contract as schemathesis reads it: what it finds as the schema of a stream it holds against each event."""
    for path in document["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                stream = answer.get("content", {}).get("text/event-stream")
                if stream is not None:
                    stream.pop("examples", None)
                    stream["schema"] = stream["schema"].get("contentSchema", {}).get("items", {})
    return document


@pytest.fixture
def schemathesis(tmp_path: Path) -> Schemathesis:
    """Run it against an app, with values for some parameters; fails with what it printed, if it found anything.

    The requests are the same each time, and nothing is kept.
    """

    async def run(url: str, *more: str, checks: Sequence[str] = CHECKS, **parameters: str) -> None:
        given = "".join(f'{name} = "{value}"\n' for name, value in parameters.items())
        (tmp_path / "schemathesis.toml").write_text(f'hooks = "hooks.py"\n[parameters]\n{given}')
        (tmp_path / "hooks.py").write_text(HOOKS)
        (tmp_path / "contract.json").write_text(json.dumps(with_events(json.loads(FILE.read_text("utf-8")))))
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"]
        command += ["run", "contract.json", "--url", url, "--no-color", "--checks", ",".join(checks)]
        command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)]
        command += ["--generation-deterministic", "--generation-with-security-parameters", "false"]
        command += ["--suppress-health-check", "all", "--continue-on-failure", "--request-timeout", "60", *more]
        env = {**os.environ, "COLUMNS": "120", "PYTHONPATH": "."}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        printed = (await process.communicate())[0].decode()
        if process.returncode != 0 or "Test cases:" not in printed:
            pytest.fail(printed[-20_000:], pytrace=False)

    return run


@pytest.mark.slow
async def test_whatever_is_sent_the_answer_is_one_that_the_contract_has(
    own_stack: Callable[..., Stack], schemathesis: Schemathesis
) -> None:
    stack = own_stack("durable", DORMOUSE_DELEGATION="1")  # else it were 403 wherever it names a user
    host = await asyncio.to_thread(stack.host)
    await schemathesis(host.url, "--exclude-operation-id", "create_batch", "--exclude-path-regex", "^/api/v1/")


@pytest.mark.slow
async def test_so_it_is_for_batches_in_which_a_bad_item_fails_alone(
    own_stack: Callable[..., Stack], schemathesis: Schemathesis
) -> None:
    host = await asyncio.to_thread(own_stack("durable", DORMOUSE_DELEGATION="1").host)
    checks = [check for check in CHECKS if check != "negative_data_rejection"]
    await schemathesis(host.url, "--include-operation-id", "create_batch", checks=checks)


@pytest.mark.slow
async def test_so_it_is_for_openai_clients(own_stack: Callable[..., Stack], schemathesis: Schemathesis) -> None:
    keys = f"ada+delegate:{CLIENT_KEYS['ada']}"
    stack = own_stack("durable", DORMOUSE_DELEGATION="1", DORMOUSE_API_KEYS=keys)
    host = await asyncio.to_thread(stack.host)
    await stack.model.switches(think=0)
    key = f"Authorization: Bearer {CLIENT_KEYS['ada']}"
    await schemathesis(host.url, "--include-path-regex", "^/api/v1/", "--header", key)


@pytest.mark.slow
async def test_so_it_is_for_runs_and_sessions_that_are_there(
    own_stack: Callable[..., Stack], schemathesis: Schemathesis
) -> None:
    # Else it watches a run that waits for a person.
    stack = own_stack("durable", DORMOUSE_EVENTS_SECONDS="0.2", DORMOUSE_RUN_TOKEN_SECRET=TOKEN_SECRET)
    host = await asyncio.to_thread(stack.host)
    async with Api(host.url) as api:
        run = await api.until(
            await api.start("The payroll system", agent="compliance"), lambda run: run["status"] == "requires_action"
        )
        asked = {"rights": ["read", "answer", "cancel"], "seconds": 3_600}
        token = (await api.call("POST", f"/api/runs/{run['id']}/tokens", json=asked))["token"]
    shared = ["--include-path-regex", "^/api/shared/", "--header", f"Authorization: Bearer {token}"]
    await schemathesis(host.url, *shared, run_id=run["id"])
    there = ["--include-path-regex", "_id}", "--exclude-path-regex", "^/api/shared/", "--exclude-method", "DELETE"]
    await schemathesis(host.url, *there, run_id=run["id"], session_id=run["session_id"])


@pytest.mark.slow
async def test_so_it_is_for_a_webhook_that_is_set_up(
    own_stack: Callable[..., Stack], schemathesis: Schemathesis
) -> None:
    host = await asyncio.to_thread(own_stack("timer", OPENAI_WEBHOOK_SECRET=SECRET).host)
    await schemathesis(host.url, "--include-operation-id", "receive_webhook")
