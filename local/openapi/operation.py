"""What an entry of the contract says of one route. Path, method and path parameters are its trigger's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from shared.errors import DormouseError


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A query parameter or a header of a request. ``schema`` is JSON Schema."""

    name: str
    place: str
    text: str
    schema: Mapping[str, Any]
    example: Any = None
    lists: bool = False
    """Whether several values are one, with commas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A request's body, as a pydantic model or (for what others define) a JSON schema, with real examples."""

    model: type[BaseModel] | None = None
    schema: Mapping[str, Any] | None = None
    media: str = "application/json"
    examples: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that is no problem. Without ``model``, ``schema`` and ``events`` it has no body.

    ``headers`` are names of ``headers.HEADERS``; those in ``sometimes`` need not be there. ``events`` are the kinds of
    Server-Sent Events in it and what their data is.
    """

    text: str
    model: type[BaseModel] | None = None
    schema: Mapping[str, Any] | None = None
    media: str = "application/json"
    headers: tuple[str, ...] = ()
    sometimes: tuple[str, ...] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    events: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    or_stream: bool = False
    """Whether it may be Server-Sent Events instead, in a form that others define."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route. ``problems`` are its own; those of every route are added, and those that a body with a model brings.

    ``bare`` is for a route that has none of them (liveness).
    """

    function: str
    tag: str
    summary: str
    text: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    answers: Mapping[int, Answer]
    problems: tuple[type[DormouseError], ...] = ()
    bare: bool = False
    of_openai: bool = False
    """Whether it speaks as OpenAI does: its errors have that shape, and its key is one of `DORMOUSE_API_KEYS`."""
    security: tuple[str, ...] = ("functionKey", "appService")
    """Names of ``document.SECURITY``; one of them is enough. Nothing is asked where the trigger is open."""
