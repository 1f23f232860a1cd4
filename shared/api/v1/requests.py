"""Requests of OpenAI's clients: what of them is taken, what changes nothing here, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.agentkit.agent import Item
from shared.api.bodies import MetadataKey, MetadataValue, idempotency_key
from shared.api.reading import Share, read_json
from shared.api.v1.messages import check_size, read_input, refused, unsupported, without_nulls, wrong
from shared.api.v1.names import run_of_response
from shared.errors import ApprovalUnsupported, InvalidRequest, ModelNotFound, PreviousResponseNotFound
from shared.runs.commands.submission import Submission
from shared.wiring import App

IGNORED = frozenset(
    {
        "include",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "stream_options",
        "truncation",
        "user",
    }
)
"""Parameters that change nothing here."""

REQUEST_ID = "x-ms-client-request-id"

SAME: Mapping[str, Sequence[Any]] = {
    "instructions": [""],
    "modalities": [["text"]],
    "n": [1],
    "reasoning": [{}],
    "response_format": [{"type": "text"}],
    "service_tier": ["auto", "default"],
    "store": [True],
    "temperature": [1],
    "text": [{}, {"format": {"type": "text"}}],
    "tool_choice": ["auto"],
    "tools": [[]],
    "top_logprobs": [0],
    "logprobs": [False],
    "top_p": [1],
    "frequency_penalty": [0],
    "presence_penalty": [0],
}
"""Parameters whose default may be written out; any other value would mean something that is not done here."""

WHY: Mapping[str, str] = {
    "instructions": "the agent has its own instructions. Say what you want in the input.",
    "tools": "the agent has its own tools, which run here.",
    "tool_choice": "the agent has its own tools and decides when to use them.",
    "conversation": "go on with `previous_response_id` instead.",
    "prompt": "the agent has its own instructions. Say what you want in the input.",
    "store": "responses are always stored here. Delete the response when you have read it.",
    "text": "the agent decides on the format of its text; it is in the output as it is.",
    "response_format": "the agent decides on the format of its text; it is in the content as it is.",
    "n": "there is one answer to a request.",
}
OF_THE_AGENT = "it is the agent's own to decide. Leave it out."


class Fields(BaseModel):
    """The parameters that are taken, but for the input."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str = Field(min_length=1, max_length=128)
    background: bool = False
    stream: bool = False
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = Field(default_factory=dict)
    previous_response_id: str | None = None


TAKEN = frozenset(Fields.model_fields)


async def read_create(request: Any, owner: str, app: App) -> Submission:
    """The body of ``POST /api/v1/responses``. Raises the errors that say what to change."""
    body = await read_body(request, app)
    fields = read_fields(body, given="input")
    submission = submission_of(fields, read_input(body.get("input")), owner, app)
    if fields.previous_response_id is not None:
        previous = run_of_response(fields.previous_response_id)
        if previous is None:
            raise PreviousResponseNotFound(param="previous_response_id")
        submission = replace(submission, session_id=previous[0], previous=previous[1])
    return with_key(submission, request)


def with_key(submission: Submission, request: Any) -> Submission:
    """The request with what tells its tries from other requests, where the client says so.

    That is an ``Idempotency-Key``; else ``x-ms-client-request-id``, which Azure's clients make anew for a request and
    send with every try of it. Others may set that to what they like, so it counts together with the request only.
    """
    key = idempotency_key(request.headers.getlist("idempotency-key"))
    same = request.headers.get(REQUEST_ID, "").strip()
    if key is None and same:
        key = f"{REQUEST_ID}:{same}:{submission.payload}"
    return replace(submission, idempotency_key=key)


def submission_of(fields: Fields, items: tuple[Item, ...], owner: str, app: App) -> Submission:
    """The run that is asked for. Raises ``InputTooLarge``, and what ``agent_named`` does."""
    check_size(items, app.settings.max_input_bytes)
    return Submission(
        owner=owner,
        items=items,
        agent=agent_named(fields.model, app),
        metadata=fields.metadata,
        stream=fields.stream,
        background=fields.background,
    )


async def read_body(request: Any, app: App) -> dict[str, Any]:
    """The body, without what is null: clients write that for what they leave out."""
    with Share(app.settings) as share:
        given = await read_json(request, app.settings.json_most, share)
    return {name: value for name, value in given.items() if value is not None}


def read_fields(body: Mapping[str, Any], *, given: str) -> Fields:
    """The parameters that are taken. Raises ``UnsupportedParameter`` for one that would be passed over.

    ``given`` is the parameter that holds the messages.
    """
    if given not in body:
        raise wrong(given, "is required")
    for name, value in body.items():
        if name in TAKEN or name in IGNORED or name == given:
            continue
        value = without_nulls(value)
        # 1 is True to Python, and 1.0 is 1: a bool is no number in JSON.
        if not any(value == same and isinstance(value, bool) == isinstance(same, bool) for same in SAME.get(name, ())):
            raise unsupported(name[:80], WHY.get(name, OF_THE_AGENT))
    try:
        return Fields.model_validate(body)
    except ValidationError as error:
        raise refused(error, "") from None


def agent_named(model: str, app: App) -> str:
    """The agent that ``model`` names. Raises ``ModelNotFound``, or ``ApprovalUnsupported`` for one that asks people."""
    agent = app.ports.agents.get(model)
    if agent is None:
        names = ", ".join(app.ports.agents)
        raise ModelNotFound(f"The model {model[:80]!r} does not exist here; there are: {names}.", param="model")
    if agent.asks_approval:
        raise ApprovalUnsupported(param="model")
    return model


def number_of_query(request: Any, name: str, most: int) -> int | None:
    """A whole number in the query, if it is there. Raises ``InvalidRequest``."""
    given = request.query_params.get(name)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 16 and int(given) <= most):
        raise InvalidRequest(f"`{name}` is a whole number up to {most}.", param=name)
    return int(given)
