"""What only the service does: pages, refusals and lost answers, from a server that plays its lines."""

from __future__ import annotations

import asyncio
import json
import platform
import socket
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError

from shared.runs.store import azure
from shared.runs.store.azure import AzureTables
from shared.runs.store.tables import (
    MAX_BINARY_BYTES,
    Change,
    Conflict,
    Kind,
    LimitExceeded,
    Row,
    StoreUnavailable,
    Table,
    Value,
)
from tests.contract.store.played import ETAG, WRITTEN, Line, Service, connect, fails, hangs_up, page, says
from tests.parts.limits import change_bytes

RUNS = Table.RUNS
INSERT = Change(kind=Kind.INSERT, key="a", values={"n": 1})
MERGE = Change(kind=Kind.MERGE, key="a", values={"n": 1}, etag=ETAG)


@pytest.fixture
async def tables(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AzureTables]:
    monkeypatch.setattr(azure, "PAUSES", (0, 0))
    store = connect(service.port)
    yield store
    await store.close()


async def keys(tables: AzureTables, limit: int | None = None) -> list[str]:
    return [row.key async for row in tables.query(RUNS, "p", limit=limit)]


async def test_an_empty_page_with_a_continuation_is_not_the_end(service: Service, tables: AzureTables) -> None:
    service.lines = [page(next_key="b"), page("b", "c", next_key="d"), page(next_key="e"), page("f")]

    assert await keys(tables) == ["b", "c", "f"]

    assert [request.query.get("NextRowKey") for request in service.asked] == [None, "b", "d", "e"]


async def test_no_client_starts_a_process_to_name_itself(
    service: Service, tables: AzureTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "platform", lambda: pytest.fail("it asks `uname`, in a process"))
    service.lines = [page("a")]

    assert await keys(tables) == ["a"]


async def test_a_limit_reads_no_page_more_than_it_needs(service: Service, tables: AzureTables) -> None:
    service.lines = [page("a", next_key="b"), page("b", "c", next_key="d")]

    assert await keys(tables, limit=3) == ["a", "b", "c"]

    assert [request.query["$top"] for request in service.asked] == ["3", "3"]


async def test_a_page_that_fails_is_read_again_from_where_it_was(service: Service, tables: AzureTables) -> None:
    service.lines = [page("a", next_key="b"), fails(503, "ServerBusy"), hangs_up, page("b")]

    assert await keys(tables) == ["a", "b"]

    assert [request.query.get("NextRowKey") for request in service.asked] == [None, "b", "b", "b"]


async def test_a_null_is_an_absent_property_and_the_timestamp_an_etag(service: Service, tables: AzureTables) -> None:
    row = {"PartitionKey": "p", "RowKey": "a", "Timestamp": "2026-01-01T00:00:00.0000000Z", "x": None, "y": 1}
    service.lines = [says(200, {"value": [row]})]

    found = [found async for found in tables.query(RUNS, "p", select=["x", "y"])]

    assert found == [Row(partition="p", key="a", etag=ETAG, values={"y": 1})]
    assert service.asked[0].query["$select"] == "PartitionKey,RowKey,Timestamp,x,y"


async def test_the_etag_of_a_row_comes_before_its_timestamp(service: Service, tables: AzureTables) -> None:
    row = {"PartitionKey": "p", "RowKey": "a", "Timestamp": "2026-01-02T00:00:00Z", "odata.etag": "e", "y": "z"}
    service.lines = [says(200, row), says(200, {"value": [row]})]
    expected = Row(partition="p", key="a", etag="e", values={"y": "z"})
    assert await tables.get(RUNS, "p", "a") == expected
    assert [found async for found in tables.query(RUNS, "p")] == [expected]


async def test_an_answer_without_rows_is_no_empty_page(service: Service, tables: AzureTables) -> None:
    service.lines = [says(200, {"rows": []})] * 3
    with pytest.raises(TypeError):  # whatever it is: to be told that there are no rows is worse
        await keys(tables)


async def test_a_filter_holds_its_values_safely(service: Service, tables: AzureTables) -> None:
    service.lines = [page()]

    where: dict[str, tuple[str, Value]] = {
        "a": ("eq", "x' or 'a' eq 'a"),
        "b": ("ne", 2**31),
        "c": ("lt", -1),
        "d": ("ge", False),
    }
    assert [row async for row in tables.query(RUNS, "p'", first="a b", before='a"c', where=where)] == []

    assert service.asked[0].query["$filter"] == (
        "PartitionKey eq 'p''' and RowKey ge 'a b' and RowKey lt 'a\"c' and a eq 'x'' or ''a'' eq ''a' "
        "and b ne 2147483648L and c lt -1 and d ge false"
    )


