"""The provider's webhook: who may say something, what is heard, and what is answered."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from standardwebhooks import Webhook

from shared.agentkit.faults import NoNews
from shared.api import webhooks
from shared.api.http import answered
from shared.runs.concurrency import LostRace
from shared.runs.store.tables import Conflict
from shared.settings import Settings
from shared.wiring import App
from tests.parts.cases import cases
from tests.unit.api.conftest import content, request

SECRET = "whsec_" + base64.b64encode(b"a secret of the tests").decode()
EVENT = {"id": "evt_1", "object": "event", "type": "response.completed", "data": {"id": "resp_1"}}


@pytest.fixture(autouse=True)
def heard_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "adopt", lambda heard, response_id: heard.look_at(response_id))


class Heard:
    """Stands for the app and its driver: what was looked at, and who was woken."""

    def __init__(self, secret: str | None = SECRET, error: Exception | None = None, run: str | None = "run_1") -> None:
        self.settings = Settings(openai_webhook_secret=secret)
        self.ports = self
        self.looked: list[str] = []
        self.awake: list[str] = []
        self._error, self._run = error, run

    async def look_at(self, response_id: str) -> str | None:
        self.looked.append(response_id)
        if self._error is not None:
            raise self._error
        return self._run

    async def wake(self, run_id: str) -> None:
        self.awake.append(run_id)


def signed(body: bytes, *, age: float = 0.0, secret: str = SECRET) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=age)
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", at, body.decode("utf-8", "replace")),
    }


async def send(app: Heard, body: Any, headers: dict[str, str] | None = None) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    @answered
    async def receive(req: Any) -> Any:
        return await webhooks.receive_webhook(req, cast("App", app), cast("Any", app))

    return await receive(request(data, headers=signed(data) if headers is None else headers))


@pytest.mark.parametrize("kind", ["completed", "failed", "cancelled", "incomplete"])
async def test_the_end_of_a_response_wakes_its_run(kind: str) -> None:
    app = Heard()
    response = await send(app, {**EVENT, "type": f"response.{kind}"})
    assert (response.status_code, response.body) == (200, b"")
    assert (app.looked, app.awake) == (["resp_1"], ["run_1"])


async def test_a_response_that_concerns_no_run_wakes_nobody() -> None:
    app = Heard(run=None)
    assert (await send(app, EVENT)).status_code == 200
    assert (app.looked, app.awake) == (["resp_1"], [])


@cases(
    "change",
    [
        {"type": "batch.completed"},
        {"type": "response.created"},
        {"type": None},
        {"type": ["response.completed"]},
        {"data": None},
        {"data": "resp_1"},
        {"data": {}},
        {"data": {"id": 7}},
        *(
            {"data": {"id": each}}
            for each in ["", "..", "../models", "resp_1?x", "resp_1#x", "resp%5F1", "a\nb", "\ud800"]
        ),
    ],
)
async def test_anything_else_is_taken_and_passed_over(change: dict[str, Any]) -> None:
    app = Heard()
    assert (await send(app, {**EVENT, **change})).status_code == 200
    assert app.looked == []


BODY = json.dumps(EVENT).encode()
OTHER = "whsec_" + base64.b64encode(b"another secret, longer").decode()


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,???"},
        {"webhook-signature": "v1,a,b"},
        {"webhook-signature": "v1,\u00e9"},
        {"webhook-signature": Webhook(SECRET).sign("evt_1", datetime(2026, 1, 1, tzinfo=UTC), BODY.decode())},
        {"webhook-id": "evt_2"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "9" * 400},
    ],
)
async def test_a_signature_that_does_not_fit_is_401(change: dict[str, str]) -> None:
    app = Heard()
    response = await send(app, BODY, {**signed(BODY), **change})
    assert (response.status_code, content(response)["code"]) == (401, "invalid_signature")
    assert app.looked == []


@pytest.mark.parametrize(
    "sign",
    [
        dict,
        lambda: signed(BODY, age=302),
        lambda: signed(BODY, age=-310),
        lambda: signed(BODY, secret=OTHER),
        lambda: signed(BODY + b" "),
        lambda: {name: value.replace("v1,", "v1a,") for name, value in signed(BODY).items()},
    ],
    ids=["none", "old", "of the future", "of another", "of another body", "of another version"],
)
async def test_what_is_not_signed_with_our_secret_now_is_401(sign: Callable[[], dict[str, str]]) -> None:
    app = Heard()
    assert (await send(app, BODY, sign())).status_code == 401
    assert app.looked == []


async def test_one_of_several_signatures_is_enough() -> None:
    good = signed(BODY)
    both = f"v1,{base64.b64encode(b'of a secret before').decode()} {good['webhook-signature']}"
    assert (await send(Heard(), BODY, {**good, "webhook-signature": both})).status_code == 200


async def test_a_body_that_is_no_text_is_401_before_anybody_reads_it() -> None:
    body = b'{"type": "\xff"}'
    assert (await send(Heard(), body, signed(body))).status_code == 401


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"7", b"[" * 60_000])
async def test_a_signed_body_that_is_no_object_is_400(body: bytes) -> None:
    response = await send(Heard(), body, signed(body))
    assert (response.status_code, content(response)["code"]) == (400, "invalid_json")


async def test_a_body_has_a_limit_that_comes_before_the_signature() -> None:
    fits = json.dumps({**EVENT, "padding": "x" * (webhooks.MAX_BYTES - 200)}).encode()
    assert (await send(Heard(), fits)).status_code == 200
    for headers in (signed(b"another"), None):
        response = await send(Heard(), b"x" * (webhooks.MAX_BYTES + 1), headers)
        assert (response.status_code, content(response)["code"]) == (413, "input_too_large")


class Untouched:
    """A request whose body must not be waited for: it never comes."""

    method = "POST"

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.waited = False

    async def stream(self) -> AsyncIterator[bytes]:
        self.waited = True
        yield b"{"
        await asyncio.Event().wait()


async def answer_to(untouched: Untouched) -> Any:
    @answered
    async def receive(req: Any) -> Any:
        return await webhooks.receive_webhook(req, cast("App", Heard()), cast("Any", None))

    return await asyncio.wait_for(receive(untouched), 20)


@pytest.mark.parametrize(
    "wrong",
    [
        dict,
        lambda: {"webhook-id": "evt_1", "webhook-timestamp": "1"},
        lambda: signed(BODY, age=400),
        lambda: signed(BODY, age=-400),
        lambda: {**signed(BODY), "webhook-id": ""},
        lambda: {**signed(BODY), "webhook-signature": "v1,short="},
        lambda: {**signed(BODY), "webhook-signature": "v1a," + "A" * 43 + "="},
        lambda: {**signed(BODY), "webhook-timestamp": "1e9"},
    ],
)
async def test_headers_that_cannot_be_right_are_refused_without_waiting_for_the_body(
    wrong: Callable[[], dict[str, str]],
) -> None:
    request = Untouched(wrong())  # signed now: between collection and this test minutes may lie
    response = await answer_to(request)
    assert (response.status_code, content(response)["code"]) == (401, "invalid_signature")
    assert not request.waited


@pytest.mark.parametrize("length", [str(webhooks.MAX_BYTES + 1), "9" * 5_000, "-1", "x"])
async def test_a_length_that_is_too_much_is_refused_without_waiting_for_the_body(length: str) -> None:
    request = Untouched({**signed(BODY), "content-length": length})
    response = await answer_to(request)
    assert (response.status_code, content(response)["code"], request.waited) == (413, "input_too_large", False)


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "BODY_SECONDS", 0.05)
    response = await answer_to(Untouched(signed(BODY)))
    assert (response.status_code, content(response)["code"]) == (408, "body_timeout")


async def test_without_a_secret_there_is_no_such_address() -> None:
    app = Heard(secret=None)
    response = await send(app, EVENT)
    assert (response.status_code, content(response)["code"], app.looked) == (404, "not_found", [])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoNews("no", code="http_500"), "provider_unavailable"),
        (Conflict("run_1", "races"), "storage_unavailable"),
        (LostRace("run_1: too many races"), "storage_unavailable"),
    ],
)
async def test_what_could_not_be_read_is_503_so_that_it_comes_again(error: Exception, code: str) -> None:
    app = Heard(error=error)
    response = await send(app, EVENT)
    assert (response.status_code, content(response)["code"], app.awake) == (503, code, [])
    assert int(response.headers["retry-after"]) > 0
