"""What OpenAI's clients call. The shapes are OpenAI's and described there; here is what this app makes of them."""

from __future__ import annotations

import functools
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared import errors
from shared.api.operations import IDEMPOTENCY_KEY, IF_NONE_MATCH, UNCHANGED, Answer, Operation, Parameter


class OpenAIProblem(BaseModel):
    """What went wrong, and what to do next."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    code: str = Field(description="A stable word for programs.")
    param: str | None


class OpenAIError(BaseModel):
    """An error as OpenAI's clients know it."""

    model_config = ConfigDict(extra="forbid")

    error: OpenAIProblem


def _object(word: str, *required: str) -> dict[str, Any]:
    return {"type": "object", "required": ["object", *required], "properties": {"object": {"const": word}}}


RESPONSE = _object("response", "id", "status", "model", "output")
LIST = _object("list", "data")
MODEL = _object("model", "id")
EVENTS = " With `stream` it is `text/event-stream`, in OpenAI's events."
MODEL_AND_INPUT = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {"model": {"type": "string"}, "input": {"type": ["string", "array"]}},
}
MODEL_AND_MESSAGES = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {"model": {"type": "string"}, "messages": {"type": "array", "minItems": 1}},
}
STARTING = (
    errors.ModelNotFound,
    errors.ApprovalUnsupported,
    errors.InvalidIdempotencyKey,
    errors.IdempotencyKeyReused,
    errors.RunDeleted,
    errors.TooManyActiveRuns,
    errors.TooManyViewers,
    errors.ResponseNotFound,
    errors.StillRunning,
)

_operation = functools.partial(Operation, tag="OpenAI clients", of_openai=True)

OPERATIONS = (
    _operation(
        function="v1_create_response",
        summary="Create a response",
        text="`model` names the agent. With `background` the answer comes at once, else at the end of the run or after "
        "a limit, when the run goes on and the error names it." + EVENTS,
        parameters=(IDEMPOTENCY_KEY,),
        body=MODEL_AND_INPUT,
        answers={200: Answer(text="The response.", shape=RESPONSE, sometimes=("ETag",), or_stream=True)},
        problems=(
            *STARTING,
            errors.PreviousResponseNotFound,
            errors.NotLatest,
            errors.AgentMismatch,
            errors.SessionBusy,
            errors.StreamEnded,
        ),
    ),
    _operation(
        function="v1_get_response",
        summary="Retrieve a response",
        text="Or its events, from after the one that `starting_after` numbers." + EVENTS,
        parameters=(
            Parameter(name="stream", place="query", text="Whether to send events.", schema={"type": "boolean"}),
            Parameter(
                name="starting_after",
                place="query",
                text="The `sequence_number` of the last event that the caller has.",
                schema={"type": "integer", "minimum": 0},
            ),
            IF_NONE_MATCH,
        ),
        answers={
            200: Answer(text="The response as it stands.", shape=RESPONSE, sometimes=("ETag",), or_stream=True),
            304: UNCHANGED,
        },
        problems=(errors.ResponseNotFound, errors.InvalidRequest, errors.TooManyViewers),
    ),
    _operation(
        function="v1_cancel_response",
        summary="Cancel a response",
        answers={200: Answer(text="The response, which has ended.", shape=RESPONSE, headers=("ETag",))},
        problems=(errors.ResponseNotFound,),
    ),
    _operation(
        function="v1_delete_response",
        summary="Delete a response",
        answers={200: Answer(text="It is gone.", shape=_object("response.deleted", "id"), headers=("ETag",))},
        problems=(errors.ResponseNotFound, errors.SessionBusy),
    ),
    _operation(
        function="v1_list_input_items",
        summary="List what a response answers",
        parameters=(
            Parameter(
                name="limit",
                place="query",
                text="How many items a page has at most.",
                schema={"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            ),
            Parameter(
                name="order",
                place="query",
                text="Latest first, or as they were sent.",
                schema={"enum": ["desc", "asc"], "default": "desc"},
            ),
            Parameter(name="after", place="query", text="The last item of the page before.", schema={"type": "string"}),
        ),
        answers={200: Answer(text="A page.", shape=LIST, headers=("ETag",))},
        problems=(errors.ResponseNotFound, errors.InvalidRequest),
    ),
    _operation(
        function="v1_create_completion",
        summary="Create a chat completion",
        text="For agents that answer within the time that a request may wait. `model` names the agent." + EVENTS,
        parameters=(IDEMPOTENCY_KEY,),
        body=MODEL_AND_MESSAGES,
        answers={
            200: Answer(
                text="The completion.",
                shape=_object("chat.completion", "id", "choices", "usage"),
                sometimes=("ETag",),
                or_stream=True,
            )
        },
        problems=(*STARTING, errors.CompletionFailed),
    ),
    _operation(
        function="v1_list_models",
        summary="List the agents",
        answers={200: Answer(text="All of them, as models.", shape=LIST, headers=("ETag",))},
    ),
    _operation(
        function="v1_get_model",
        summary="See one agent",
        answers={200: Answer(text="The agent, as a model.", shape=MODEL, headers=("ETag",))},
        problems=(errors.ModelNotFound,),
    ),
)
