"""Requests that are refused, and the shape of what is answered."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from shared.runs.store.azure import AzureTables
from shared.runs.store.tables import Table
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, Target

NOBODY = f"run_{'0' * 32}_1"
FIELDS = {
    "id",
    "object",
    "url",
    "start_at",
    "status",
    "title",
    "input_preview",
    "agent",
    "model",
    "stream",
    "session_id",
    "batch_id",
    "text",
    "output",
    "error",
    "incomplete_details",
    "required_action",
    "tool_calls",
    "progress",
    "provider_status",
    "usage",
    "turn",
    "wakes",
    "active_seconds",
    "elapsed_seconds",
    "metadata",
    "callback_url",
    "callback_status",
    "created_at",
    "updated_at",
    "completed_at",
    "deadline_at",
    "answer_by",
    "waiting_for",
    "waiting_text",
    "wake_at",
    "retry_after",
    "annotations",
    "hosted_calls",
    "reasoning",
}


def post(body: Any, **headers: str) -> dict[str, Any]:
    """A submit; bytes are sent as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "method": "POST",
        "path": "/api/runs",
        "data": data,
        "headers": {"content-type": "application/json"} | given,
    }


def at(method: str, path: str) -> dict[str, Any]:
    """A request without a body."""
    return {"method": method, "path": path}


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty body": (post(b""), 400, "invalid_json"),
    "malformed": (post(b'{"input": '), 400, "invalid_json"),
    "not UTF-8": (post(b'{"input": "\xff\xfe"}'), 400, "invalid_json"),
    "UTF-16": (post('{"input": "x"}'.encode("utf-16")), 400, "invalid_json"),
    "array": (post([]), 400, "invalid_json"),
    "string": (post("x"), 400, "invalid_json"),
    "NaN": (post(b'{"input": "x", "deadline_seconds": NaN}'), 400, "invalid_json"),
    "deep nesting": (post(b'{"input":' + b"[" * 100_000), 400, "invalid_json"),
    "deep and closed": (post(b'{"input":' + b"[" * 50_000 + b"]" * 50_000 + b"}"), 400, "invalid_json"),
    "no input": (post({}), 400, "invalid_request"),
    "empty input": (post({"input": ""}), 400, "invalid_request"),
    "wrong type": (post({"input": ["x"]}), 400, "invalid_request"),
    "lone surrogate": (post(b'{"input": "\\ud83d"}'), 400, "invalid_request"),
    "unknown field": (post({"input": "x", "colour": "red"}), 400, "invalid_request"),
    "stream": (post({"input": "x", "stream": "true"}), 400, "invalid_request"),
    "callback": (post({"input": "x", "callback_url": 1}), 400, "invalid_request"),
    "unknown agent": (post({"input": "x", "agent": "nobody"}), 400, "unknown_agent"),
    "much metadata": (post({"input": "x", "metadata": {str(i): "" for i in range(17)}}), 400, "invalid_request"),
    "long metadata": (post({"input": "x", "metadata": {"k": "v" * 513}}), 400, "invalid_request"),
    "deadline of 0": (post({"input": "x", "deadline_seconds": 0}), 400, "invalid_request"),
    "deadline before": (post({"input": "x", "deadline_seconds": -5}), 400, "invalid_request"),
    "deadline too far": (post({"input": "x", "deadline_seconds": 1e12}), 400, "invalid_request"),
    "deadline of 1e999": (post(b'{"input": "x", "deadline_seconds": 1e999}'), 400, "invalid_request"),
    "too many turns": (post({"input": "x", "limits": {"turns": 10**9}}), 400, "invalid_request"),
    "content type": (post({"input": "x"}, content_type="text/plain"), 415, "unsupported_media_type"),
    "input too large": (post({"input": "x" * 1_048_577}), 413, "input_too_large"),
    "input too large in bytes": (post({"input": "é" * 524_289}), 413, "input_too_large"),
    "body too large": (post(b" " * 7_000_000 + b'{"input": "x"}'), 413, "input_too_large"),
    "empty key": (post({"input": "x"}, idempotency_key=""), 400, "invalid_idempotency_key"),
    "long key": (post({"input": "x"}, idempotency_key="k" * 256), 400, "invalid_idempotency_key"),
    "two keys, joined": (post({"input": "x"}, idempotency_key="one, two"), 400, "invalid_idempotency_key"),
    "key with a quote": (post({"input": "x"}, idempotency_key='a"b'), 400, "invalid_idempotency_key"),
    "foreign session": (post({"input": "x", "session_id": "0" * 32}), 404, "session_not_found"),
    "no session id": (post({"input": "x", "session_id": "../runs"}), 404, "session_not_found"),
    "foreign run": (at("GET", f"/api/runs/{NOBODY}"), 404, "run_not_found"),
    "run in capitals": (at("GET", f"/api/runs/{NOBODY.upper()}"), 404, "run_not_found"),
    "run with zeros": (at("GET", f"/api/runs/run_{'0' * 32}_00000001"), 404, "run_not_found"),
    "cancel of a foreign run": (at("POST", f"/api/runs/{NOBODY}/cancel"), 404, "run_not_found"),
    "no run id": (at("GET", "/api/runs/x"), 404, "not_found"),
    "long run id": (at("GET", "/api/runs/run_" + "0" * 2_000), 404, "not_found"),
    "unknown address": (at("GET", "/api/nothing/here"), 404, "not_found"),
    "blank in an address": (at("GET", "/api/runs/no%20such"), 404, "not_found"),
    "address beyond ASCII": (at("GET", "/api/ünter"), 404, "not_found"),
    "wrong method": (at("DELETE", "/api/runs"), 405, "method_not_allowed"),
    "wrong method of a run": (at("PUT", f"/api/runs/{NOBODY}"), 405, "method_not_allowed"),
}
HANGING: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "key beyond ASCII": (post({"input": "x"}, idempotency_key="schlüssel"), 400, "invalid_idempotency_key"),
    "cookie beyond ASCII": (at("GET", "/api/health") | {"headers": {"cookie": "é"}}, 200, None),
    "invocation id of a caller": (at("GET", "/api/health") | {"headers": {"x-ms-invocation-id": "x"}}, 200, None),
}
"""What hangs the invocation on the real host as it is, before our code is called."""

