"""How the steps of a call are carried out by an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

import httpx2

from dormouse_client import _async_io, _calls
from dormouse_client._connection import Connection, Headers
from dormouse_client._steps import Reply, Request, Step, Steps
from dormouse_client.errors import DormouseError

T = TypeVar("T")
Client = TypeVar("Client", bound="AsyncClient")


class AsyncClient:
    """The connections of a client, and what it does with them."""

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        token: str | None = None,
        on_behalf_of: str | None = None,
        *,
        headers: Headers | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        """
        Args:
            base_url: Where the app is, without `/api`: `https://<app>.azurewebsites.net`.
            key: A function key of the app. It opens the whole app, and belongs on servers and in notebooks of yours.
            token: A run token instead: it opens one run or batch, as it was made to.
            on_behalf_of: The opaque id of the user whom every call is made for, where the app allows that.
            headers: More headers for every request, or a function that makes them (for tokens that expire).
            timeout: Seconds for an answer, besides what the server is asked to wait. A submit may take 30 by itself.
            retries: How often a request that failed is sent again.
            http: A client of httpx2's in place of an own one, for proxies and certificates; closing it is yours.
        """
        self._connection = Connection.of(
            base_url,
            key=key,
            token=token,
            on_behalf_of=on_behalf_of,
            headers=headers,
            timeout=timeout,
            retries=retries,
        )
        self._owns_http = http is None
        self._http = httpx2.AsyncClient() if http is None else http

    def for_user(self: Client, user: str) -> Client:
        """A client on behalf of this user. Both share their connections; closing the first closes them."""
        other = object.__new__(type(self))
        other._connection = self._connection.for_user(user)
        other._owns_http, other._http = False, self._http
        return other

    async def aclose(self) -> None:
        """Close the connections."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self: Client) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _body(self, kind: type[T], request: Request) -> T:
        return await self._do(_calls.body(kind, request, self._connection.rules))

    async def _nothing(self, request: Request) -> None:
        await self._do(_calls.nothing(request, self._connection.rules))

    async def _pages(self, path: str, **filters: Any) -> AsyncIterator[Any]:
        cursor: str | None = None
        while True:
            data, cursor = await self._do(_calls.page(path, filters, cursor, self._connection.rules))
            for each in data:
                yield each
            if cursor is None:
                return

    async def _do(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    reply = await self._carry_out(step)
                except DormouseError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()

    async def _carry_out(self, step: Step) -> Reply:
        return await _async_io.carry_out(self._http, self._connection, step)

    def _opened(self, request: Request) -> AbstractAsyncContextManager[httpx2.Response]:
        return _async_io.opened(self._http, self._connection, request)
