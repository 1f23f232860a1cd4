"""The page's files, and how an example is started."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from examples.parts.people import Refused, refusal

PAGE = Path(__file__).parents[1] / "page"
CLIENT = Path(__file__).parents[2] / "clients" / "js" / "src"


def site(routes: Sequence[BaseRoute], *, access: str, app: str = "") -> Starlette:
    """A server of these routes and of the page.

    ``access`` is the file of the page that says how it gets at runs, and ``app`` what it calls beside this server.
    """
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {app}; frame-ancestors 'none'"
    )
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}

    async def page(_: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers=headers)

    async def access_script(_: Request) -> Response:
        return FileResponse(PAGE / access, headers=headers)

    files: list[BaseRoute] = [
        Route("/", page),
        Route("/access.js", access_script),
        Mount("/page", StaticFiles(directory=PAGE)),
        Mount("/client", StaticFiles(directory=CLIENT)),
    ]
    # By another name that leads to this machine, any page could sign itself in here.
    names = Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"])
    return Starlette(routes=[*routes, *files], exception_handlers={Refused: refusal}, middleware=[names])


def options(description: str | None) -> argparse.ArgumentParser:
    """The command line of an example."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--app", default="http://localhost:7071", metavar="URL", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    return parser


def serve(site: Starlette, port: int) -> None:
    """Serve it on this machine until Ctrl-C."""
    print(f"Open http://localhost:{port}/", flush=True)
    # Open streams end only with their runs: they are not waited for.
    uvicorn.run(site, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)
