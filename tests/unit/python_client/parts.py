"""The steps of a call, carried out by a table of answers: no network, and no time passes but what is waited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dormouse_client._steps import CallBack, Pause, Reply, Request, Rules, Steps
from dormouse_client.errors import DormouseError, NetworkError

T = TypeVar("T")
RUN_ID = f"run_{'a' * 32}_1"


def reply(status: int = 200, body: Any = None, **headers: str) -> Reply:
    """An answer; `Retry_After` is written with an underscore."""
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Reply(status, named, b"" if body is None else json.dumps(body).encode())


def problem(status: int, code: str, **headers: str) -> Reply:
    """A refusal of the app's."""
    return reply(status, {"code": code, "detail": f"It is {code}.", "status": status}, **headers)


def run(status: str = "in_progress", **fields: Any) -> dict[str, Any]:
    """A run on the wire, as far as anything here looks at it."""
    return {"id": RUN_ID, "object": "run", "status": status, "text": "", "tool_calls": [], "retry_after": 2.0, **fields}


@dataclass
class Server:
    """Gives these answers in turn. A clock goes with it, which only pauses and held requests move."""

    answers: list[Reply | DormouseError]
    takes: list[float] = field(default_factory=list)
    """Seconds that each answer takes, in turn; none when there is no more."""
    now: float = 0.0
    requests: list[Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)

    @property
    def rules(self) -> Rules:
        return self.rules_of(5)

    def rules_of(self, retries: int) -> Rules:
        return Rules(retries, lambda: self.now, lambda: 0.0)

    def carry_out(self, steps: Steps[T]) -> T:
        """What comes of them."""
        try:
            step = next(steps)
            while True:
                answer: Reply | DormouseError = Reply()
                if isinstance(step, Request):
                    self.requests.append(step)
                    self.now += self.takes.pop(0) if self.takes else 0.0
                    answer = self.answers.pop(0)
                elif isinstance(step, Pause):
                    assert step.seconds > 0
                    self.pauses.append(step.seconds)
                    self.now += step.seconds
                elif isinstance(step, CallBack):
                    self.told.append(step.values)
                    step.callback(*step.values)
                step = steps.throw(answer) if isinstance(answer, DormouseError) else steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    @property
    def headers(self) -> list[Mapping[str, str]]:
        return [dict(each.headers) for each in self.requests]


def lost() -> NetworkError:
    """A connection that failed."""
    return NetworkError("The connection was cut.")
