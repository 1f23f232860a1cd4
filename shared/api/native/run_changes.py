"""``/api/runs``: submit, cancel, answer, delete."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from shared import errors
from shared.api.callers import owner_of
from shared.api.http import wait_of_preference
from shared.api.native.run_bodies import (
    EXAMPLE_ANSWERS,
    EXAMPLE_RUNS,
    AnswersBody,
    RunBody,
    read_answers,
    read_submission,
)
from shared.api.native.run_shapes import SubmittedRun
from shared.api.native.runs import A_RUN, TAG, caller_of, own_run, response_of
from shared.api.native.token_bodies import token_for
from shared.api.operations import IDEMPOTENCY_KEY, PREFER, Answer, operation
from shared.api.run_tokens import Access
from shared.drivers.driver import Driver
from shared.errors import RunNotFound, TooManyViewers
from shared.runs.commands import answer, cancel, delete, submit
from shared.runs.model.calls import ToolCall
from shared.runs.model.phases import RunningTools
from shared.runs.model.run import Run as RunRecord
from shared.runs.queries.runs import calls_of
from shared.wiring import App

SUBMITTED = Answer(
    text="The run is on its way.",
    shape=SubmittedRun,
    headers=("Location", "Operation-Location", "Retry-After", "ETag", "Vary"),
    sometimes=("Preference-Applied",),
)
SUBMITTED_AND_FINAL = Answer(
    text="The run is final already: it answered within the request, or the key is that of an ended run.",
    shape=SubmittedRun,
    headers=("Location", "Operation-Location", "ETag", "Vary"),
    sometimes=("Preference-Applied",),
)


@operation(
    tag=TAG,
    parameters=(IDEMPOTENCY_KEY, PREFER),
    body=RunBody,
    examples=EXAMPLE_RUNS,
    answers={202: SUBMITTED, 200: SUBMITTED_AND_FINAL},
    problems=(
        errors.UnknownAgent,
        errors.ModelNotAllowed,
        errors.CallbacksDisabled,
        errors.TokensDisabled,
        errors.InvalidIdempotencyKey,
        errors.SessionNotFound,
        errors.SessionBusy,
        errors.StartAtInSession,
        errors.AgentMismatch,
        errors.ToolOutputsMissing,
        errors.RunDeleted,
        errors.IdempotencyKeyReused,
        errors.TooManyActiveRuns,
        errors.IntakePaused,
    ),
)
async def create_run(request: Request, app: App, driver: Driver) -> Response:
    """Start a run.

    The answer comes at once; the run goes on by itself. With `session_id` it is the next run of that session. Every
    field but `input` may be left out. With `token` the answer holds a token for the run, as `POST
    /api/runs/{run_id}/tokens` gives it; it is in this answer alone. With `start_at` it waits until then, `queued`.
    """
    wanted, asked = await read_submission(request, owner_of(request, app.settings), app.settings)
    submitted = await submit.submit(app.ports, wanted)
    # If this fails the answer is the same: the due row is written, and the sweep finds it.
    await driver.start_run(submitted)
    run, calls = submitted.run, await calls_of(app.ports, submitted.run)
    wait = wait_of_preference(request)
    if wait and not run.terminal:
        try:
            run, calls = await _ended(app, run, calls, wait)
        except TooManyViewers:  # the run is submitted, and to wait was a preference
            wait = None
    token = None if asked is None else token_for(app.settings, run, asked, app.ports.clock())
    response = await response_of(app, run, calls, status=200 if run.terminal else 202, located=True, token=token)
    if wait is not None:
        response.headers["Preference-Applied"] = f"wait={wait}"
    # A cache must not give this answer to a request that prefers to wait otherwise.
    response.headers["Vary"] = "Prefer"
    return response


@operation(tag=TAG, answers={200: A_RUN}, problems=(RunNotFound,))
async def cancel_run(request: Request, app: App, driver: Driver, access: Access | None = None) -> Response:
    """Cancel a run.

    Final here at once; at the provider it is tried for a day. A run that had ended stays as it was. May be repeated.
    """
    run_id = (await own_run(request, app, access)).id
    run = await cancel.cancel(app.ports, run_id, by=caller_of(request, app, access))
    if run is None:
        raise RunNotFound
    # Also when it was cancelled before: that wake may have been lost.
    if not run.is_done:
        await driver.wake(run.id)
    return await response_of(app, run, await calls_of(app.ports, run))


@operation(
    tag=TAG,
    body=AnswersBody,
    examples=EXAMPLE_ANSWERS,
    answers={200: A_RUN},
    problems=(RunNotFound, errors.AlreadyAnswered, errors.AmbiguousCallId, errors.NotWaiting, errors.RunEnded),
)
async def answer_run(request: Request, app: App, driver: Driver, access: Access | None = None) -> Response:
    """Approve or refuse calls.

    By the `id` that `required_action` shows for each call; all at once or one by one. The same answers again are
    fine. A `call_id` is taken too, while the run has had only one call of that `call_id`.
    """
    run_id = (await own_run(request, app, access)).id
    # The body is read after the check: that of a stranger is not even waited for.
    answers = await read_answers(request, app.settings)
    run = await answer.answer(app.ports, run_id, answers, by=caller_of(request, app, access))
    if run is None:
        raise RunNotFound
    # Also for a repeated answer: the wake of the first may have been lost.
    if isinstance(run.phase, RunningTools):
        await driver.wake(run.id)
    return await response_of(app, run, await calls_of(app.ports, run))


@operation(tag=TAG, answers={204: Answer(text="It is gone.")}, problems=(RunNotFound, errors.SessionBusy))
async def delete_run(request: Request, app: App, driver: Driver) -> Response:
    """Delete a run.

    Here and at the provider; an active one is cancelled.
    """
    run_id = (await own_run(request, app)).id
    if await delete.delete_run(app.ports, run_id):
        await driver.wake(run_id)
    return Response(status_code=204)


async def _ended(
    app: App, run: RunRecord, calls: Sequence[ToolCall], wait: float
) -> tuple[RunRecord, Sequence[ToolCall]]:
    """The run when it has ended, or after that time, as it was last seen. Raises ``TooManyViewers``."""
    with app.watching.limit.acquire(run.request.owner):
        seen = await app.watching.until(run.id, wait, lambda now: now is None or now.run.terminal)
    return (run, calls) if seen is None else (seen.run, seen.calls)
