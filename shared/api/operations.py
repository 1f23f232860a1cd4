"""What a handler says of its route, for the contract: ``local/openapi`` makes the document of it and of the triggers.

``@operation`` stands on the handler of a trigger. It has the trigger's name; for OpenAI's clients, without the ``v1_``
in front. The first line of its docstring is the summary that callers read; what follows is the description.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from shared.api.http import MAX_SECONDS
from shared.api.pages import DEFAULT_LIMIT, MOST
from shared.errors import DormouseError

if TYPE_CHECKING:
    from pydantic import BaseModel

H = TypeVar("H", bound=Callable[..., object])
Schema = Mapping[str, Any]
"""JSON Schema."""

OF_OPENAI = "v1_"
"""What the names of the triggers for OpenAI's clients begin with."""

KEY_OR_SIGN_IN = ("functionKey", "appService")
RUN_TOKEN = ("runToken",)
BY_OPERATOR = ("functionKey operatorKey", "operatorKey")
"""With function keys both, else the operator's key alone."""

ActsFor = Literal["user", "anybody", "nobody"]
"""What a call has to do with the user whom it may name: it is for that user; its answer is the same for all, so that
none need be named; or nobody asks (is it alive, the provider's webhook).
"""

TAGS: Mapping[str, str] = {
    "OpenAI clients": "The same runs in OpenAI's shape, for clients that are made for it. `model` names the agent.",
    "about": "What this app is, whether it is well, and this document.",
    "batches": "Many inputs at once, each of which becomes a run.",
    "by run token": "One run or batch, for whoever has a token for it, in a browser too.",
    "operations": "For whoever runs the app: what is overdue, the intake, the drain, what is stored of an owner. 404 "
    "while it has no operator.",
    "runs": "One request to an agent, from submit to a final status.",
    "schedules": "Requests that become runs again and again.",
    "sessions": "Conversations with an agent: runs that follow one another.",
    "webhooks": "What the model provider calls.",
}
"""What the operations of a tag have in common."""

IN_PATHS: Mapping[str, tuple[str, str]] = {
    "action": ("What to do with it.", "wake"),
    "batch_id": ("The batch's `id`.", "batch_0b5f8d1c2e3a4967a1b2c3d4e5f60718"),
    "call": ("The call's `id`: its turn and its place in the turn.", "1.0"),
    "model": ("The agent's name.", "novelist"),
    "response_id": ("The response's `id`.", "resp_8ebb1060a8214390ef36ff68277817a0_1"),
    "run_id": ("The run's `id`.", "run_8ebb1060a8214390ef36ff68277817a0_1"),
    "schedule_id": ("The schedule's `id`.", "schedule_0b5f8d1c2e3a4967a1b2c3d4e5f60718"),
    "session_id": ("The session's `id`.", "8ebb1060a8214390ef36ff68277817a0"),
}
"""The parameters of paths: what each is, and an example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A query parameter or a header of a request."""

    name: str
    place: Literal["query", "header", "path"]
    text: str
    schema: Schema
    example: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that is no problem. Without a shape, and without events, it has no body."""

    text: str

    shape: type | Schema | None = None
    """A TypedDict, or the schema of what others define."""

    headers: tuple[str, ...] = ()
    """Those that are always there, of the names that ``local/openapi/headers.py`` explains."""

    sometimes: tuple[str, ...] = ()
    """Headers that need not be there."""

    events: Mapping[str, type] = field(default_factory=dict)
    """The kinds of Server-Sent Events in it, and what their data is."""

    or_stream: bool = False
    """Whether it may be Server-Sent Events instead, in a form that others define."""

    stream_data: Schema | None = None
    """What the data of each of these events has, whatever its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route. Path, method and path parameters are its trigger's."""

    function: str
    """The name of the trigger's function."""

    tag: str
    summary: str
    text: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | Schema | None = None

    examples: Mapping[str, Any] = field(default_factory=dict)
    """Bodies that the app takes, by a few words on each."""

    answers: Mapping[int, Answer]

    problems: tuple[type[DormouseError], ...] = ()
    """Its own: those of every route are added, and those that a body with a model brings."""

    never_to_head: tuple[type[DormouseError], ...] = ()
    """Those of them that HEAD is never answered with."""

    bare: bool = False
    """Whether it has no problems but its own (liveness)."""

    of_openai: bool = False
    """Whether it speaks as OpenAI does: its errors have that shape, and its key is one of `DORMOUSE_API_KEYS`."""

    security: tuple[str, ...] = KEY_OR_SIGN_IN
    """What may open it; one of them is enough, or several together with a blank between. What the platform asks for, it
    does not where the trigger is open.
    """

    acts_for: ActsFor = "user"


