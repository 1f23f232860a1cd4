"""Calls to the app, streams included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from examples.parts.people import Person, Refused

KEPT = (
    "accept",
    "accept-encoding",
    "content-length",
    "content-type",
    "idempotency-key",
    "if-none-match",
    "last-event-id",
    "prefer",
)
"""What the app is to hear of what a browser sent: a list of what passes, so that no key, user or cookie does."""

RETURNED = ("cache-control", "content-encoding", "content-length", "content-type", "etag", "retry-after")
"""What a browser is to hear of what the app answered."""


def kept_headers(request: Request) -> dict[str, str]:
    """The headers of a browser's call that may reach the app."""
    return {"accept-encoding": "identity"} | {name: request.headers[name] for name in KEPT if name in request.headers}


class App:
    """The app at ``url``, as a server calls it."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.AsyncClient(
            base_url=url,
            # An open stream is a connection, and as many are needed as people look at runs; the default is 100.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
            # A stream that is silent gets a ping every 15 seconds.
            timeout=httpx2.Timeout(60, connect=10),
        )

    async def send(self, call: httpx2.Request) -> httpx2.Response:
        """The answer, of which the body is still to be read. Raises ``Refused``."""
        try:
            return await self._client.send(call, stream=True)
        except httpx2.TransportError as error:
            raise Refused(502, "app_unreachable", "The app does not answer. Try again in a moment.") from error

    async def pass_on(self, request: Request, headers: Mapping[str, str]) -> PassedOn:
        """Make a browser's call with these headers, and hand the answer back as it comes. Raises ``Refused``."""
        query = request.scope["query_string"]
        address = request.scope["raw_path"] + (b"?" + query if query else b"")
        body = request.stream() if request.method == "POST" else None
        call = self._client.build_request(request.method, address.decode("ascii"), headers=headers, content=body)
        return PassedOn(await self.send(call))


class AppWithKey(App):
    """The app, called with a function key, for a person each time."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url)
        self._key = key

    def headers(self, person: Person) -> dict[str, str]:
        """What goes with a call for this person, and never to a browser."""
        return {"x-functions-key": self._key, "Dormouse-On-Behalf-Of": person.id}

    async def send(self, call: httpx2.Request) -> httpx2.Response:
        """The answer. Raises ``Refused``, also where the key is not taken: no sign-in of the browser would help."""
        answer = await super().send(call)
        if answer.status_code == 401:
            await answer.aclose()
            raise Refused(
                502, "key_refused", "The app does not take this server's key: set DORMOUSE_KEY to one it has."
            )
        return answer

    async def ask(self, person: Person, method: str, path: str, body: object = None) -> dict[str, Any]:
        """A call of the server's own for a person, and the object that is answered. Raises ``Refused``."""
        answer = await self.send(self._client.build_request(method, path, headers=self.headers(person), json=body))
        try:
            await answer.aread()
            said = answer.json()
        except (httpx2.TransportError, ValueError):
            said = None
        finally:
            await answer.aclose()
        if not isinstance(said, dict):
            raise Refused(502, "unexpected_response", "The answer is not the app's: a proxy's?")
        if answer.is_error:
            raise Refused(answer.status_code, str(said.get("code")), str(said.get("detail")))
        return said


class PassedOn(StreamingResponse):
    """An answer of the app, on its way to a browser. When the browser leaves, the connection to the app ends too."""

    def __init__(self, answer: httpx2.Response) -> None:
        headers = {name: answer.headers[name] for name in RETURNED if name in answer.headers}
        super().__init__(answer.aiter_raw(), answer.status_code, headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()