@pytest.mark.parametrize("where", [{"a": ("like", 1)}, {"a eq 1 or b": ("eq", 1)}])
async def test_what_is_no_comparison_is_refused(tables: AzureTables, where: Any) -> None:
    with pytest.raises(ValueError, match="no comparison"):
        _ = [row async for row in tables.query(RUNS, "p", where=where)]


@pytest.mark.parametrize("change", [INSERT, MERGE], ids=["insert", "merge"])
async def test_in_the_steady_state_a_table_is_never_created(
    service: Service, tables: AzureTables, change: Change
) -> None:
    service.lines = [WRITTEN]

    for _ in range(2):
        assert await tables.commit(RUNS, "p", [change]) == {"a": ETAG}

    assert [request.path.startswith("/acct/appruns") for request in service.asked] == [True, True]


async def test_a_missing_table_is_created_once_and_the_write_repeated(service: Service, tables: AzureTables) -> None:
    service.lines = [fails(404, "TableNotFound"), fails(409, "TableAlreadyExists"), WRITTEN]

    assert await tables.commit(RUNS, "p", [INSERT]) == {"a": ETAG}

    assert [request.path for request in service.asked] == ["/acct/appruns", "/acct/Tables", "/acct/appruns"]


async def test_a_table_that_is_being_deleted_is_an_outage(service: Service, tables: AzureTables) -> None:
    service.lines = [fails(404, "TableNotFound"), fails(409, "TableBeingDeleted")]

    with pytest.raises(StoreUnavailable, match="TableBeingDeleted"):
        await tables.commit(RUNS, "p", [INSERT])


@pytest.mark.parametrize("changes", [[INSERT], [MERGE], [INSERT, Change(kind=Kind.INSERT, key="b")]])
@pytest.mark.parametrize("line", [hangs_up, fails(500, "OperationTimedOut"), fails(503, "OperationTimedOut")])
async def test_a_write_whose_answer_is_lost_is_never_sent_again(
    service: Service, tables: AzureTables, changes: Sequence[Change], line: Line
) -> None:
    service.lines = [line]

    with pytest.raises(StoreUnavailable):
        await tables.commit(RUNS, "p", changes)

    assert len(service.asked) == 1


@pytest.mark.parametrize("busy", [fails(503, "ServerBusy"), fails(429, "TooManyRequests")])
async def test_a_write_that_the_service_was_too_busy_for_is_sent_again(
    service: Service, tables: AzureTables, busy: Line
) -> None:
    service.lines = [busy, busy, WRITTEN]

    assert await tables.commit(RUNS, "p", [MERGE]) == {"a": ETAG}


async def test_a_read_is_repeated_twice(service: Service, tables: AzureTables) -> None:
    row = says(200, {"PartitionKey": "p", "RowKey": "a", "odata.etag": ETAG})
    service.lines = [fails(500, "InternalError"), hangs_up, row, fails(503, "ServerBusy")]

    assert await tables.get(RUNS, "p", "a") is not None
    with pytest.raises(StoreUnavailable, match="busy"):
        await tables.get(RUNS, "p", "a")
    assert len(service.asked) == 6


@pytest.mark.parametrize(
    ("line", "error", "text"),
    [
        (fails(403, "AuthorizationPermissionMismatch"), StoreUnavailable, "Storage Table Data Contributor"),
        (fails(401, "InvalidAuthenticationInfo"), StoreUnavailable, "Storage Table Data Contributor"),
        (fails(409, "TableBeingDeleted"), StoreUnavailable, "TableBeingDeleted"),
        (says(404), StoreUnavailable, "404"),
        (says(502), StoreUnavailable, "502"),
        (fails(400, "EntityTooLarge"), LimitExceeded, "EntityTooLarge"),
        (fails(400, "TooManyProperties"), LimitExceeded, "TooManyProperties"),
        (says(413), LimitExceeded, "413"),
        (fails(404, "ResourceNotFound"), Conflict, "gone"),
        (fails(412, "UpdateConditionNotSatisfied"), Conflict, "changed"),
        (fails(409, "EntityAlreadyExists"), Conflict, "there already"),
    ],
)
@pytest.mark.parametrize("change", [INSERT, MERGE], ids=["insert", "merge"])
async def test_a_refused_write_says_why(
    service: Service, tables: AzureTables, line: Line, error: type[Exception], text: str, change: Change
) -> None:
    service.lines = [line]

    with pytest.raises(error, match=text):
        await tables.commit(RUNS, "p", [change])


@pytest.mark.parametrize("line", [says(404), fails(403, "AuthenticationFailed"), fails(400, "InvalidInput")])
async def test_a_refused_read_is_not_a_missing_row(service: Service, tables: AzureTables, line: Line) -> None:
    service.lines = [line]

    with pytest.raises(StoreUnavailable):
        await tables.get(RUNS, "p", "a")
    with pytest.raises(StoreUnavailable):
        await keys(tables)