OPERATIONS: dict[str, Operation] = {}
"""All that were described so far, by function name: those of each module that is imported."""


def operation(
    *,
    tag: str,
    answers: Mapping[int, Answer],
    problems: tuple[type[DormouseError], ...] = (),
    parameters: tuple[Parameter, ...] = (),
    body: type[BaseModel] | Schema | None = None,
    examples: Mapping[str, Any] | None = None,
    never_to_head: tuple[type[DormouseError], ...] = (),
    bare: bool = False,
    of_openai: bool = False,
    security: tuple[str, ...] = KEY_OR_SIGN_IN,
    acts_for: ActsFor = "user",
) -> Callable[[H], H]:
    """Describe the handler of the trigger that has its name; the handler stays as it is."""

    def describe(handler: H) -> H:
        name = f"{OF_OPENAI}{handler.__name__}" if of_openai else handler.__name__
        summary, _, text = inspect.cleandoc(handler.__doc__ or "").partition("\n\n")
        OPERATIONS[name] = Operation(
            function=name,
            tag=tag,
            summary=summary.removesuffix("."),
            # The line ends of a docstring would be line ends on the page.
            text=" ".join(text.split()),
            parameters=parameters,
            body=body,
            examples=examples or {},
            answers=answers,
            problems=problems,
            never_to_head=never_to_head,
            bare=bare,
            of_openai=of_openai,
            security=security,
            acts_for=acts_for,
        )
        return handler

    return describe


openai_operation = functools.partial(operation, tag="OpenAI clients", of_openai=True)
"""Describes a handler for OpenAI's clients. The shapes are OpenAI's, and described in full there."""


# --- what several operations share ---

UNCHANGED = Answer(text="Nothing has changed since the `ETag` that the caller has.", headers=("ETag",))

IF_NONE_MATCH = Parameter(
    name="If-None-Match",
    place="header",
    text="An `ETag` that the caller has: 304 without a body when nothing has changed.",
    schema={"type": "string"},
)
# Its pattern must take what `bodies.idempotency_key` takes: generated clients check values by it.
IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    text="A fresh one for every request, the same when it is repeated: for 24 hours it gives the same run. Up to 255 "
    "visible characters of ASCII, bare or in double quotes. A comma and a blank only in quotes: two headers look so.",
    schema={"type": "string", "pattern": '^("[ !#-~]{1,255}"|(?!.*, )[!#-~]([ !#-~]{0,253}[!#-~])?)$'},
    example="5f0c2a52-4f0e-4a57-9f0d-9b1f4a3d7c11",
)
PREFER = Parameter(
    name="Prefer",
    place="header",
    text=f"`wait=N` (RFC 7240): answer when the run has ended, or after N seconds, {MAX_SECONDS} at most.",
    schema={"type": "string"},
    example="wait=30",
)
WAIT = Parameter(
    name="wait",
    place="query",
    text="Seconds to wait for a change that a person would want to see; one that `If-None-Match` does not have yet "
    "is answered at once.",
    schema={"type": "integer", "minimum": 0, "maximum": MAX_SECONDS},
    example=30,
)


def limit_parameter(text: str = "How many a page has at most.") -> Parameter:
    """The parameter that says how long a page may be."""
    schema = {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT}
    return Parameter(name="limit", place="query", text=text, schema=schema)


def cursor_parameter(pattern: str) -> Parameter:
    """The parameter that a page's `next_cursor` goes into."""
    return Parameter(
        name="cursor",
        place="query",
        text="`next_cursor` of the page before.",
        schema={"type": "string", "pattern": f"^{pattern}$"},
    )


def statuses_parameter(text: str, statuses: type[Any]) -> Parameter:
    """The parameter that takes one or more statuses of this enumeration."""
    schema = {"type": "array", "items": {"enum": [status.value for status in statuses]}}
    return Parameter(name="status", place="query", text=f"{text} Several: repeated, or with commas.", schema=schema)
