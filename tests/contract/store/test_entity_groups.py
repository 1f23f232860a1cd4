"""Entity group transactions over the wire: what we send is what the SDK would, and any answer is understood."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from shared.runs.store import azure
from shared.runs.store.azure import AzureTables
from shared.runs.store.tables import Change, Conflict, Kind, LimitExceeded, StoreUnavailable, Table
from tests.contract.store.played import ETAG, Line, Service, connect

CHANGES = [
    Change(kind=Kind.INSERT, key="a", values={"text": "é\r\n--changeset", "big": 2**40}),
    Change(kind=Kind.MERGE, key="b'%", values={"n": 1, "data": b"\x00\xff"}, etag=ETAG),
    Change(kind=Kind.OVERWRITE, key="c", values={}),
    Change(kind=Kind.DELETE, key="d", etag=ETAG),
]
MOVING = re.compile(
    rb"^(?:x-ms-date|Date|x-ms-client-request-id): .*\r\n|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", re.MULTILINE
)
"""What differs from one request to the next; and two headers which the SDK repeats within each operation."""

SIGNED = ("Authorization", "Content-Length", "Date", "x-ms-date", "x-ms-client-request-id")


def part(status: str, *headers: str, body: str = "") -> str:
    lines = ["Content-Type: application/http", "Content-Transfer-Encoding: binary", "", f"HTTP/1.1 {status}", *headers]
    return "\n".join(["--changesetresponse_1", *lines, "", body])


def group(*parts: str, eol: str = "\r\n", end: str = "--changesetresponse_1--\n--batchresponse_1--\n") -> Line:
    head = "--batchresponse_1\nContent-Type: multipart/mixed; boundary=changesetresponse_1\n\n"
    text = (head + "\n".join(parts) + "\n" + end).replace("\n", eol)
    kind = "multipart/mixed; boundary=batchresponse_1"
    return lambda _: web.Response(status=202, body=text.encode(), headers={"Content-Type": kind})


def fault(status: str, code: str, message: str) -> str:
    body = f'{{"odata.error":{{"code":"{code}","message":{{"lang":"en-US","value":"{message}"}}}}}}'
    return part(status, "Content-Type: application/json;odata=minimalmetadata", body=body)


def written(etag: str, name: str = "ETag") -> str:
    return part("204 No Content", "Content-ID: 0", f"{name}: {etag}")


@pytest.fixture
async def tables(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AzureTables]:
    monkeypatch.setattr(azure, "PAUSES", (0, 0))
    store = connect(service.port)
    yield store
    await store.close()


async def test_the_body_is_that_of_the_sdk(
    service: Service, tables: AzureTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.lines = [group(*[written("x")] * 4)]
    await tables.commit(Table.RUNS, "p", CHANGES)
    monkeypatch.setattr(azure, "send_groups_plainly", lambda client: client)
    the_sdk = connect(service.port)
    await the_sdk.commit(Table.RUNS, "p", CHANGES)
    await the_sdk.close()

    ours, theirs = (MOVING.sub(b"", body) for body in service.bodies)
    assert ours == theirs
    own, other = (
        {name: MOVING.sub(b"", value.encode()) for name, value in asked.headers.items() if name not in SIGNED}
        for asked in service.asked
    )
    assert own == other


@pytest.mark.parametrize(
    "answer",
    [
        group(written("a"), written("b"), written("c", "etag"), part("204 No Content")),
        group(written("a"), written("b"), written("c"), part("204"), eol="\n"),
    ],
)
async def test_each_row_has_the_etag_of_its_part(service: Service, tables: AzureTables, answer: Line) -> None:
    service.lines = [answer]
    assert await tables.commit(Table.RUNS, "p", CHANGES) == {"a": "a", "b'%": "b", "c": "c"}


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (fault("409 Conflict", "EntityAlreadyExists", "0:It is there."), Conflict, "a"),
        (fault("412 Precondition Failed", "UpdateConditionNotSatisfied", "1:No."), Conflict, "b'%"),
        (fault("404 Not Found", "ResourceNotFound", "3:Gone."), Conflict, "d"),
        (fault("400 Bad Request", "EntityTooLarge", "2:Too large."), LimitExceeded, "EntityTooLarge"),
        (fault("413 Too Large", "RequestBodyTooLarge", "Too large."), LimitExceeded, "RequestBodyTooLarge"),
        (fault("503 Busy", "ServerBusy", "Later."), StoreUnavailable, "busy"),
        (part("500 Internal Server Error", body="<html>"), StoreUnavailable, "500"),
        (part("403 Forbidden", "x-ms-error-code: AuthorizationFailure"), StoreUnavailable, "refuses the app"),
    ],
)
@pytest.mark.parametrize("eol", ["\r\n", "\n"])
async def test_the_operation_that_failed_is_named(
    service: Service, tables: AzureTables, answer: str, error: type[Exception], text: str, eol: str
) -> None:
    service.lines = [group(answer, eol=eol)]
    with pytest.raises(error) as raised:
        await tables.commit(Table.RUNS, "p", CHANGES)
    assert text in (str(raised.value.key) if isinstance(raised.value, Conflict) else str(raised.value))


@pytest.mark.parametrize(
    "answer",
    [
        group(written("a"), written("b")),
        group(written("a"), written("b"), written("c"), part("204 No Content"), end=""),
        group(),
        group("--changesetresponse_1\nnothing that answers"),
        lambda _: web.Response(status=202, text="Accepted."),
        lambda _: web.Response(status=202),
    ],
)
async def test_an_answer_that_says_less_is_an_outage(service: Service, tables: AzureTables, answer: Line) -> None:
    service.lines = [answer]
    with pytest.raises(StoreUnavailable):
        await tables.commit(Table.RUNS, "p", CHANGES)
    assert len(service.asked) == 1  # it may have happened: nobody sends it again
