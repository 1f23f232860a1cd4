"""A client of the control API, for tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from local.model.records import KnownResponse, LoggedRequest

__all__ = ["ControlError", "KnownResponse", "LoggedRequest", "ModelControl"]


class ControlError(Exception):
    """The control API refused; the message says why."""


class ModelControl:
    """One account of a scripted model. `account` is the API key that its client uses; `url` may end in `/v1`."""

    def __init__(self, url: str, account: str) -> None:
        root = url.rstrip("/").removesuffix("/v1").removesuffix("/openai")
        self._base = f"{root}/control/{quote(account, safe='')}"
        # Without the machine's proxies: the model listens on loopback.
        self._opener = build_opener(ProxyHandler({}))

    async def script(self, name: str, turns: Sequence[Mapping[str, Any]]) -> None:
        """Set a script; a user message with `[script:name]` plays it."""
        await self._call("PUT", f"/scripts/{quote(name, safe='')}", list(turns))

    async def switches(self, **switches: Any) -> None:
        """Set switches; those that are not named stay."""
        await self._call("PUT", "/switches", switches)

    async def log(self, operation: str | None = None) -> list[LoggedRequest]:
        """The API requests so far, oldest first; of one operation if it is named."""
        entries = [LoggedRequest(**entry) for entry in (await self._call("GET", "/log"))["data"]]
        return [entry for entry in entries if operation in (None, entry.operation)]

    async def creates(self, **metadata: str) -> list[LoggedRequest]:
        """The creates that made a response, with this metadata (all of them if none is named).

        Chat completions are not among them: `log("chat")` has those.
        """
        return [
            entry for entry in await self.log("create") if entry.accepted and metadata.items() <= entry.metadata.items()
        ]

    async def responses(self) -> list[KnownResponse]:
        """All responses and chat completions of the account, oldest first, deleted ones too."""
        return [KnownResponse(**known) for known in (await self._call("GET", "/responses"))["data"]]

    async def finish(self, response_id: str) -> None:
        """Bring a response's planned end about now, even if it is stuck."""
        await self._call("POST", f"/responses/{response_id}/finish")

    async def force(self, response_id: str, status: str, error: Mapping[str, str] | None = None) -> None:
        """End a response now with a status; `error` is `{code, message}`, for `failed`."""
        await self._call("POST", f"/responses/{response_id}", {"status": status, "error": error})

    async def forget(self, response_id: str) -> None:
        """Let its id be unknown from now on."""
        await self._call("POST", f"/responses/{response_id}", {"forget": True})

    async def reset(self) -> None:
        """Empty the account."""
        await self._call("POST", "/reset")

    async def state(self) -> Any:
        """Scripts, responses and log as JSON, for `restore`. How often a fault has hit is not in it."""
        return await self._call("GET", "/state")

    async def restore(self, state: Any) -> None:
        """Make the account what it was. Raises ControlError."""
        await self._call("PUT", "/state", state)

    async def _call(self, method: str, path: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        request = Request(self._base + path, body, {"content-type": "application/json"}, method=method)
        # In a thread: urllib blocks, and the model may run on this very event loop.
        return await asyncio.to_thread(self._send, request)

    def _send(self, request: Request) -> Any:
        try:
            with self._opener.open(request, timeout=30) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise ControlError(json.load(error)["error"]["message"]) from error
