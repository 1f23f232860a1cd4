"""Faults: how a request fails, and which of the requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.model.errors import Json, error_body

# a chat completion has the faults of `create`
OPERATIONS = frozenset({"create", "retrieve", "cancel", "delete", "input_items", "stream"})
ALWAYS = -1


class ScriptError(ValueError):
    """A script or switch that cannot be read; the message names the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way in which a request fails.

    With neither an answer (`status`, `body`, `json_error`, `html`, `drop`) nor `hang`, it answers 500.
    With `hang` alone the request is late, then served as usual (unless the client has gone).
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | Json | None = None
    """Text is sent as it is, under `application/json`: so a body can be cut short."""
    json_error: Json | None = None
    """`{code?, message?, type?, param?}`, sent in OpenAI's error shape."""
    html: str | None = None
    hang: float = 0.0
    """Seconds before the answer."""
    drop: bool = False
    """The connection is closed without an answer; with `after_events` in the middle of one."""
    after_accept: bool = False
    """The request is carried out first: a create that was perhaps accepted."""
    after_events: int | None = None
    """For the operation `stream`: how many events are sent before the stream ends, cleanly unless `drop`."""
    event: Json | None = None
    """With `after_events`: an event that is sent last, such as `{type: "error", …}`; numbered like any other."""
    times: int = 1
    """How many requests in a row have it; -1: all that follow."""
    skip: int = 0
    """How many requests are served as usual before."""

    @property
    def answers(self) -> bool:
        """Whether an answer of its own takes the place of the real one."""
        own = (self.status, self.body, self.json_error, self.html)
        return self.drop or any(part is not None for part in own) or not self.hang

    def answer(self) -> tuple[int, dict[str, str], str | Json]:
        """Status, headers and body of the fault's own answer."""
        # A script's own content type must win over the default, however it is written.
        headers = {key.lower(): value for key, value in self.headers.items()}
        if self.html is not None:
            return self.status or 200, {"content-type": "text/html; charset=utf-8", **headers}, self.html
        if self.body is not None:
            return self.status or 200, {"content-type": "application/json", **headers}, self.body
        status = self.status or 500
        given = self.json_error or {}
        kind = given.get("type") or ("server_error" if status >= 500 else "invalid_request_error")
        message = given.get("message") or f"The scripted model answers {status} here."
        return status, headers, error_body(message, param=given.get("param"), code=given.get("code"), kind=kind)


def parse_fault(data: Any, where: str) -> Fault:
    """A fault from its JSON; raises ScriptError."""
    fields = keyed(data, where, Fault.__dataclass_fields__)
    # A gateway's page comes with status 200 too, and the `openai` client returns it as a `str`.
    if fields.get("html") is True:
        fields["html"] = "<html><body><h1>Bad gateway</h1></body></html>"
    if "headers" in fields:
        fields["headers"] = {str(key): str(value) for key, value in fields["headers"].items()}
    return Fault(**fields)


def parse_faults(data: Any, where: str) -> dict[str, tuple[Fault, ...]]:
    """Faults by operation, from `{operation: [fault, …]}`; raises ScriptError."""
    fields = keyed(data, where, OPERATIONS)
    return {
        operation: tuple(parse_fault(fault, f"{where}.{operation}[{i}]") for i, fault in enumerate(faults))
        for operation, faults in fields.items()
    }


def fault_at(faults: Sequence[Fault], n: int) -> Fault | None:
    """The fault of the n-th request (from 0), when each fault skips `skip` requests and applies to `times`."""
    for fault in faults:
        if n < fault.skip:
            return None
        n -= fault.skip
        if fault.times == ALWAYS or n < fault.times:
            return fault
        n -= fault.times
    return None


def keyed(data: Any, where: str, allowed: Any) -> Json:
    """A copy of a JSON object that has only allowed keys; raises ScriptError."""
    if not isinstance(data, dict):
        raise ScriptError(f"{where} must be an object")
    for key in data:
        # A misspelt key would silently be no fault, and a test would pass for nothing.
        if key not in allowed:
            raise ScriptError(f"{where} has an unknown key {key!r}; known: {', '.join(sorted(allowed))}")
    return dict(data)
