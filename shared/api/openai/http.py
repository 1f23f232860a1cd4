"""What all calls of OpenAI's clients have in common: API keys, the shape of errors, addresses that do not exist."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from shared.api.callers import user_of
from shared.api.http import answered_as
from shared.api.routing import other_methods, refusal
from shared.api.secrets import name_of
from shared.errors import (
    CompletionFailed,
    DormouseError,
    InvalidApiKey,
    NotFound,
    ResponseNotFound,
    RunNotFound,
    StillRunning,
)
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.wiring import App

NO_RETRY = {"x-should-retry": "false"}
"""Keeps OpenAI's clients from sending a request again by themselves, as they do after 408, 409, 429 and 5xx."""


class OpenAIProblem(TypedDict):
    """What went wrong, and what to do next."""

    message: str
    """A sentence for people that says what to do."""

    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    """The kind of error, as OpenAI has it."""

    code: str
    """A stable word for programs."""

    param: str | None
    """The parameter that is wrong; null when none is, or several are."""


class OpenAIError(TypedDict):
    """An error as OpenAI's clients know it."""

    error: OpenAIProblem
    """What went wrong."""


def owner_of_key(request: Request, settings: Settings, *, needs_user: bool = True) -> str:
    """``key:<name>`` for the secret in ``Authorization: Bearer …``, or in ``api-key``, where Azure's clients send it;
    the user that the call names, if the key's entry lets it act for users.

    ``needs_user`` is false where the answer is the same for all. Raises ``NotFound`` while the app has no keys,
    ``InvalidApiKey`` for a request without one of them, and what is wrong with the header for users.
    """
    secrets = settings.secrets_of_clients
    # 404 and not 401: no key would open an API that is switched off.
    if not secrets:
        raise NotFound("This app takes no OpenAI clients. Set DORMOUSE_API_KEYS (`name:secret`), or use `/api/runs`.")
    found = name_of(_secret_in(request), secrets)
    if found is None:
        raise InvalidApiKey
    may_delegate = found in settings.delegating_clients
    user = user_of(request, settings, may_delegate=may_delegate, needs_user=needs_user)
    return f"key:{found}" if user is None else user


def _secret_in(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    secret = token if scheme.lower() == "bearer" else request.headers.get("api-key", "")
    return secret.strip()


def error_object(error: DormouseError) -> dict[str, Any]:
    """The value of ``error``: OpenAI's four fields, and beside them what else is known of this error."""
    if isinstance(error, RunNotFound):
        error = ResponseNotFound()  # a run is a response here
    # OpenAI's clients keep fields that they do not know, so nothing of ours is lost.
    details = {name: value for name, value in error.details.items() if value is not None}
    problems = details.pop("errors", None) or [{}]
    problem: OpenAIProblem = {
        "message": error.message,
        "type": _type_of(error),
        # OpenAI's errors name one parameter; the rest is in the message.
        "param": problems[0].get("field"),
        "code": error.code,
    }
    return {**problem, **details}


def openai_error(error: DormouseError) -> Response:
    """The response for an error."""
    return Response(
        content=json.dumps({"error": error_object(error)}, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=error.status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **error.headers},
    )


answered_to_client = answered_as(openai_error)
"""Decorates a trigger's handler: whatever it raises becomes an error in OpenAI's shape."""


def not_found(request: Request, app: App) -> NoReturn:
    """Answer a call below ``/api/v1`` that no route takes: raises what is wrong with its key, method or address."""
    # First: without a key nobody learns which addresses there are.
    owner_of_key(request, app.settings, needs_user=False)
    rest = str(request.path_params.get("rest", ""))
    # OpenAI has addresses where an id stands here: `responses/compact` is no response, whatever the method.
    no_response = re.match(r"responses/(?!resp_)", rest, re.ASCII | re.IGNORECASE)
    methods = () if no_response else other_methods(request, f"v1/{rest}")
    unknown = NotFound("No such address here. This app has `/responses`, `/chat/completions` and `/models`.")
    raise refusal(methods, unknown)


def _type_of(error: DormouseError) -> Literal["invalid_request_error", "rate_limit_error", "server_error"]:
    # The status of these two is what keeps clients from repeating them: nothing is wrong with the request.
    if error.status >= 500 or isinstance(error, StillRunning | CompletionFailed):
        return "server_error"
    return "rate_limit_error" if error.status == 429 else "invalid_request_error"
