"""App Service: a page of the app's own origin, and a stand-in for the platform that signs people in before the app.

The stand-in is for this machine alone. In Azure the platform does what it does, and nothing of this file is needed.
"""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from examples.parts.calls import App
from examples.parts.people import People, body_of
from examples.parts.site import options, serve, site

LOGIN = """<!doctype html><title>A stand-in for the platform's sign-in</title>
<h1>This stands in for App Service and the sign-in page of Microsoft</h1>
<form method="post"><label>Name <input name="name" autofocus required maxlength="64"></label>
<input type="hidden" name="to" value="{to}"><button>Sign in</button></form>"""

DROPPED = re.compile(r"x-ms-client-principal.*|x-ms-token-.*|connection|keep-alive|transfer-encoding|cookie")
"""What the platform takes away, and what belongs to one connection."""


def own_address(text: str) -> str:
    """Where to go on after the sign-in: an address of this origin, whatever was asked for."""
    return text if re.fullmatch(r"/(?![/\\])[!-~]*", text) else "/"


def create_site(url: str) -> Starlette:
    """The platform's stand-in before the app at ``url``, with the page."""
    people, app = People(), App(url)

    async def log_in(request: Request) -> Response:
        if request.method == "GET":
            to = own_address(request.query_params.get("post_login_redirect_uri", "/"))
            return HTMLResponse(LOGIN.format(to=html.escape(to)))
        given = parse_qs((await body_of(request)).decode("utf-8", "replace"))
        name, to = (given.get(field, [""])[0] for field in ("name", "to"))
        return people.let_in(request, RedirectResponse(own_address(to), 303), name)

    async def log_out(request: Request) -> Response:
        return people.let_out(request, RedirectResponse("/", 303))

    async def pass_on(request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if not DROPPED.fullmatch(name)}
        person = people.find(request)
        if person:
            headers |= {"x-ms-client-principal-id": person.id, "x-ms-client-principal-idp": "aad"}
        elif not request.path_params["path"].startswith(("health", "shared/")):
            return PlainTextResponse("You do not have permission to view this directory or page.", 401)
        return await app.pass_on(request, headers)

    platform = [
        Route("/.auth/login/aad", log_in, methods=["GET", "POST"]),
        Route("/.auth/logout", log_out),
        Route("/api/{path:path}", pass_on, methods=["GET", "POST", "DELETE"]),
    ]
    return site(platform, access="app_service.js")


if __name__ == "__main__":
    given = options(__doc__).parse_args()
    serve(create_site(given.app), given.port)
