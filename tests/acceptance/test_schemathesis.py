"""Requests that nobody thought of: schemathesis makes them from the contract, the whole local stack answers them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from local.prove.counts import count
from local.prove.tested import GENERATED
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
"""Requests an operation and phase, at most; or sequences of requests."""
STEPS = 10
"""Requests a sequence, at most."""
ONE_BY_ONE = "examples,coverage,fuzzing"


HOOKS = f"""
from urllib.parse import unquote
import schemathesis

@schemathesis.hook
def filter_case(context, case):
    # What the host answers by itself: methods that no trigger can have, characters that no route takes.
    path = unquote("".join(map(str, case.path_parameters.values())))
    return case.method.upper() in {METHODS} and all("!" <= each <= "~" for each in path)
"""

MAKES_SOMETHING = """

MADE = {
    "create_run": {"input": "[script:made]", "agent": "workshop"},
    "create_batch": {"items": [{"input": "[script:made]"}, {"input": "[script:bad]"}], "agent": "workshop"},
    "v1_create_response": {"input": "[script:soon]", "model": "bench", "background": True},
}
KEPT = {"title", "metadata", "deadline_seconds", "limits", "stream", "token", "store"}

@schemathesis.hook
def map_body(context, body):
    # What is made up is seldom taken; then nothing is there that a next request could be about.
    made = MADE.get(context.operation.definition.raw.get("operationId"))
    if made is None or not isinstance(body, dict):
        return body
    return {**{name: value for name, value in body.items() if name in KEPT}, **made}
"""

Schemathesis = Callable[..., Awaitable[str]]


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

    async def run(
        url: str,
        *more: str,
        checks: Sequence[str] = CHECKS,
        phases: str = ONE_BY_ONE,
        hooks: str = HOOKS,
        **parameters: str,
    ) -> str:
        given = "".join(f'{name} = "{value}"\n' for name, value in parameters.items())
        steps = f"[phases.stateful]\nmax-steps = {STEPS}\ninference.algorithms = []\n"
        (tmp_path / "schemathesis.toml").write_text(f'hooks = "hooks.py"\n[parameters]\n{given}{steps}')
        (tmp_path / "hooks.py").write_text(hooks)
        (tmp_path / "contract.json").write_text(json.dumps(with_events(json.loads(FILE.read_text("utf-8")))))
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"]
        command += ["run", "contract.json", "--url", url, "--no-color", "--checks", ",".join(checks)]
        command += ["--phases", phases, "--max-examples", str(EXAMPLES)]
        command += ["--generation-deterministic", "--generation-with-security-parameters", "false"]
        command += ["--suppress-health-check", "all", "--continue-on-failure", "--request-timeout", "60", *more]
        env = {**os.environ, "COLUMNS": "120", "PYTHONPATH": "."}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        printed = (await process.communicate())[0].decode()
        made = re.search(r"Test cases:\s+(\d+) generated", printed)
        if process.returncode != 0 or made is None:
            pytest.fail(printed[-20_000:], pytrace=False)
        count(GENERATED, {"requests": int(made[1])})
        return printed

    return run


async def test_whatever_is_sent_the_answer_is_one_that_the_contract_has(
    own_stack: Callable[..., Stack], schemathesis: Schemathesis
) -> None:
    stack = own_stack("durable", DORMOUSE_DELEGATION="1")  # else it were 403 wherever it names a user
    host = await asyncio.to_thread(stack.host)
    await schemathesis(host.url, "--exclude-operation-id", "create_batch", "--exclude-path-regex", "^/api/(v1|ops)/")


async def test_so_it_is_for_batches_in_which_a_bad_item_fails_alone(
    own_stack: Callable[..., Stack], schemathesis: Schemathesis
) -> None:
    host = await asyncio.to_thread(own_stack("durable", DORMOUSE_DELEGATION="1").host)
    checks = [check for check in CHECKS if check != "negative_data_rejection"]
    await schemathesis(host.url, "--include-operation-id", "create_batch", checks=checks)


async def test_so_it_is_for_openai_clients(own_stack: Callable[..., Stack], schemathesis: Schemathesis) -> None:
    keys = f"ada+delegate:{CLIENT_KEYS['ada']}"
    stack = own_stack("durable", DORMOUSE_DELEGATION="1", DORMOUSE_API_KEYS=keys)
    host = await asyncio.to_thread(stack.host)
    await stack.model.switches(think=0)
    key = f"Authorization: Bearer {CLIENT_KEYS['ada']}"
    await schemathesis(host.url, "--include-path-regex", "^/api/v1/", "--header", key)


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


FACES: dict[str, tuple[list[str], int]] = {
    "the app's own": ([r"^/api/(runs|batches|sessions)(/\{|$)"], 15),
    "OpenAI clients": (["^/api/v1/responses", "--header", f"Authorization: Bearer {CLIENT_KEYS['ada']}"], 4),
}
"""What schemathesis is to call, and how many of the links it must have followed for the test to say anything."""


@pytest.mark.parametrize(("face", "least"), FACES.values(), ids=FACES.keys())
async def test_so_it_is_whatever_is_done_next_to_what_was_made(
    face: Sequence[str], least: int, own_stack: Callable[..., Stack], schemathesis: Schemathesis
) -> None:
    """Sequences of requests along the contract's links: each goes to what an earlier one has made, or has deleted."""
    stack = own_stack("durable", DORMOUSE_EVENTS_SECONDS="0.2", DORMOUSE_RUN_TOKEN_SECRET=TOKEN_SECRET)
    host = await asyncio.to_thread(stack.host)
    asks = [{"name": "send", "arguments": {"label": "a"}}]
    await stack.model.script("made", [{"think": 0, "calls": asks}, {"think": 0, "text": "Fine."}])
    await stack.model.script("soon", [{"think": 0, "text": "Fine."}])
    await stack.model.script("bad", [{"think": 0, "status": "failed", "error": {"code": "invalid_prompt"}}])
    checks = [*(check for check in CHECKS if check != "negative_data_rejection"), "use_after_free"]
    said = await schemathesis(
        host.url,
        *("--include-path-regex", *face, "--exclude-method", "HEAD", "--mode", "positive"),
        checks=checks,
        phases="stateful",
        hooks=HOOKS + MAKES_SOMETHING,
        wait="0",
        Prefer="wait=0",
    )
    followed = re.search(r"API Links: +(\d+) covered", said)
    assert followed is not None
    assert int(followed[1]) >= least, said


async def test_so_it_is_for_operators(own_stack: Callable[..., Stack], schemathesis: Schemathesis) -> None:
    key = "a-key-of-the-operator-" * 2
    host = await asyncio.to_thread(own_stack("durable", DORMOUSE_OPERATOR_KEY=key).host)
    async with Api(host.url) as api:
        run_id = await api.start("Hello.")
    only = ["--include-path-regex", "^/api/ops/", "--header", f"x-dormouse-operator-key: {key}"]
    await schemathesis(host.url, *only, run_id=run_id)


async def test_so_it_is_for_a_webhook_that_is_set_up(
    own_stack: Callable[..., Stack], schemathesis: Schemathesis
) -> None:
    host = await asyncio.to_thread(own_stack("timer", OPENAI_WEBHOOK_SECRET=SECRET).host)
    await schemathesis(host.url, "--include-operation-id", "receive_webhook")
