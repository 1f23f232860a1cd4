"""``/api/v1/openai/…``: the addresses that clients of Azure OpenAI make of an endpoint that ends in ``/api/v1``.

``…/openai/responses``, ``…/openai/deployments/<agent>/chat/completions`` and ``…/openai/v1/…`` lead to the same
handlers as the addresses of OpenAI. ``api-version`` changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from shared.api.openai import chat, models, responses
from shared.api.openai.http import not_found
from shared.drivers.driver import Driver
from shared.wiring import App

Handler = Callable[[Request, App, Driver], Awaitable[Response]]

_PREFIX = r"(?:v1/|deployments/(?P<deployment>[!-.0-~]{1,128})/)?"
_RESPONSE = r"responses/(?P<response_id>[A-Za-z0-9_-]{1,128})"


def _without_driver(handler: Callable[[Request, App], Awaitable[Response]]) -> Handler:
    return lambda request, app, driver: handler(request, app)


CALLS: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "chat/completions", chat.create_completion),
    ("POST", "responses", responses.create_response),
    ("GET", _RESPONSE, responses.get_response),
    ("DELETE", _RESPONSE, responses.delete_response),
    ("POST", f"{_RESPONSE}/cancel", responses.cancel_response),
    ("GET", f"{_RESPONSE}/input_items", _without_driver(responses.list_input_items)),
    ("GET", "models", _without_driver(models.list_models)),
    ("GET", "models/(?P<model>[!-.0-~]{1,128})", _without_driver(models.get_model)),
)
"""The calls that Azure's clients make: method, the address behind the prefix as a regular expression, handler."""


async def call(request: Request, app: App, driver: Driver) -> Response:
    """Answer a call below ``/api/v1/openai``, or say what is wrong with its address."""
    rest = str(request.path_params.get("rest", "")).rstrip("/")
    method = "GET" if request.method == "HEAD" else request.method
    for wanted, address, handler in CALLS:
        # As the host's own routing: without regard to case.
        found = re.fullmatch(_PREFIX + address, rest, re.ASCII | re.IGNORECASE)
        if found and wanted == method:
            # What the host would have found in an address of the handler's own.
            request.scope["path_params"] = {name: each for name, each in found.groupdict().items() if each is not None}
            return await handler(request, app, driver)
    prefix = re.match(_PREFIX, rest, re.ASCII | re.IGNORECASE)
    request.scope["path_params"] = {"rest": rest[prefix.end() :] if prefix else rest}
    return not_found(request, app)
