"""What the log has of an exception and of a provider's refusal: what and where, never what somebody wrote."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from shared.agentkit import faults
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.ports import log
from shared.runs.store.rows import decode, encode
from shared.runs.store.tables import StoreUnavailable
from shared.runs.store.unreadable import RowUnreadable
from shared.runs.tracebacks import KEEPS_TEXT
from tests.parts.cases import cases
from tests.unit.runs.conftest import Rig
from tests.unit.runs.records import a_run

SAID = "the hedgehog said so"


def raise_in_a_chain(first: Exception, second: Exception) -> None:
    try:
        raise first
    except Exception as error:
        raise second from error


def test_an_exception_is_logged_by_type_and_place_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise_in_a_chain(KeyError(SAID), ValueError(f"no number: {SAID}"))
    except ValueError:
        log.exception("run %s: a wake crashed", "run_1")
    for part in ("a wake crashed", "KeyError", "ValueError", "in raise_in_a_chain", "direct cause"):
        assert part in caplog.text, part
    assert SAID not in caplog.text


def test_exceptions_that_never_quote_a_value_keep_their_text(caplog: pytest.LogCaptureFixture) -> None:
    for error in (StoreUnavailable("the store is away"), ConnectionResetError(104, "reset by peer")):
        log.error("it failed", exc_info=error)
    assert "the store is away" in caplog.text
    assert "reset by peer" in caplog.text


def test_before_there_is_any_request_the_text_stays_without_keys(caplog: pytest.LogCaptureFixture) -> None:
    text = "no setting REGION; api_key=sk-abcdef" + "0123456789"  # a traceback shows this line
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("the agents could not be built", extra={KEEPS_TEXT: True})
    assert "no setting REGION" in caplog.text
    assert "sk-abcdef" + "0123456789" not in caplog.text


@pytest.mark.parametrize("operation", ["create", "retrieve", "cancel"])
@pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 500, 503])
async def test_a_provider_that_quotes_the_prompt_is_logged_by_its_code(
    rig: Rig, caplog: pytest.LogCaptureFixture, operation: str, status: int
) -> None:
    caplog.set_level(logging.DEBUG, "dormouse")
    fault = {"status": status, "json_error": {"code": "not_good", "message": f"Not allowed: {SAID}"}, "times": 3}
    await rig.model.script("s", [{"text": SAID, "think": 5.0, "faults": {operation: [fault]}}])
    run_id = await rig.start(f"[script:s] {SAID}")
    for _ in range(4):
        await rig.wake(run_id)
        rig.clock.move(60)
    assert SAID not in caplog.text


@pytest.mark.parametrize("name", ["request", "phase", "result", "schedule"])
def test_a_row_that_cannot_be_read_says_which_field_and_not_what_it_holds(name: str) -> None:
    values: dict[str, Any] = {**encode(a_run()), name: f'"{SAID}"'}
    with pytest.raises(RowUnreadable, match=f"in Run.{name}") as raised:
        decode(Run, values)
    assert SAID not in str(raised.value)


def test_a_value_of_the_wrong_type_is_named_by_its_type() -> None:
    with pytest.raises(RowUnreadable) as raised:
        decode(Session, {"session_id": 5, "agent": SAID, "created_at": SAID})
    assert SAID not in str(raised.value)


@cases(
    "fault, words",
    [
        (faults.Refused(SAID, code="invalid_prompt"), "invalid_prompt"),
        (faults.PerhapsAccepted(SAID, code="unreadable_answer"), "unreadable_answer"),
        (faults.NoNews("no route", code="provider_unreachable"), "provider_unreachable: no route"),
        (faults.AccessDenied("no role", code="http_403"), "http_403: no role"),
    ],
)
def test_the_words_of_a_fault_are_logged_where_they_are_no_quotation(fault: faults.ProviderFault, words: str) -> None:
    assert fault.for_log == words
