"""``/api/runs/{id}/tokens`` and ``/api/batches/{id}/tokens``: tokens for whoever has no key, a browser above all."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.api.native.batches import TAG as BATCHES
from shared.api.native.batches import own_batch
from shared.api.native.runs import TAG as RUNS
from shared.api.native.runs import own_run
from shared.api.native.token_bodies import (
    EXAMPLE_BATCH_TOKENS,
    EXAMPLE_RUN_TOKENS,
    BatchTokenBody,
    TokenBody,
    read_token_body,
    token_for,
)
from shared.api.native.token_shapes import RunToken
from shared.api.operations import Answer, operation
from shared.api.run_tokens import check_enabled
from shared.errors import BatchNotFound, RunNotFound, TokensDisabled
from shared.wiring import App

A_TOKEN = Answer(text="The token. It is kept nowhere, so that it cannot be shown again.", shape=RunToken)


@operation(
    tag=RUNS,
    body=TokenBody,
    examples=EXAMPLE_RUN_TOKENS,
    answers={200: A_TOKEN},
    problems=(TokensDisabled, RunNotFound),
)
async def create_run_token(request: Request, app: App) -> Response:
    """Get a token for a run.

    Whoever has it can do what its `rights` say at `/api/shared/runs/{run_id}`, and nothing else, for so many `seconds`.
    `label` names who it is for. It cannot be taken back but by deleting the run, or by changing the app's secret.
    """
    run = await own_run(request, app)
    check_enabled(app.settings)
    asked = await read_token_body(request, app.settings, TokenBody)
    return _answer(token_for(app.settings, run, asked, app.ports.clock()))


@operation(
    tag=BATCHES,
    body=BatchTokenBody,
    examples=EXAMPLE_BATCH_TOKENS,
    answers={200: A_TOKEN},
    problems=(TokensDisabled, BatchNotFound),
)
async def create_batch_token(request: Request, app: App) -> Response:
    """Get a token for a batch.

    Whoever has it can see how the batch stands at `/api/shared/batches/{batch_id}`, and nothing else, for so many
    `seconds`. It cannot be taken back but by deleting the batch, or by changing the app's secret.
    """
    batch = await own_batch(request, app)
    check_enabled(app.settings)
    asked = await read_token_body(request, app.settings, BatchTokenBody)
    return _answer(token_for(app.settings, batch, asked, app.ports.clock()))


def _answer(token: RunToken) -> Response:
    return JSONResponse(token, headers={"Cache-Control": "no-store"})
