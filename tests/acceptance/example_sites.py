"""The examples as a reader starts them, each beside an app that is set up for it and wants a function key."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.stack import FunctionsHost
from local.stack.child import Child, free_port, http_status, machine_environment
from tests.acceptance.conftest import Stack

KEY = "the-function-key-of-the-examples"
WAYS = ("your_server", "run_tokens", "app_service")


class Site(Child):
    """`python -m examples.<way>`."""

    def __init__(self, way: str, app: str, port: int, log: Path, key: str = KEY) -> None:
        self.name = way
        self.port = port
        command = [sys.executable, "-m", f"examples.{way}", "--app", app, "--port", str(port)]
        super().__init__(command, env={**machine_environment(), "DORMOUSE_KEY": key}, log=log)

    @property
    def url(self) -> str:
        """As a person opens it."""
        return f"http://localhost:{self.port}"

    def is_ready(self) -> bool:
        """The page is there."""
        return http_status(self.port) == 200


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An example, and the app behind it."""

    way: str
    stack: Stack
    host: FunctionsHost
    site: Site


def scene(way: str, own_stack: Callable[..., Stack], *, key: str = KEY, **settings: str) -> Scene:
    """Start the app and the example, with the settings that README.md names."""
    port = free_port()
    page = f"http://localhost:{port}"
    needed = {
        "your_server": {"DORMOUSE_DELEGATION": "required"},
        "run_tokens": {
            "DORMOUSE_DELEGATION": "required",
            "DORMOUSE_RUN_TOKEN_SECRET": "a-secret-of-the-examples-" * 2,
            "DORMOUSE_ALLOWED_ORIGINS": page,
        },
        "app_service": {
            "DORMOUSE_AUTH": "appservice",
            "WEBSITE_AUTH_ENABLED": "True",
            "DORMOUSE_PUBLIC_BASE_URL": page,
        },
    }[way]
    stack = own_stack("durable", **needed, **settings)
    host = stack.host(args=["--function-key", KEY])
    site = Site(way, host.url, port, stack.folder / f"{way}.log", key)
    stack.stack.callback(site.stop)
    site.start().wait_ready()
    return Scene(way=way, stack=stack, host=host, site=site)
