"""``/api/v1/responses``: create, retrieve, cancel, delete, list the input."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from shared import errors
from shared.api.http import json_response, not_modified
from shared.api.openai.http import owner_of_key
from shared.api.openai.objects import input_items, response_id, response_object, run_id_of
from shared.api.openai.parameters import IGNORED_HEADER
from shared.api.openai.positions import MAX_NUMBER
from shared.api.openai.requests import flag_of_query, number_of_query, read_create
from shared.api.openai.schemas import CREATE_RESPONSE, DELETED, INPUT_ITEMS, RESPONSE, RESPONSE_EVENT
from shared.api.openai.starting import START_PROBLEMS, loop_time, one_of_its_tries, start_run, wait_for_end
from shared.api.openai.streaming import event_stream
from shared.api.operations import (
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    UNCHANGED,
    Answer,
    Parameter,
    limit_parameter,
    openai_operation,
)
from shared.api.pages import limit_of
from shared.drivers.driver import Driver
from shared.errors import InvalidRequest, ResponseNotFound, RunNotFound
from shared.runs.commands.cancel import cancel as cancel_run
from shared.runs.commands.delete import delete_run
from shared.runs.commands.submission import Submission
from shared.runs.model.run import Run
from shared.runs.queries.conversation import input_of, of_caller, open_calls_of, turn_texts
from shared.runs.queries.runs import run_of_owner
from shared.wiring import App

INSTEAD = "Next time ask with `background: true`, which answers at once, or with `stream: true`."
"""How a caller asks who would have to wait too long."""


@openai_operation(
    parameters=(IDEMPOTENCY_KEY,),
    body=CREATE_RESPONSE,
    examples={"a story": {"model": "novelist", "input": "A dormouse in space.", "background": True}},
    answers={
        200: Answer(
            text="The response.",
            shape=RESPONSE,
            sometimes=("ETag", IGNORED_HEADER),
            or_stream=True,
            stream_data=RESPONSE_EVENT,
        )
    },
    problems=(
        *START_PROBLEMS,
        errors.ItemNotFound,
        errors.PreviousResponseNotFound,
        errors.ConversationTooLong,
        errors.AgentMismatch,
        errors.ToolOutputsMissing,
        errors.NoSuchToolCall,
        errors.AlreadyAnswered,
        errors.SessionBusy,
        errors.StreamEnded,
        errors.TextRestarted,
    ),
)
async def create_response(request: Request, app: App, driver: Driver) -> Response:
    """Create a response.

    `model` names the agent. With `background` the answer comes at once, else at the end of the run or after a limit,
    when the run goes on and the error names it. With `stream` it is `text/event-stream`, in OpenAI's events.
    """
    arrived = loop_time()
    submission, options = await read_create(request, owner_of_key(request, app.settings), app)
    async with one_of_its_tries(request, submission, app) as keyed:
        response = await _created(request, keyed, app, driver, arrived)
    response.headers.update(options.headers)
    return response


async def _created(request: Request, submission: Submission, app: App, driver: Driver, arrived: float) -> Response:
    if submission.background and not submission.stream:
        return await _answer(await start_run(submission, app, driver), app)
    with app.watching.limit.acquire(
        submission.owner
    ) as slot:  # first: a caller with too many open must not start a run
        run = await start_run(submission, app, driver)
        if submission.stream:
            return event_stream(run, None, app, driver, arrived=arrived, slot=slot.keep())
        return await _answer(await wait_for_end(request, run, app, arrived=arrived, instead=INSTEAD), app)


@openai_operation(
    parameters=(
        Parameter(name="stream", place="query", text="Whether to send events.", schema={"type": "boolean"}),
        Parameter(
            name="starting_after",
            place="query",
            text="The `sequence_number` of the last event that the caller has.",
            schema={"type": "integer", "format": "int32", "minimum": 0, "maximum": MAX_NUMBER},
        ),
        IF_NONE_MATCH,
    ),
    answers={
        200: Answer(
            text="The response as it stands.",
            shape=RESPONSE,
            sometimes=("ETag",),
            or_stream=True,
            stream_data=RESPONSE_EVENT,
        ),
        304: UNCHANGED,
    },
    problems=(ResponseNotFound, InvalidRequest, errors.TooManyViewers),
    never_to_head=(errors.TooManyViewers,),
)
async def get_response(request: Request, app: App, driver: Driver) -> Response:
    """Retrieve a response.

    Or its events, from after the one that `starting_after` numbers. With `stream` it is `text/event-stream`, in
    OpenAI's events.
    """
    run = await _own_run(request, app)
    stream, after = flag_of_query(request, "stream"), number_of_query(request, "starting_after", MAX_NUMBER)
    # A HEAD must not occupy a viewer's slot: it has no body to stream.
    if stream and request.method != "HEAD":
        slot = app.watching.limit.acquire(run.request.owner)
        return event_stream(run, after, app, driver, arrived=loop_time(), slot=slot)
    return not_modified(request, await _answer(run, app))


@openai_operation(
    answers={200: Answer(text="The response, which has ended.", shape=RESPONSE, headers=("ETag",))},
    problems=(ResponseNotFound,),
)
async def cancel_response(request: Request, app: App, driver: Driver) -> Response:
    """Cancel a response.

    Also one that was created without `background`. One that had ended stays as it was. May be repeated.
    """
    run = await cancel_run(app.ports, (await _own_run(request, app)).id)
    if run is None:
        raise ResponseNotFound
    # Also when it was cancelled before: that wake may have been lost.
    if not run.is_done:
        await driver.wake(run.id)
    return await _answer(run, app)


@openai_operation(
    answers={200: Answer(text="It is gone.", shape=DELETED, headers=("ETag",))},
    problems=(ResponseNotFound, errors.SessionBusy),
)
async def delete_response(request: Request, app: App, driver: Driver) -> Response:
    """Delete a response.

    Here and at the provider; an active one is cancelled.
    """
    run = await _own_run(request, app)
    if await delete_run(app.ports, run.id):
        await driver.wake(run.id)
    return json_response({"id": response_id(run.id), "object": "response.deleted", "deleted": True})


@openai_operation(
    parameters=(
        limit_parameter("How many items a page has at most."),
        Parameter(
            name="order",
            place="query",
            text="Latest first, or as they were sent.",
            schema={"enum": ["desc", "asc"], "default": "desc"},
        ),
        Parameter(name="after", place="query", text="The last item of the page before.", schema={"type": "string"}),
    ),
    answers={200: Answer(text="A page.", shape=INPUT_ITEMS, headers=("ETag",))},
    problems=(ResponseNotFound, InvalidRequest),
)
async def list_input_items(request: Request, app: App) -> Response:
    """List what a response answers.

    The messages that it was created with, not those of the responses before it.
    """
    run = await _own_run(request, app)
    # OpenAI's own default.
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` is `asc` or `desc`.", param="order")
    limit = limit_of(request.query_params)
    items = input_items(run, await input_of(app.ports, run))
    if order == "desc":
        items.reverse()
    after = request.query_params.get("after")
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise InvalidRequest("`after` is the id of no item of this list.", param="after")
        items = items[ids.index(after) + 1 :]
    page = items[:limit]
    # Typed clients want texts here, also for an empty page.
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": "", "last_id": ""}
    return json_response({"object": "list", "data": page, "has_more": len(items) > limit, **ends})


async def _own_run(request: Request, app: App) -> Run:
    owner = owner_of_key(request, app.settings)
    name = request.path_params["response_id"]
    run_id = run_id_of(name)
    try:
        if run_id is not None:
            return await run_of_owner(app.ports, run_id, owner)
    except RunNotFound:
        pass
    # One error for all: nobody learns which ids other callers have.
    raise ResponseNotFound(f"There is no response {name!r} here, or it is not yours.", param="response_id")


async def _answer(run: Run, app: App) -> Response:
    turns = await turn_texts(app.ports, run) if run.terminal else []
    agent, calls = app.ports.agents.get(run.request.agent), await open_calls_of(app.ports, run)
    return json_response(response_object(run, turns, calls, agent=agent, callers=await of_caller(app.ports, run)))
