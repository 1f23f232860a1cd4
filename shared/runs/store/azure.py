"""Tables over the Azure SDK: nobody but it and what it uses imports ``azure.data.tables``.

Repeats. The retry policy of the SDK is off. It repeats a write whose answer was lost, and such a repeat meets our
own write: 412 for what succeeded. So a *write* is repeated only when it cannot have happened (no connection was
made, or the service was too busy to take it); any other failure is :class:`StoreUnavailable`, after which the
write may or may not have happened. *Reads* are repeated on everything transient except a timeout, which has cost
ten seconds already. One repeat is out of our hands: aiohttp sends PUT and DELETE (replace, upsert, delete) once
more when a kept connection turns out dead, so a Conflict on these may be our own earlier write.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from azure.core import MatchConditions
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.data.tables import EdmType, EntityProperty, TableEntity, UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient

from shared.runs.store.azure_failures import (
    FAILURES,
    code_of,
    is_gone,
    may_read_again,
    never_happened,
    refused,
    unavailable,
)
from shared.runs.store.entity_group import send_groups_plainly
from shared.runs.store.odata import filter_of
from shared.runs.store.plain_answers import read_plainly
from shared.runs.store.tables import (
    Change,
    Condition,
    Conflict,
    Kind,
    Page,
    Row,
    Table,
    Value,
    check_commit,
    fits,
    plain,
    valid_key,
)

CONNECT_SECONDS = 5
READ_SECONDS = 10
PAUSES = (0.1, 0.4)
"""Seconds before the second and the third try."""

PAGE_ROWS = 250
"""Of the 1,000 that the service would send: the client decodes a page in one go, 30 microseconds a row and more."""

# To name itself the SDK would start a process, and hold the event loop for it: service and table clients alike.
_NAMED: Mapping[str, Any] = {"base_user_agent": "dormouse"}
# The version is the first that takes a managed identity.
_OPTIONS: Mapping[str, Any] = {"retry_total": 0, "api_version": "2020-12-06", **_NAMED}
_SYSTEM = ("PartitionKey", "RowKey", "Timestamp")  # a selection without them brings rows without keys

Seen: TypeAlias = Callable[[str, int | None], None]
"""Called for each request to the service: its method, and the status of its answer, None where none came."""

_T = TypeVar("_T")
_Operation: TypeAlias = tuple[str, Mapping[str, Any], Mapping[str, Any]]


class AzureTables:
    """:class:`~shared.runs.store.tables.Tables` on Azure Table Storage or Azurite.

    Make one for a process: it opens its connections inside the event loop that first uses it.
    """

    def __init__(
        self, connect: Callable[[AioHttpTransport], TableServiceClient], prefix: str, seen: Seen = lambda *_: None
    ) -> None:
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9]{0,50}", prefix) is None:
            raise ValueError(f"a table prefix is a letter and up to 50 letters and digits, not {prefix!r}")
        self._connect = connect
        self._prefix = prefix
        self._seen = seen
        self._service: TableServiceClient | None = None
        self._clients: dict[Table, TableClient] = {}

    @classmethod
    def from_connection_string(cls, connection_string: str, prefix: str, seen: Seen = lambda *_: None) -> AzureTables:
        """For local runs. ``UseDevelopmentStorage=true`` means Azurite on its default port."""
        # On "localhost" the SDK takes every port but 10002 for Cosmos DB, and speaks another dialect to it.
        text = re.sub(r"(TableEndpoint=https?://)localhost\b", r"\g<1>127.0.0.1", connection_string, flags=re.I)

        def connect(transport: AioHttpTransport) -> TableServiceClient:
            return TableServiceClient.from_connection_string(text.strip().rstrip(";"), transport=transport, **_OPTIONS)

        return cls(connect, prefix, seen)

    @classmethod
    def from_identity(
        cls, endpoint: str, credential: AsyncTokenCredential, prefix: str, seen: Seen = lambda *_: None
    ) -> AzureTables:
        """For Azure: ``https://<account>.table.core.windows.net``. The caller closes the credential."""

        def connect(transport: AioHttpTransport) -> TableServiceClient:
            return TableServiceClient(endpoint, credential=credential, transport=transport, **_OPTIONS)

        return cls(connect, prefix, seen)

    async def get(self, table: Table, partition: str, key: str) -> Row | None:
        """One row by its keys; None when it (or the table) is absent, or no row can have such keys."""
        if not (valid_key(partition) and valid_key(key)):
            return None
        client = self._client(table)
        try:
            return _row(await _repeat(lambda: client.get_entity(partition, key), may_read_again))
        except FAILURES as error:
            if is_gone(error):
                return None
            raise unavailable(error) from error

    async def commit(self, table: Table, partition: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """Apply all changes or none: see the port."""
        check_commit(partition, changes)
        client = self._client(table)

        async def send() -> Mapping[str, str]:
            if len(changes) == 1:
                return await _send_one(client, partition, changes[0])
            return await _send_all(client, partition, changes)

        try:
            try:
                return await _repeat(send, never_happened)
            except HttpResponseError as error:
                if code_of(error) != "TableNotFound":
                    raise
            await self._create(client)  # on demand: a check at start would delay every cold start
            return await _repeat(send, never_happened)
        except FAILURES as error:
            raise refused(error, changes) from error

    async def query(
        self,
        table: Table,
        partition: str | None,
        *,
        first: str | None = None,
        before: str | None = None,
        where: Mapping[str, tuple[str, Value]] | None = None,
        select: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Row]:
        """Rows in key order: see the port. Each page is read when its first row is asked for."""
        if limit is not None and limit <= 0:
            return
        conditions = where or {}
        pages = (
            self._client(table)
            .query_entities(
                filter_of(partition, first, before, conditions),
                select=None if select is None else [*dict.fromkeys((*_SYSTEM, *select, *conditions))],
                results_per_page=min(limit or PAGE_ROWS, PAGE_ROWS),
            )
            .by_page()
        )
        seen = 0
        while True:
            try:
                # A page that failed can be asked for again: the pager moves on only with an answer.
                page = await _repeat(lambda: anext(pages), may_read_again)
                rows = [_row(entity) async for entity in page]
            except StopAsyncIteration:
                return
            except FAILURES as error:
                if is_gone(error):
                    return
                raise unavailable(error) from error
            for row in rows:
                if not _comparable(row, conditions):
                    continue
                yield _narrowed(row, select)
                seen += 1
                if seen == limit:
                    return

    async def page(
        self,
        table: Table,
        *,
        partition: str | None = None,
        partitions: tuple[str, str] | None = None,
        first: str | None = None,
        before: str | None = None,
        any_of: Sequence[Sequence[Condition]] = (),
        select: Sequence[str] | None = None,
        place: str | None = None,
        size: int,
    ) -> Page:
        """The next page of a long query: see the port. A place is the service's own continuation token."""
        compared = [name for each in any_of for name, _, _ in each]
        pages = (
            self._client(table)
            .query_entities(
                filter_of(partition, first, before, {}, partitions, any_of),
                select=None if select is None else [*dict.fromkeys((*_SYSTEM, *select, *compared))],
                results_per_page=min(size, PAGE_ROWS),
            )
            .by_page(continuation_token=None if place is None else json.loads(place))
        )
        try:
            page = await _repeat(lambda: anext(pages), may_read_again)
            rows = [_row(entity) async for entity in page]
        except StopAsyncIteration:
            return Page(rows=(), place=None)
        except FAILURES as error:
            if is_gone(error):
                return Page(rows=(), place=None)
            if place is not None and getattr(error, "status_code", None) == 400:
                raise ValueError("no place of the service") from error
            raise unavailable(error) from error
        token = getattr(pages, "continuation_token", None)
        found = [_narrowed(row, select) for row in rows if fits(row, any_of)]
        return Page(rows=found, place=json.dumps(token) if token else None)

    async def close(self) -> None:
        """Give back connections."""
        service, self._service = self._service, None
        if service is not None:
            await service.close()

    @property
    def endpoint(self) -> str:
        """The address of the account, without anything secret. To be read inside the event loop."""
        return str(self._account().url).partition("?")[0]

    def _client(self, table: Table) -> TableClient:
        if table not in self._clients:
            client = self._account().get_table_client(f"{self._prefix}{table}", **_NAMED)
            self._clients[table] = read_plainly(send_groups_plainly(client))
        return self._clients[table]

    def _account(self) -> TableServiceClient:
        if self._service is None:
            # Without the settings of the environment: looking for a netrc costs two thread hops a request.
            transport = _Transport(self._seen)
            self._service = self._connect(transport)
        return self._service

    async def _create(self, client: TableClient) -> None:
        with suppress(ResourceExistsError):  # another call was faster
            await _repeat(client.create_table, never_happened)


class _Transport(AioHttpTransport):  # type: ignore[misc]
    """Tells of each request, those that are repeated included: that is what the service counts."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(use_env_settings=False, connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)
        self._seen = seen

    async def send(self, request: Any, **options: Any) -> Any:
        status: int | None = None
        try:
            response = await super().send(request, **options)
            status = response.status_code
            return response
        finally:
            self._seen(request.method, status)


async def _send_one(client: TableClient, partition: str, change: Change) -> Mapping[str, str]:
    _, entity, options = _operation(partition, change)
    match change.kind:
        case Kind.INSERT:
            answer = await client.create_entity(entity, **options)
        case Kind.UPSERT:
            answer = await client.upsert_entity(entity, **options)
        case Kind.MERGE | Kind.REPLACE | Kind.OVERWRITE:
            answer = await client.update_entity(entity, **options)
        case Kind.DELETE:
            await _delete(client, entity, options, change)
            return {}
    return {change.key: str(answer["etag"])}


async def _delete(client: TableClient, entity: Mapping[str, Any], options: Mapping[str, Any], change: Change) -> None:
    # The SDK hides a 404, even under If-Match. To the port it is a conflict.
    statuses: list[int] = []
    await client.delete_entity(
        entity, raw_response_hook=lambda answer: statuses.append(answer.http_response.status_code), **options
    )
    if statuses[-1:] == [404]:
        raise Conflict(change.key, "gone")


async def _send_all(client: TableClient, partition: str, changes: Sequence[Change]) -> Mapping[str, str]:
    answers = await client.submit_transaction([_operation(partition, change) for change in changes])
    pairs = zip(changes, answers, strict=True)
    return {change.key: str(answer["etag"]) for change, answer in pairs if change.kind is not Kind.DELETE}


def _operation(partition: str, change: Change) -> _Operation:
    """An operation of a transaction: its name, entity and options, which the single calls take as well."""
    entity = {"PartitionKey": partition, "RowKey": change.key}
    entity |= {name: _typed(value) for name, value in change.values.items()}
    match change.kind:
        case Kind.INSERT:
            # Else the service sends back all that we sent.
            return "create", entity, {"response_preference": "return-no-content"}
        case Kind.UPSERT:
            return "upsert", entity, {"mode": UpdateMode.REPLACE}
        case Kind.OVERWRITE:
            return "update", entity, {"mode": UpdateMode.REPLACE, "match_condition": MatchConditions.Unconditionally}
    unchanged = {"etag": change.etag, "match_condition": MatchConditions.IfNotModified}
    if change.kind is Kind.DELETE:
        return "delete", entity, unchanged
    mode = UpdateMode.MERGE if change.kind is Kind.MERGE else UpdateMode.REPLACE
    return "update", entity, {"mode": mode, **unchanged}


def _typed(value: Value) -> Any:
    value = plain(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**31) <= value < 2**31:
        return EntityProperty(value, EdmType.INT64)  # the SDK refuses a bare int beyond 32 bits
    return value


def _row(entity: TableEntity) -> Row:
    # A selected property that a row does not have may come back as null.
    values = {
        name: _value(value)
        for name, value in entity.items()
        if name not in ("PartitionKey", "RowKey") and value is not None
    }
    return Row(
        partition=entity["PartitionKey"],
        key=entity["RowKey"],
        etag=str(entity.metadata["etag"]),
        values=MappingProxyType(values),
    )


def _comparable(row: Row, where: Mapping[str, tuple[str, Value]]) -> bool:
    # Azurite lets absent values, and values of another type, pass some operators.
    return all(type(row.values.get(name)) is type(plain(value)) for name, (_, value) in where.items())


def _narrowed(row: Row, select: Sequence[str] | None) -> Row:
    if select is None:
        return row
    return replace(row, values={name: row.values[name] for name in select if name in row.values})


def _value(value: Any) -> Value:
    if isinstance(value, EntityProperty):
        value = value.value
    # We write no other type; one written by another program must not make the row unreadable.
    return value if isinstance(value, str | int | float | bytes) else str(value)


async def _repeat(send: Callable[[], Awaitable[_T]], again: Callable[[Exception], bool]) -> _T:
    for pause in PAUSES:
        try:
            return await send()
        except FAILURES as error:
            if not again(error):
                raise
        await asyncio.sleep(pause)
    return await send()