EMPTY: dict[str, tuple[dict[str, Any], set[int]]] = {
    "newline after": (at("GET", f"/api/runs/{NOBODY}%0A"), {404}),
    "newline inside": (at("GET", f"/api/runs/run_%0A{'0' * 32}_1"), {404}),
    "newline elsewhere": (at("GET", "/api/%0Aruns"), {404}),
    "NUL": (at("GET", f"/api/runs/{NOBODY}%00"), {400, 404}),
    "slash": (at("GET", f"/api/runs/..%2F{NOBODY}"), {404}),
    "too long": (at("GET", "/api/runs/" + "x" * 9_000), {400, 404, 414}),
}
"""What a host may answer by itself, without a body."""


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


@pytest.mark.main
@pytest.mark.http_only
@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_has_a_code_and_says_what_to_do(target: Target, name: str) -> None:
    request, status, code = REFUSED[name]
    reply = await target.api.call(**request)
    assert (reply.status, reply["code"], reply["status"]) == (status, code, status)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert re.fullmatch(r"[A-Z`].{20,600}\.", reply["detail"], re.DOTALL)


@pytest.mark.main
@pytest.mark.http_only
@pytest.mark.parametrize("name", EMPTY)
async def test_a_path_that_no_address_has_is_refused_and_hangs_nothing(target: Target, name: str) -> None:
    request, statuses = EMPTY[name]
    async with asyncio.timeout(20):
        reply = await target.api.call(**request)
    assert reply.status in statuses


@pytest.mark.main
@pytest.mark.http_only
@pytest.mark.parametrize("name", HANGING)
async def test_a_header_that_hangs_some_hosts_is_answered(target: Target, name: str) -> None:
    """On a host that hangs the worker is restarted at `functionTimeout`, with everything that runs on it then."""
    request, status, code = HANGING[name]
    try:
        async with asyncio.timeout(20):
            reply = await target.api.call(**request)
    except TimeoutError:
        if target.stack is None:
            pytest.skip(f"{name}: this host hangs on it before our code is called; SECURITY.md says what helps")
        raise
    assert (reply.status, reply.body.get("code")) == (status, code)


@pytest.mark.main
@pytest.mark.http_only
@pytest.mark.parametrize("field", ["colour", "tint"])
async def test_an_unknown_field_is_named(target: Target, field: str) -> None:
    reply = await target.api.call(**post({"input": "x", "shade": 1, field: "x"}))
    assert [each["field"] for each in reply["errors"]] == ["shade", field]
    assert f"`{field}`" in reply["detail"]


