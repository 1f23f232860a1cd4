"""Who has signed in. Any name will do here: yours asks for a password, or somebody who has done so."""

from __future__ import annotations

import json
import secrets
import uuid
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

COOKIE = "example-session"
MOST_BYTES = 1_000_000


class Refused(Exception):
    """A call that is not answered as it wished; the browser gets status, code and sentence as problem+json."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


async def refusal(_: Request, error: Exception) -> Response:
    """The answer to a call that was refused."""
    assert isinstance(error, Refused)
    body = {"status": error.status, "code": error.code, "detail": str(error)}
    return JSONResponse(body, error.status, media_type="application/problem+json")


async def body_of(request: Request) -> bytes:
    """A request's body. Raises ``Refused``."""
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        # While it is read: what a caller says of the length need not be true.
        if len(read) > MOST_BYTES:
            raise Refused(413, "body_too_large", f"A body may have {MOST_BYTES} bytes.")
    return bytes(read)


async def json_of(request: Request) -> dict[str, Any]:
    """The object in a request's body. Raises ``Refused``."""
    try:
        body = json.loads(await body_of(request))
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "invalid_json", "The body must be a JSON object.")
    return body


def refuse_other_sites(request: Request) -> None:
    """Raise ``Refused`` for a call that changes something and that a page of another origin made.

    A browser sends a cookie along whichever page makes the call. ``SameSite`` keeps those of other sites away, but not
    those of other hosts of your own domain.
    """
    if request.method not in ("GET", "HEAD") and request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise Refused(403, "cross_site", "This call came from a page of another origin, and was not made.")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has signed in."""

    name: str

    @property
    def id(self) -> str:
        """What the app knows them by, for good. Yours has such an id in its database, and can change the name."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://people.example/{self.name}"))


class People:
    """Those who have signed in, by a cookie; forgotten when the process ends."""

    def __init__(self) -> None:
        self._signed_in: dict[str, Person] = {}

    def caller(self, request: Request) -> Person:
        """Whose call this is. Raises ``Refused``: 401 for nobody's, 403 for one from a page of another origin."""
        refuse_other_sites(request)
        person = self.find(request)
        if person is None:
            raise Refused(401, "signed_out", "You are not signed in. Sign in to go on.")
        return person

    def find(self, request: Request) -> Person | None:
        """Who has signed in, if anybody."""
        return self._signed_in.get(request.cookies.get(COOKIE, ""))

    def let_in(self, request: Request, response: Response, name: object) -> Response:
        """Sign in whoever says this name: the answer sets a cookie. Raises ``Refused`` for what is no name."""
        known = name.strip() if isinstance(name, str) else ""
        if not (known.isprintable() and 1 <= len(known) <= 64):
            raise Refused(400, "invalid_name", "A name has 1 to 64 characters that can be printed.")
        session = secrets.token_urlsafe(32)
        self._signed_in[session] = Person(known)
        is_https = request.url.scheme == "https"
        response.set_cookie(COOKIE, session, httponly=True, samesite="strict", secure=is_https)
        return response

    def let_out(self, request: Request, response: Response) -> Response:
        """Sign out whoever calls."""
        self._signed_in.pop(request.cookies.get(COOKIE, ""), None)
        response.delete_cookie(COOKIE)
        return response

    def routes(self) -> list[Route]:
        """What the page's form calls."""

        async def sign_in(request: Request) -> Response:
            refuse_other_sites(request)
            return self.let_in(request, Response(status_code=204), (await json_of(request)).get("name"))

        async def sign_out(request: Request) -> Response:
            refuse_other_sites(request)
            return self.let_out(request, Response(status_code=204))

        return [Route("/sign-in", sign_in, methods=["POST"]), Route("/sign-out", sign_out, methods=["POST"])]
