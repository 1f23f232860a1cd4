"""What OpenAI's clients may send as a run of ours: its messages, its instructions, and what else it asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request

from shared.agentkit.agent import Agent, Item
from shared.api.bodies import idempotency_key
from shared.api.openai.messages import MAX_MESSAGES, message_of, read_messages, split_approvals
from shared.api.openai.objects import run_of_response
from shared.api.openai.parameters import (
    CreateParameters,
    Options,
    options_of,
    read_parameters,
    too_large,
    unsupported,
)
from shared.api.openai.references import with_referred_items
from shared.api.openai.tools import read_tools
from shared.api.reading import Share, read_json
from shared.errors import (
    ApprovalUnsupported,
    InvalidRequest,
    ModelNotFound,
    PreviousResponseNotFound,
)
from shared.runs.commands.submission import Submission
from shared.runs.model.facts import Approve
from shared.wiring import App

REQUEST_ID = "x-ms-client-request-id"


async def read_create(request: Request, owner: str, app: App) -> tuple[Submission, Options]:
    """The body of ``POST /api/v1/responses``. Raises the errors that say what to change."""
    body = await read_body(request, app)
    parameters = read_parameters(body, messages="input")
    given = body["input"]
    if isinstance(given, list) and len(given) <= MAX_MESSAGES:
        given = await with_referred_items(given, owner, app)
    submission, options = submission_of(parameters, body, given, owner, app, messages="input")
    if parameters.previous_response_id is not None:
        previous = run_of_response(parameters.previous_response_id)
        if previous is None:
            raise PreviousResponseNotFound(param="previous_response_id")
        # The id holds session and number: no read is needed to go on from it.
        submission = replace(submission, session_id=previous[0], previous=previous[1])
    return with_idempotency_key(submission, request), options


async def read_body(request: Request, app: App) -> dict[str, Any]:
    """The body, without what is null: clients send null for what they leave out."""
    with Share(app.settings) as share:
        body = await read_json(request, app.settings.json_most, share)
    given = {name: value for name, value in body.items() if value is not None}
    # Azure's clients name it in the address, as their service reads it there.
    deployment = request.path_params.get("deployment")
    return given if deployment is None else {**given, "model": deployment}


def submission_of(
    parameters: CreateParameters,
    body: Mapping[str, Any],
    given: Any,
    owner: str,
    app: App,
    *,
    messages: str,
    places: Sequence[str] | None = None,
) -> tuple[Submission, Options]:
    """The run that is asked for, and what becomes of the parameters that are not the run's own.

    ``given`` are the messages, in the shape of the Responses API, and ``messages`` is the client's name for them;
    ``places`` says where in the body each of them is, where it is not at its own place.
    Raises ``InputTooLarge``, ``ModelNotFound``, ``ApprovalUnsupported``, ``InvalidRequest``, ``UnsupportedParameter``.
    """
    agent = _agent_named(parameters.model, app)
    if agent.asks_approval and messages == "messages":
        raise ApprovalUnsupported(param="model")
    options = options_of(body, agent, messages=messages)
    tools = read_tools(body, agent)
    approvals: dict[str, Approve] = {}
    if messages == "input" and isinstance(given, list):
        given, places, approvals = split_approvals(given, param=messages)
    items: tuple[Item, ...] = ()
    if given or not approvals:
        mode, allowed = agent.caller_instructions, agent.caller_tools
        items = read_messages(given, mode, tools=allowed, param=messages, places=places)
    instructions = parameters.instructions.strip() and parameters.instructions
    if instructions and agent.caller_instructions == "refuse":
        raise unsupported("instructions", "the agent has its own instructions. Say what you want in the input.")
    if instructions and agent.caller_instructions == "input":
        items, instructions = (message_of("user", instructions), *items), ""
    most = app.settings.max_input_bytes
    check_size(items, most - len(f"{instructions}{tools.to_json()}".encode("utf-8", "replace")), most)
    submission = Submission(
        owner=owner,
        items=items,
        agent=agent.name,
        options=options.passed,
        instructions=instructions,
        tools=tools,
        approvals=approvals,
        hands_over=True,
        metadata=parameters.metadata,
        stream=parameters.stream,
        background=parameters.background,
    )
    return submission, options


def with_idempotency_key(submission: Submission, request: Request) -> Submission:
    """The submission with a key that all tries of this request share, where the client sends one.

    That is an ``Idempotency-Key``; else ``x-ms-client-request-id``, which Azure's clients make anew for a request and
    send with every try of it. Others may set that to what they like, so it counts together with the request only.
    """
    key = idempotency_key(request.headers.getlist("idempotency-key"))
    request_id = request.headers.get(REQUEST_ID, "").strip()
    if key is None and request_id:
        key = f"{REQUEST_ID}:{request_id}:{submission.payload}"
    return replace(submission, idempotency_key=key)


def check_size(items: Iterable[Item], limit: int, shown: int | None = None) -> None:
    """Raises ``InputTooLarge`` for more than ``limit`` bytes of UTF-8, text and addresses together.

    ``shown`` is the limit that the caller reads, where some of it is used up already.
    """
    said = (each for item in items for name, each in item.items() if name in ("content", "arguments", "output"))
    size = sum(
        len((each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)).encode("utf-8", "replace"))
        for each in said
    )
    if size > limit:
        raise too_large(limit if shown is None else shown)


def number_of_query(request: Request, name: str, most: int) -> int | None:
    """A whole number in the query, if it is there. Raises ``InvalidRequest``."""
    value = request.query_params.get(name)
    if value is None:
        return None
    # The length before `int`, which raises for very long numbers.
    if not (value.isascii() and value.isdigit() and len(value) <= 16 and int(value) <= most):
        raise InvalidRequest(f"`{name}` is a whole number up to {most}.", param=name)
    return int(value)


def flag_of_query(request: Request, name: str) -> bool:
    """Whether it is `true` in the query. Raises ``InvalidRequest`` for another word than `true` and `false`."""
    value = request.query_params.get(name, "false").lower()
    if value not in ("true", "false"):
        raise InvalidRequest(f"`{name}` is `true` or `false`.", param=name)
    return value == "true"


def _agent_named(model: str, app: App) -> Agent:
    agent = app.ports.agents.get(model)
    if agent is None:
        names = ", ".join(app.ports.agents)
        # With the names: this is where a new user's first request fails.
        raise ModelNotFound(f"The model {model[:80]!r} does not exist here; there are: {names}.", param="model")
    return agent
