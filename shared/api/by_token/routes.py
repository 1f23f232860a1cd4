"""The routes below ``/api/shared``. Each asks the token, and leaves the rest to the handler of the ordinary route."""

from __future__ import annotations

import functools

from starlette.requests import Request
from starlette.responses import Response

from shared import errors
from shared.api.by_token.access import access, check_there_are_tokens
from shared.api.by_token.origins import answer_preflight, is_preflight
from shared.api.native import batches, events, run_changes, runs
from shared.api.native.run_bodies import EXAMPLE_ANSWERS, AnswersBody
from shared.api.operations import IF_NONE_MATCH, RUN_TOKEN, UNCHANGED, WAIT, operation
from shared.api.routing import other_methods, refusal
from shared.api.run_tokens import Access, Right
from shared.drivers.driver import Driver
from shared.errors import BatchNotFound, NotFound, RunNotFound, TooManyViewers
from shared.wiring import App

WITHOUT_A_TOKEN = (errors.TokenInQuery, errors.TokenRequired, errors.InvalidToken, errors.TokenExpired)
WITHOUT_ACCESS = (*WITHOUT_A_TOKEN, errors.TokenRightMissing)
"""What the token of a call can be refused for. That of a batch has the one right that there is."""

USED = ("GET", "HEAD", "POST")
"""The methods of all these routes together."""

shared_operation = functools.partial(operation, tag="by run token", security=RUN_TOKEN, acts_for="nobody")
"""Decorates a handler: what its route takes and answers with."""


@shared_operation(
    parameters=(WAIT, IF_NONE_MATCH),
    answers={200: runs.A_RUN, 304: UNCHANGED},
    problems=(errors.InvalidRequest, *WITHOUT_ACCESS, RunNotFound, TooManyViewers),
)
async def shared_get_run(request: Request, app: App) -> Response:
    """See how a shared run stands.

    With a token that may `read`. All of the run, as its owner sees it.
    """
    return await runs.get_run(request, app, _run(request, app, Right.READ))


@shared_operation(
    parameters=events.PARAMETERS,
    answers=events.ANSWERS,
    problems=(*WITHOUT_ACCESS, RunNotFound, errors.InvalidEventId, TooManyViewers),
    never_to_head=(TooManyViewers,),
)
async def shared_watch_run(request: Request, app: App, driver: Driver) -> Response:
    """Watch a shared run.

    With a token that may `read`. Server-Sent Events, as at `/api/runs/{run_id}/events`. An `EventSource` cannot send a
    token: read the stream with `fetch`. It is checked when the stream begins, and again whenever it is taken up.
    """
    return await events.watch_run(request, app, driver, _run(request, app, Right.READ))


@shared_operation(
    body=AnswersBody,
    examples=EXAMPLE_ANSWERS,
    answers={200: runs.A_RUN},
    problems=(
        *WITHOUT_ACCESS,
        RunNotFound,
        errors.AlreadyAnswered,
        errors.AmbiguousCallId,
        errors.NotWaiting,
        errors.RunEnded,
    ),
)
async def shared_answer_run(request: Request, app: App, driver: Driver) -> Response:
    """Approve or refuse calls of a shared run.

    With a token that may `answer`.
    """
    return await run_changes.answer_run(request, app, driver, _run(request, app, Right.ANSWER))


@shared_operation(answers={200: runs.A_RUN}, problems=(*WITHOUT_ACCESS, RunNotFound))
async def shared_cancel_run(request: Request, app: App, driver: Driver) -> Response:
    """Cancel a shared run.

    With a token that may `cancel`.
    """
    return await run_changes.cancel_run(request, app, driver, _run(request, app, Right.CANCEL))


@shared_operation(
    parameters=(IF_NONE_MATCH,),
    answers={200: batches.A_BATCH, 304: UNCHANGED},
    problems=(*WITHOUT_A_TOKEN, BatchNotFound),
)
async def shared_get_batch(request: Request, app: App) -> Response:
    """See how a shared batch stands.

    With a token that may `read`. Its items and their runs are not shared with it.
    """
    batch_id = request.path_params["batch_id"]
    return await batches.get_batch(request, app, access(request, app, batch_id, Right.READ, BatchNotFound))


def shared_not_found(request: Request, app: App) -> Response:
    """What no route above has taken: a browser's preflight, another method, or no address of ours.

    Raises what is wrong with the last two.
    """
    check_there_are_tokens(app)
    methods = other_methods(request, f"shared/{request.path_params.get('rest', '')}")
    if is_preflight(request):
        # For no address of ours as well: refused already now, its page could not even read that it is none.
        return answer_preflight(request, methods or USED, app.settings.origins_allowed)
    raise refusal(methods, NotFound())


def _run(request: Request, app: App, right: Right) -> Access:
    return access(request, app, request.path_params["run_id"], right, RunNotFound)
