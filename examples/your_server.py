"""Your server, with a key: it signs people in, and passes their calls on to the app."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from examples.parts.calls import AppWithKey, kept_headers
from examples.parts.people import People, Refused
from examples.parts.site import options, serve, site

OPEN = ("agents", "batches", "runs", "sessions")
"""What people may call. The key opens more than that, so that all else is refused here."""


def create_site(url: str, key: str) -> Starlette:
    """The server before the app at ``url``, whose function key is ``key``."""
    people, app = People(), AppWithKey(url, key)

    async def pass_on(request: Request) -> Response:
        person = people.caller(request)
        kind, *rest = request.path_params["path"].split("/")
        # Dots would be taken out of the address on the way, and lead elsewhere.
        if kind not in OPEN or not {".", ".."}.isdisjoint(rest):
            raise Refused(404, "not_found", "This server passes nothing on to that address.")
        return await app.pass_on(request, kept_headers(request) | app.headers(person))

    calls = Route("/api/{path:path}", pass_on, methods=["GET", "POST", "DELETE"])
    return site([calls, *people.routes()], access="your_server.js")


if __name__ == "__main__":
    given = options(__doc__).parse_args()
    serve(create_site(given.app, os.environ.get("DORMOUSE_KEY", "")), given.port)
