"""Run tokens: your server submits runs and lists them; the page does the rest at the app itself, one run a token."""

from __future__ import annotations

import os
import re
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.parts.calls import AppWithKey
from examples.parts.people import People, Person, Refused, json_of
from examples.parts.site import options, serve, site

SECONDS = 900
"""How long a token is good for. The page asks for the next one in time, as long as its person is signed in."""


def token_for(person: Person) -> dict[str, Any]:
    """What to ask of the app: the label is who is said to have answered."""
    return {"rights": ["read", "answer", "cancel"], "seconds": SECONDS, "label": person.name}


def create_site(url: str, key: str) -> Starlette:
    """The server beside the app at ``url``, whose function key is ``key``."""
    people, app = People(), AppWithKey(url, key)

    async def submit(request: Request) -> Response:
        person, asked = people.caller(request), await json_of(request)
        body = {"input": asked.get("input"), "agent": asked.get("agent"), "stream": True, "token": token_for(person)}
        run = await app.ask(person, "POST", "/api/runs", body)
        return JSONResponse({"app": url, "id": run["id"], **run["token"]})

    async def renew(request: Request) -> Response:
        person, run = people.caller(request), request.path_params["run"]
        if not re.fullmatch(r"\w+", run, re.ASCII):
            raise Refused(404, "not_found", "There is no such run.")
        # Another's run is 404 to the app, since it is asked for this person.
        token = await app.ask(person, "POST", f"/api/runs/{run}/tokens", token_for(person))
        return JSONResponse({"app": url, "id": run, **token})

    async def runs(request: Request) -> Response:
        return JSONResponse(await app.ask(people.caller(request), "GET", "/api/runs?limit=10"))

    routes = [
        Route("/runs", submit, methods=["POST"]),
        Route("/runs", runs),
        Route("/runs/{run}/token", renew, methods=["POST"]),
    ]
    return site([*routes, *people.routes()], access="run_tokens.js", app=url)


if __name__ == "__main__":
    given = options(__doc__).parse_args()
    serve(create_site(given.app, os.environ.get("DORMOUSE_KEY", "")), given.port)