async def test_a_service_that_does_not_answer_is_an_outage_after_one_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accepted: list[asyncio.Task[None]] = []

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        accepted.append(task)
        await reader.read()
        writer.close()

    monkeypatch.setattr(azure, "READ_SECONDS", 0.05)
    server = await asyncio.start_server(never, "127.0.0.1", 0)
    tables = connect(server.sockets[0].getsockname()[1])

    with pytest.raises(StoreUnavailable, match="may have happened"):
        await tables.commit(RUNS, "p", [MERGE])
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await tables.get(RUNS, "p", "a")

    assert len(accepted) == 2
    await tables.close()
    await asyncio.gather(*accepted)
    server.close()


async def test_a_service_that_is_down_is_an_outage_within_seconds() -> None:
    with socket.socket() as nobody:  # held as long as it is asked, so that nobody else comes to listen there
        nobody.bind(("127.0.0.1", 0))
        tables = connect(nobody.getsockname()[1])
        started = time.monotonic()

        with pytest.raises(StoreUnavailable, match="no connection"):
            await tables.get(RUNS, "p", "a")
        with pytest.raises(StoreUnavailable, match="no connection"):
            await tables.commit(RUNS, "p", [INSERT, Change(kind=Kind.INSERT, key="b")])
        with pytest.raises(StoreUnavailable, match="no connection"):
            await keys(tables)

        assert time.monotonic() - started < 5
    await tables.close()


async def test_an_insert_asks_for_no_echo_and_sends_large_numbers_as_64_bits(
    service: Service, tables: AzureTables
) -> None:
    service.lines = [WRITTEN]

    await tables.commit(RUNS, "p", [Change(kind=Kind.INSERT, key="a", values={"small": 2**31 - 1, "big": 2**31})])

    assert service.asked[0].headers["Prefer"] == "return-no-content"
    sent = json.loads(service.bodies[0])
    assert (sent["small"], sent["big"], sent["big@odata.type"]) == (2**31 - 1, "2147483648", "Edm.Int64")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"n": -(2**63), "f": -1.7976931348623157e308, "b": True},
        {f"p{n}": "x" for n in range(252)},
        {"data": bytes(MAX_BINARY_BYTES), "text": "汉" * 32_000, "quoted": '"\\\n' * 1_000},
    ],
)
@pytest.mark.parametrize("key", ["a", "é😀'%" * 80])
async def test_the_estimate_of_a_body_is_never_too_small(
    service: Service, tables: AzureTables, values: dict[str, Any], key: str
) -> None:
    service.lines = [fails(500, "InternalError")]
    changes = [
        Change(kind=Kind.MERGE, key=key, values=values, etag=ETAG),
        Change(kind=Kind.INSERT, key=f"{key}1", values=values),
        Change(kind=Kind.DELETE, key=f"{key}2", etag=ETAG),
    ]

    with pytest.raises(StoreUnavailable):
        await tables.commit(RUNS, "é" * 256, changes)

    estimate = sum(change_bytes("é" * 256, change) for change in changes)
    assert len(service.bodies[0]) <= estimate <= 1.2 * len(service.bodies[0]) + 25_000


@pytest.mark.parametrize("prefix", ["", "1a", "a-b", "a" * 52, "é"])
def test_a_prefix_that_is_no_table_name_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        AzureTables.from_connection_string("UseDevelopmentStorage=true", prefix)


class Identity:
    scopes: tuple[str, ...] = ()

    async def get_token(self, *scopes: str, **_: Any) -> Any:
        self.scopes = scopes
        raise ClientAuthenticationError("no identity here")

    async def __aenter__(self) -> Identity:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        raise AssertionError("the credential is the caller's")


async def test_an_identity_is_asked_for_storage_and_its_refusal_is_an_outage() -> None:
    identity = Identity()
    tables = AzureTables.from_identity("https://acct.table.core.windows.net", identity, "app")

    with pytest.raises(StoreUnavailable, match="no identity here"):
        await tables.commit(RUNS, "p", [MERGE])

    assert identity.scopes == ("https://storage.azure.com/.default",)
    await tables.close()


@pytest.mark.parametrize(
    "text", ["UseDevelopmentStorage=true", "UseDevelopmentStorage=true;", " usedevelopmentstorage=TRUE "]
)
async def test_development_storage_is_azurite_on_its_default_port(text: str) -> None:
    tables = AzureTables.from_connection_string(text, "app")

    assert tables.endpoint == "http://127.0.0.1:10002/devstoreaccount1"

    await tables.close()