@pytest.mark.main
@pytest.mark.http_only
@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/runs", "GET, HEAD, POST"),
        (f"/api/runs/{NOBODY}", "GET, HEAD, DELETE"),
        (f"/api/runs/{NOBODY}/cancel", "POST"),
        (f"/api/runs/{NOBODY}/answers", "POST"),
        (f"/api/runs/{NOBODY}/deliveries", "GET, HEAD, POST"),
        ("/api/webhooks/openai", "POST"),
        ("/api/agents", "GET, HEAD"),
        ("/api/health", "GET, HEAD"),
        ("/api/health/deep", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(target: Target, path: str, allow: str) -> None:
    reply = await target.api.call("PATCH", path)
    assert (reply.status, reply.headers["Allow"]) == (405, allow)


async def rows(stack: Stack) -> list[tuple[str, str]]:
    """Every row of the stack's tables."""
    tables = AzureTables.from_connection_string(stack.azurite.connection_string, stack.prefix)
    try:
        return [(row.partition, row.key) for table in Table async for row in tables.query(table, None)]
    finally:
        await tables.close()


@pytest.mark.main
async def test_a_refusal_leaves_no_row(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack()
    async with Api(stack.host().url) as api:
        for request, status, _ in REFUSED.values():
            assert (await api.call(**request)).status == status
        for request, statuses in EMPTY.values():
            assert (await api.call(**request)).status in statuses
        assert await rows(stack) == []
        await stack.model.script("stuck", [{"stuck": True}])
        await api.start("[script:stuck]", agent="workshop")
        assert len(await rows(stack)) == 5  # session, run, input, watch, list


@pytest.mark.main
@pytest.mark.http_only
async def test_a_run_on_the_wire_is_as_the_contract_says(target: Target) -> None:
    submitted = await target.api.submit("Write a story about the moons of Jupiter.", metadata={"k": "v ä"})
    assert submitted.status == 202
    assert submitted.body.keys() == FIELDS
    run_id, url = submitted["id"], submitted["url"]
    assert re.fullmatch(r"run_[0-9a-f]{32}_1", run_id)
    assert submitted.headers["Location"] == submitted.headers["Operation-Location"] == url
    assert re.fullmatch(rf"https?://[^/]+/api/runs/{run_id}", url)
    reply = await target.api.call("GET", f"/api/runs/{run_id}")
    assert reply.body.keys() == FIELDS
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-cache"
    assert int(reply.headers["Retry-After"]) >= 1
    assert (reply["object"], reply["agent"], reply["metadata"]) == ("run", "novelist", {"k": "v ä"})
    assert reply["session_id"] == run_id.split("_")[1]
    assert reply["wake_at"] is not None
    run = await target.api.finished(run_id)
    assert run["status"] == "completed", run["error"]
    ended = await target.api.call("GET", f"/api/runs/{run_id}")
    assert ended.body == run
    assert "Retry-After" not in ended.headers
    assert (run["wake_at"], run["retry_after"], run["error"], run["incomplete_details"]) == (None,) * 4
    assert run["created_at"] <= run["updated_at"] <= run["completed_at"]
    assert all(run[name].endswith("Z") for name in ("created_at", "updated_at", "completed_at"))
    assert set(run["usage"]) == {
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cached_tokens",
        "reasoning_tokens",
    }
    head = await target.api.call("HEAD", f"/api/runs/{run_id}")
    assert (head.status, head.raw) == (200, b"")
    assert (await target.api.call("HEAD", f"/api/runs/{NOBODY}")).status == 404


@pytest.mark.main
async def test_a_response_id_is_in_no_answer(target: Target) -> None:
    await target.model.script(
        "secret", [{"think": 0.3, "calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"text": "done"}]
    )
    seen = []
    submitted = await target.api.submit("[script:secret]", agent="workshop", key="secret")
    seen.append(submitted.raw)
    run_id = submitted["id"]
    while (reply := await target.api.call("GET", f"/api/runs/{run_id}"))["status"] != "completed":
        seen.append(reply.raw)
        assert reply["status"] in ("queued", "in_progress"), reply
    seen.append(reply.raw)
    seen.append((await target.api.cancel(run_id)).raw)
    seen.append((await target.api.submit("[script:secret]", agent="workshop", key="secret")).raw)
    responses = await target.model.responses()
    assert len(responses) >= 2
    for body in seen:
        assert b"resp_" not in body
        assert b"response_id" not in body
        assert b"token" not in body.replace(b"_tokens", b"")


@pytest.mark.parametrize(
    ("env", "base"),
    [
        ({"DORMOUSE_PUBLIC_BASE_URL": "https://runs.example.com/"}, "https://runs.example.com"),
        ({"DORMOUSE_PUBLIC_BASE_URL": "", "WEBSITE_HOSTNAME": "app.example.net"}, "https://app.example.net"),
    ],
)
async def test_addresses_are_the_settings_never_the_requests(
    own_stack: Callable[..., Stack], env: dict[str, str], base: str
) -> None:
    host = own_stack().host(args=["--allow-host", "evil.example"], **env)
    async with Api(host.url) as api:
        forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "ftp"}
        reply = await api.call("POST", "/api/runs", json={"input": "x"}, headers=forged)
        assert reply.status == 202
        assert reply["url"] == reply.headers["Location"] == f"{base}/api/runs/{reply['id']}"
        assert b"evil" not in reply.raw
