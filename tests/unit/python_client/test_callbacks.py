"""Callbacks are believed only when the app has signed them, now. The signatures are made by the package that signs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message
from typing import Any

import pytest
from standardwebhooks import Webhook
from starlette.datastructures import Headers

from dormouse_client import Callback, CallbackRefused, InvalidArgument, verify_callback
from tests.parts.cases import cases
from tests.parts.receiver import OTHER_SECRET, SECRET

NOW = 1_790_000_000
DATA = {"id": "run_1", "metadata": {"a": "ä"}}
EVENT = {"type": "run.completed", "timestamp": "2026-11-21T12:00:00.000Z", "data": DATA}
BODY = json.dumps(EVENT, ensure_ascii=False).encode()


def signed(body: bytes = BODY, *secrets: str, at: int = NOW) -> dict[str, str]:
    """The headers as `shared/outbound` makes them."""
    time = datetime.fromtimestamp(at, UTC)
    signatures = [Webhook(secret).sign("msg_1", time, body.decode()) for secret in secrets or (SECRET,)]
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


def verify(headers: Any, body: bytes | str = BODY, secret: Any = SECRET) -> Callback:
    return verify_callback(headers, body, secret, now=NOW)


def test_a_callback_of_the_app_is_read() -> None:
    assert verify(signed()) == Callback("msg_1", "run.completed", "2026-11-21T12:00:00.000Z", DATA)
    assert verify(signed(), BODY.decode()) == verify(signed())


def headers_of_a_server() -> Message:
    message = Message()
    for name, value in signed().items():
        message[name.title()] = value
    return message


@pytest.mark.parametrize(
    "headers",
    [
        {name.upper(): value for name, value in signed().items()},
        headers_of_a_server(),
        Headers(signed()),
        list(signed().items()),
    ],
    ids=["capitals", "http.server", "starlette", "pairs"],
)
def test_the_headers_come_as_any_server_gives_them(headers: Any) -> None:
    pairs = headers if isinstance(headers, (Mapping, list)) else headers.items()
    assert verify(pairs).id == "msg_1"


@pytest.mark.parametrize(
    ("signers", "secrets"),
    [
        ((SECRET, OTHER_SECRET), OTHER_SECRET),
        ((SECRET,), f"{OTHER_SECRET} {SECRET}"),
        ((SECRET,), [OTHER_SECRET, SECRET]),
        ((SECRET,), SECRET.removeprefix("whsec_")),
        ((SECRET,), SECRET.rstrip("=")),
    ],
)
def test_secrets_can_be_changed_on_either_side(signers: tuple[str, ...], secrets: Any) -> None:
    assert verify(signed(BODY, *signers), BODY, secrets).type == "run.completed"


GOOD = signed()


@cases(
    ("headers", "body"),
    [
        (signed(BODY, OTHER_SECRET), BODY),
        (GOOD, BODY + b" "),
        (GOOD, b""),
        (GOOD, b"\xff\xfe"),
        ({**GOOD, "webhook-id": "msg_2"}, BODY),
        ({**GOOD, "webhook-timestamp": str(NOW + 1)}, BODY),
        *(
            ({**GOOD, "webhook-signature": value}, BODY)
            for value in ("v1", "v1,", ",", "v1,!", "v1,ä", "v1a," + GOOD["webhook-signature"][3:], "v1,QQ== v1,QUJD")
        ),
    ],
)
def test_what_the_app_has_not_signed_is_refused(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(CallbackRefused) as caught:
        verify(headers, body)
    assert caught.value.code == "invalid_signature"


@pytest.mark.parametrize("missing", GOOD)
def test_a_request_without_its_headers_is_no_callback(missing: str) -> None:
    with pytest.raises(CallbackRefused) as caught:
        verify({name: value for name, value in GOOD.items() if name != missing})
    assert caught.value.code == "missing_header"


@pytest.mark.parametrize("at", [NOW - 301, NOW + 301])
def test_an_old_callback_that_somebody_kept_is_refused(at: int) -> None:
    with pytest.raises(CallbackRefused) as caught:
        verify(signed(at=at))
    assert caught.value.code == "stale_timestamp"
    assert verify_callback(signed(at=at), BODY, SECRET, now=at).id == "msg_1"
    assert verify_callback(signed(at=at), BODY, SECRET, now=NOW, tolerance=400).id == "msg_1"


@pytest.mark.parametrize("value", ["soon", "1e9", "-1", "٣", "9" * 400, "nan", "1790000000.0"])
def test_a_time_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(CallbackRefused) as caught:
        verify({**GOOD, "webhook-timestamp": value})
    assert caught.value.code == "stale_timestamp"


@pytest.mark.parametrize("secret", ["", "   ", [], [""], "whsec_", "whsec_!", "whsec_ä"])
def test_a_secret_that_is_none_never_verifies_anything(secret: Any) -> None:
    with pytest.raises(InvalidArgument):
        verify(GOOD, BODY, secret)


@pytest.mark.parametrize("body", [b"[]", b"{}", b"nonsense", b'{"type": "x", "timestamp": "y", "data": 7}', b"null"])
def test_a_signed_body_that_is_no_callback_is_refused(body: bytes) -> None:
    with pytest.raises(CallbackRefused) as caught:
        verify(signed(body), body)
    assert caught.value.code == "unexpected_body"
