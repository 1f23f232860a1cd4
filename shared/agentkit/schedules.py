"""Schedules of an agent's own: ``@schedule`` above the function that builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "dormouse_schedules"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSchedule:
    """When an agent runs by itself, and for whom."""

    cron: str
    """Five fields, or six with the second in front."""

    input: str
    """What the agent is to answer each time."""

    owner: str
    """Whose runs they are: an owner as the app names them, such as ``function`` or ``user:4711``."""

    time_zone: str = "UTC"
    """Whose local times the fields are (IANA)."""

    missed: Literal["skip", "once"] = "skip"
    """What becomes of times that nobody was there for."""

    name: str = "default"
    """Tells several of one agent apart. With another name it is another schedule."""


def schedule(
    cron: str,
    *,
    input: str,
    owner: str,
    time_zone: str = "UTC",
    missed: Literal["skip", "once"] = "skip",
    name: str = "default",
) -> Callable[[F], F]:
    """Have the agent that a function builds run by itself. May stand there several times, each under a name of its own.

    The schedule is listed and can be paused like any other of its owner. It exists as long as a version of the app that
    has it is deployed.
    """
    made = OwnSchedule(cron=cron, input=input, owner=owner, time_zone=time_zone, missed=missed, name=name)

    def mark(build: F) -> F:
        setattr(build, _MARK, (*schedules_of(build), made))
        return build

    return mark


def schedules_of(build: Callable[..., Any]) -> tuple[OwnSchedule, ...]:
    """The schedules that stand above a function."""
    found: tuple[OwnSchedule, ...] = getattr(build, _MARK, ())
    return found
