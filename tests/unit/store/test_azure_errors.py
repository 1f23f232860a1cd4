"""What follows from each failure of the service: repeat, give up, or say what is wrong with the app."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.data.tables import EdmType, EntityProperty, TableTransactionError

from shared.runs.store import azure, azure_failures
from shared.runs.store.azure import AzureTables
from shared.runs.store.tables import Change, Conflict, Kind, LimitExceeded, Row, StoreUnavailable, Value
from tests.parts.cases import cases

A, B = Change(kind=Kind.INSERT, key="a"), Change(kind=Kind.INSERT, key="b")


def answered(status: int, code: str | None = None, *, in_header: bool = False) -> HttpResponseError:
    """An answer of the service with this status and code."""
    error = HttpResponseError("It says no.\nRequestId:1")
    error.status_code = status
    if code is not None and not in_header:
        error.error_code = code
    headers = {"x-ms-error-code": code} if in_header and code is not None else {}
    error.response = SimpleNamespace(headers=headers)  # type: ignore[assignment]
    return error


def never_connected(inner: Exception | None) -> ServiceRequestError:
    error = ServiceRequestError("no")
    error.inner_exception = inner
    return error


KEY = ConnectionKey("h", 1, False, False, None, None, None)
REFUSED = aiohttp.ClientConnectorError(KEY, OSError("refused"))


# --- repeats ------------------------------------------------------------------------------------------


@cases(
    ("error", "read", "write"),
    [
        (answered(429), True, True),
        (answered(503, "ServerBusy"), True, True),
        (answered(503, "ServerBusy", in_header=True), True, True),
        (answered(503, "OperationTimedOut"), True, False),
        (answered(500), True, False),
        (answered(408), True, False),
        (answered(502), True, False),
        (answered(504), True, False),
        (answered(404, "ResourceNotFound"), False, False),
        (answered(412), False, False),
        (answered(403), False, False),
        (never_connected(REFUSED), True, True),
        (never_connected(aiohttp.ServerDisconnectedError()), True, False),
        (never_connected(None), True, False),
        (ServiceRequestTimeoutError("slow"), False, True),
        (ServiceResponseError("cut"), True, False),
        (ServiceResponseTimeoutError("slow"), False, False),
        (aiohttp.ClientPayloadError(), True, False),
        (OSError(), False, False),
    ],
)
def test_which_failures_are_tried_again(error: Exception, read: bool, write: bool) -> None:
    assert azure_failures.may_read_again(error) is read
    assert azure_failures.never_happened(error) is write


@pytest.mark.parametrize(
    ("failures", "again", "pauses", "result"),
    [
        (0, True, [], "done"),
        (1, True, [0.1], "done"),
        (2, True, [0.1, 0.4], "done"),
        (3, True, [0.1, 0.4], None),
        (1, False, [], None),
    ],
)
async def test_what_failed_is_sent_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, failures: int, again: bool, pauses: list[float], result: str | None
) -> None:
    slept: list[float] = []
    left = failures

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def send() -> str:
        nonlocal left
        left -= 1
        if left >= 0:
            raise answered(500)
        return "done"

    monkeypatch.setattr(azure, "asyncio", SimpleNamespace(sleep=sleep))
    if result is None:
        with pytest.raises(HttpResponseError):
            await azure._repeat(send, lambda _: again)
    else:
        assert await azure._repeat(send, lambda _: again) == result
    assert slept == pauses


# --- what a failure means -----------------------------------------------------------------------------


@cases(
    ("error", "kind", "said"),
    [
        (answered(412), Conflict, "changed: a"),
        (answered(409, "EntityAlreadyExists"), Conflict, "there already: a"),
        (answered(409, "EntityAlreadyExists", in_header=True), Conflict, "there already: a"),
        (answered(404, "ResourceNotFound"), Conflict, "gone: a"),
        (answered(404, "TableNotFound"), Conflict, "gone: a"),
        (answered(404, "EntityNotFound"), Conflict, "gone: a"),
        (answered(404), StoreUnavailable, "failed: 404"),
        (answered(409, "TableBeingDeleted"), StoreUnavailable, "failed: 409 TableBeingDeleted It says no."),
        (answered(400, "PropertyValueTooLarge"), LimitExceeded, "400 PropertyValueTooLarge It says no."),
        (answered(413), LimitExceeded, "413"),
        (answered(500), StoreUnavailable, "failed: 500"),
        (answered(503, "ServerBusy"), StoreUnavailable, "busy"),
        (answered(429), StoreUnavailable, "busy"),
        (answered(401), StoreUnavailable, "refuses the app"),
        (answered(403), StoreUnavailable, "refuses the app"),
        (ClientAuthenticationError("no"), StoreUnavailable, "no token"),
        (ServiceResponseTimeoutError("slow"), StoreUnavailable, "may have happened"),
        (never_connected(REFUSED), StoreUnavailable, "no connection"),
        (OSError(), StoreUnavailable, "no connection to Table Storage: OSError"),
        (TimeoutError(), StoreUnavailable, "no connection to Table Storage: TimeoutError"),
    ],
)
def test_what_a_failed_write_is_told_as(error: Exception, kind: type[Exception], said: str) -> None:
    told = azure_failures.refused(error, [A])
    assert type(told) is kind
    assert said in str(told)
    assert "RequestId" not in str(told), "the first line is enough"


def a_refused_login(status: int) -> ClientAuthenticationError:
    error = ClientAuthenticationError("no")
    error.status_code = status
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (a_refused_login(401), "refuses the app"),
        (a_refused_login(403), "refuses the app"),
        (a_refused_login(400), "no token"),
    ],
)
def test_an_identity_that_gives_no_token_is_told_from_one_without_rights(
    error: ClientAuthenticationError, said: str
) -> None:
    assert said in str(azure_failures.refused(error, [A]))
    wrapped = HttpResponseError("It says no.")
    wrapped.status_code = 400
    wrapped.__cause__ = error
    assert ("no token" in str(azure_failures.refused(wrapped, [A]))) is (said == "no token")


def a_refused_transaction(message: str, index: int) -> TableTransactionError:
    error = TableTransactionError.__new__(TableTransactionError)
    error.message, error.index, error.status_code = message, index, 412
    return error


@pytest.mark.parametrize(
    ("error", "changes", "key"),
    [
        (answered(412), [A], "a"),
        (answered(412), [A, B], None),
        (a_refused_transaction("1:The update condition", 1), [A, B], "b"),
        (a_refused_transaction("0:The update condition", 0), [A, B], "a"),
        (a_refused_transaction("2:The update condition", 2), [A, B], None),
        (a_refused_transaction("The update condition", 0), [A, B], None),
    ],
)
def test_which_row_refused_a_transaction(error: HttpResponseError, changes: list[Change], key: str | None) -> None:
    assert azure_failures._refusing_key(error, changes) == key


# --- values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (2**31 - 1, 2**31 - 1),
        (2**31, EntityProperty(2**31, EdmType.INT64)),
        (-(2**31), -(2**31)),
        (-(2**31) - 1, EntityProperty(-(2**31) - 1, EdmType.INT64)),
        (True, True),
        ("a", "a"),
        (Kind.MERGE, "merge"),
    ],
)
def test_how_a_value_is_sent_and_read(value: Value, sent: Any) -> None:
    assert azure._typed(value) == sent
    assert type(azure._typed(value)) is type(sent)
    assert azure._value(azure._typed(value)) == value


def test_a_value_of_another_program_is_text() -> None:
    assert azure._value(EntityProperty(None, EdmType.GUID)) == "None"
    assert azure._value(b"a") == b"a"


@pytest.mark.parametrize(
    ("values", "where", "comparable"),
    [
        ({"a": 1}, {"a": ("ne", 2)}, True),
        ({"a": 1}, {}, True),
        ({}, {"a": ("ne", 2)}, False),
        ({"a": "1"}, {"a": ("ne", 2)}, False),
        ({"a": True}, {"a": ("ne", 2)}, False),
        ({"a": 1, "b": 1}, {"a": ("ne", 2), "b": ("ne", "x")}, False),
        ({"a": "merge"}, {"a": ("eq", Kind.MERGE)}, True),
    ],
)
def test_rows_without_a_value_to_compare_are_passed_over(
    values: dict[str, Value], where: dict[str, tuple[str, Value]], comparable: bool
) -> None:
    assert azure._comparable(Row(partition="p", key="k", etag="e", values=values), where) is comparable


def test_only_the_properties_that_were_asked_for_come_back() -> None:
    row = Row(partition="p", key="k", etag="e", values={"a": 1, "b": 2})
    assert azure._narrowed(row, None) is row
    assert azure._narrowed(row, ["b", "c"]).values == {"b": 2}
    assert azure._narrowed(row, []).values == {}


async def test_what_was_never_connected_can_be_closed_and_closed_again() -> None:
    closed: list[str] = []

    class Service:
        async def close(self) -> None:
            closed.append("once")

    store = AzureTables(lambda _: Service(), "app")  # type: ignore[arg-type,return-value]
    await store.close()
    assert closed == []
    store._account()
    await store.close()
    await store.close()
    assert closed == ["once"]
