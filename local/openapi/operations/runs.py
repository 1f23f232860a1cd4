"""Runs."""

from __future__ import annotations

from local.openapi import examples, wire
from local.openapi.headers import IDEMPOTENCY_KEY, IF_NONE_MATCH, PREFER, WAIT
from local.openapi.operation import Answer, Body, Operation, Parameter
from shared import errors
from shared.api.bodies import AnswersBody, RunBody
from shared.api.pages import DEFAULT_LIMIT, MOST
from shared.runs.model.phases import RunStatus

TAG = "runs"
UNCHANGED = Answer(text="Nothing has changed since the `ETag` that the caller has.", headers=("ETag",))
A_RUN = Answer(
    text="The run as it stands, also when it failed.",
    model=wire.Run,
    headers=("ETag",),
    sometimes=("Retry-After",),
    examples={"completed": examples.COMPLETED, "waiting for a person": examples.PARKED},
)
SUBMITTED = Answer(
    text="The run is on its way.",
    model=wire.Run,
    headers=("Location", "Operation-Location", "Retry-After", "ETag", "Vary"),
    sometimes=("Preference-Applied",),
    examples={"begun": examples.BEGUN},
)

OPERATIONS = (
    Operation(
        function="create_run",
        tag=TAG,
        summary="Start a run",
        text="The answer comes at once; the run goes on by itself. With `session_id` it is the next run of that "
        "session. Every field but `input` may be left out.",
        parameters=(IDEMPOTENCY_KEY, PREFER),
        body=Body(
            model=RunBody,
            examples={
                "a story": {"input": "Write a short story about a dormouse in space."},
                "a report, with limits": {
                    "input": "The payroll system",
                    "agent": "compliance",
                    "metadata": {"case": "2026-117"},
                    "deadline_seconds": 3600,
                    "limits": {"turns": 10, "total_tokens": 200000},
                },
                "an image": {
                    "input": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "input_text", "text": "What is on this picture?"},
                                {"type": "input_image", "image_url": "https://example.com/dormouse.png"},
                            ],
                        }
                    ]
                },
            },
        ),
        answers={
            202: SUBMITTED,
            200: Answer(
                text="The run is final already: it answered within the request, or the key is that of an ended run.",
                model=wire.Run,
                headers=("Location", "Operation-Location", "ETag", "Vary"),
                sometimes=("Preference-Applied",),
                examples={"completed": examples.COMPLETED},
            ),
        },
        problems=(
            errors.UnknownAgent,
            errors.ModelNotAllowed,
            errors.CallbacksDisabled,
            errors.InvalidIdempotencyKey,
            errors.SessionNotFound,
            errors.SessionBusy,
            errors.AgentMismatch,
            errors.RunDeleted,
            errors.IdempotencyKeyReused,
            errors.TooManyActiveRuns,
        ),
    ),
    Operation(
        function="list_runs",
        tag=TAG,
        summary="List your runs",
        text="Newest first. A page may hold fewer runs than `limit`, or none, and still have a next one.",
        parameters=(
            Parameter(
                name="status",
                place="query",
                text="Only runs with one of these.",
                schema={"type": "array", "items": {"enum": [status.value for status in RunStatus]}},
                lists=True,
            ),
            Parameter(name="agent", place="query", text="Only runs of this agent.", schema={"type": "string"}),
            Parameter(
                name="limit",
                place="query",
                text="How many runs a page has at most.",
                schema={"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT},
            ),
            Parameter(
                name="cursor",
                place="query",
                text="`next_cursor` of the page before.",
                schema={"type": "string", "pattern": "^[0-9]{14}:run_[0-9a-f]{32}_[0-9]{1,8}:[0-9a-f]{1,16}$"},
            ),
            IF_NONE_MATCH,
        ),
        answers={
            200: Answer(
                text="A page.", model=wire.RunList, headers=("ETag",), examples={"a page": examples.PAGE_OF_RUNS}
            ),
            304: UNCHANGED,
        },
        problems=(errors.InvalidRequest,),
    ),
    Operation(
        function="get_run",
        tag=TAG,
        summary="See how a run stands",
        parameters=(WAIT, IF_NONE_MATCH),
        answers={200: A_RUN, 304: UNCHANGED},
        problems=(errors.InvalidRequest, errors.RunNotFound, errors.TooManyViewers),
    ),
    Operation(
        function="cancel_run",
        tag=TAG,
        summary="Cancel a run",
        text="Final here at once; at the provider it is tried for a day. A run that had ended stays as it was. May be "
        "repeated.",
        answers={200: A_RUN},
        problems=(errors.RunNotFound,),
    ),
    Operation(
        function="answer_run",
        tag=TAG,
        summary="Approve or refuse calls",
        text="By the `id` that `required_action` shows for each call; all at once or one by one. The same answers "
        "again are fine. A `call_id` is taken too, while the run has had only one call of that `call_id`.",
        body=Body(
            model=AnswersBody,
            examples={
                "a refusal": {"answers": {"apr_5d41c8": {"approve": False, "reason": "Not before the audit."}}},
                "two approvals": {"answers": {"apr_5d41c8": {"approve": True}, "apr_77aa03": {"approve": True}}},
            },
        ),
        answers={200: A_RUN},
        problems=(
            errors.RunNotFound,
            errors.AlreadyAnswered,
            errors.AmbiguousCallId,
            errors.NotWaiting,
            errors.RunEnded,
        ),
    ),
    Operation(
        function="delete_run",
        tag=TAG,
        summary="Delete a run",
        text="Here and at the provider; an active one is cancelled.",
        answers={204: Answer(text="It is gone.")},
        problems=(errors.RunNotFound, errors.SessionBusy),
    ),
)
