"""What a caller gives, checked before anything is sent."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from dormouse_client._steps import Request
from dormouse_client.contract import Batch, BatchItem, BatchSummary, ItemBody, Run, RunSummary, Schedule, ToolCall
from dormouse_client.errors import InvalidArgument

RunOrId: TypeAlias = "Run | RunSummary | str"
BatchOrId: TypeAlias = "Batch | BatchSummary | str"
ScheduleOrId: TypeAlias = "Schedule | str"
CallOrId: TypeAlias = "ToolCall | str"
Right: TypeAlias = Literal["read", "answer", "cancel"]
"""What a run token may allow."""
Missed: TypeAlias = Literal["skip", "once"]
"""What becomes of the times of a schedule that nobody was there for."""

_CALL = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_USER = re.compile(r"[A-Za-z0-9._~@-]{1,128}")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_FINAL = frozenset({"completed", "incomplete", "failed", "cancelled"})


def is_final(one: Mapping[str, Any] | Run | RunSummary | Batch | BatchItem) -> bool:
    """Whether a run, a batch or an item has ended, for good."""
    return one["status"] in _FINAL


def checked_base_url(url: str) -> str:
    """The address of the app without a slash at its end. Raises ``InvalidArgument``."""
    try:
        parts = urlsplit(url.strip())
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        fits = False
    if not fits or re.search(r"\s", url.strip()):
        # Not shown: a key may be in it.
        raise InvalidArgument("`base_url` is the app's address, such as https://<app>.azurewebsites.net.")
    if parts.query or parts.fragment:
        raise InvalidArgument("`base_url` ends before `?` and `#`. Give the function key as `key`.")
    return url.strip().rstrip("/")


def checked_user(user: str) -> str:
    """The id of whom a call is made for. Raises ``InvalidArgument``."""
    # A header with anything beyond ASCII can hang the platform, so it must never leave here.
    if _USER.fullmatch(user) is None:
        raise InvalidArgument("`on_behalf_of` is 1 to 128 letters, digits and `. _ ~ @ -`, such as an opaque user id.")
    return user


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that may be sent. Raises ``InvalidArgument``; the message shows no value, which may be a secret."""
    for name, value in headers.items():
        if _HEADER_VALUE.fullmatch(value) is None:
            raise InvalidArgument(f"The value of `{name}` must be visible ASCII characters, with nothing around them.")
        if name.lower() == "x-ms-invocation-id":
            raise InvalidArgument(f"`{name}` belongs to the platform, which may hang when a caller sends it.")
    return dict(headers)


def id_of(one: RunOrId | BatchOrId | BatchItem | ScheduleOrId, what: str) -> str:
    """The id of something or the id that was given. Raises ``InvalidArgument``."""
    found = one if isinstance(one, str) else one.get("id")
    # An empty one, or dots, would make another address of it.
    if not isinstance(found, str) or _ID.fullmatch(found) is None:
        raise InvalidArgument(f"{found!r} is not the id of a {what}.")
    return found


def run_path(run: RunOrId) -> str:
    """The address of a run."""
    return f"/api/runs/{id_of(run, 'run')}"


def batch_path(batch: BatchOrId) -> str:
    """The address of a batch."""
    return f"/api/batches/{id_of(batch, 'batch')}"


def session_path(session_id: str) -> str:
    """The address of a session."""
    return f"/api/sessions/{id_of(session_id, 'session')}"


def schedule_path(schedule: ScheduleOrId) -> str:
    """The address of a schedule."""
    return f"/api/schedules/{id_of(schedule, 'schedule')}"


def tool_call_path(run: RunOrId, call: CallOrId) -> str:
    """The address of a tool call of a run. Raises ``InvalidArgument``."""
    found = call if isinstance(call, str) else call.get("id")
    if not isinstance(found, str) or _CALL.fullmatch(found) is None:
        raise InvalidArgument(
            f"{found!r} is not the id of a tool call: that is turn and place, such as '1.0', and not the `call_id`."
        )
    return f"{run_path(run)}/tool_calls/{found}"


def key_header(key: str | None) -> dict[str, str]:
    """The Idempotency-Key, a fresh one unless one is given."""
    if key is not None and not 1 <= len(key) <= 255:
        raise InvalidArgument("`idempotency_key` has 1 to 255 visible ASCII characters.")
    return {"Idempotency-Key": secrets.token_hex(16) if key is None else key}


def time_of(moment: datetime | str | None) -> str | None:
    """A time as it is sent. Raises ``InvalidArgument`` for one without a zone, which could be any of twenty-four."""
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise InvalidArgument("`start_at` needs a zone: `.astimezone()` gives it that of this machine.")
    return moment.isoformat()


def given(**fields: Any) -> dict[str, Any]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def answers_of(run: RunOrId, answers: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The answers as they are sent: ``True``, ``False``, or a whole answer with its reason, by the id of each call.

    A `call_id` that one call of the given run has is sent as the `id` of that call: what was seen is what is answered.
    """
    if not answers:
        raise InvalidArgument("Give an answer for at least one call of the run's `required_action`.")
    required = None if isinstance(run, str) else run.get("required_action")
    calls: list[dict[str, Any]] = required["calls"] if isinstance(required, dict) else []
    named: dict[str, dict[str, Any]] = {}
    for name, answer in answers.items():
        meant = [call["id"] for call in calls if call["call_id"] == name]
        if not isinstance(answer, bool) and not (isinstance(answer, Mapping) and "approve" in answer):
            raise InvalidArgument(f"The answer to {name!r} is True, False or {{'approve': …, 'reason': …}}.")
        named[meant[0] if len(meant) == 1 else name] = {"approve": answer} if isinstance(answer, bool) else dict(answer)
    return named


def run_request(
    fields: Mapping[str, Any], extra: Mapping[str, Any] | None, *, wait: int | None, key: str | None
) -> Request:
    """``POST /api/runs`` with the fields that were given. Raises ``InvalidArgument``."""
    if wait is not None and not (isinstance(wait, int) and 0 <= wait <= 30):
        raise InvalidArgument("`wait` is whole seconds, from 0 to 30. To wait for longer, call `wait` afterwards.")
    headers = key_header(key) | ({} if wait is None else {"Prefer": f"wait={wait}"})
    return Request("POST", "/api/runs", body={**given(**fields), **(extra or {})}, headers=headers, hold=wait or 0)


def schedule_request(fields: Mapping[str, Any], *, key: str | None) -> Request:
    """``POST /api/schedules`` with the fields that were given."""
    return Request("POST", "/api/schedules", body=given(**fields), headers=key_header(key))


def answer_request(run: RunOrId, answers: Mapping[str, Any]) -> Request:
    """``POST /api/runs/{id}/answers``."""
    return Request("POST", f"{run_path(run)}/answers", body={"answers": answers_of(run, answers)})


def token_request(
    one: RunOrId | BatchOrId, rights: Iterable[Right], *, seconds: int | None, label: str | None
) -> Request:
    """``POST /api/runs/{id}/tokens`` or ``POST /api/batches/{id}/tokens``. Raises ``InvalidArgument``."""
    name = id_of(one, "run or batch")
    path = batch_path(name) if name.startswith("batch_") else run_path(name)
    # A text is made of texts: "read" would ask for the rights "r", "e", "a" and "d".
    asked = [rights] if isinstance(rights, str) else list(rights)
    return Request("POST", f"{path}/tokens", body={"rights": asked, **given(seconds=seconds, label=label)})


def retry_request(batch: BatchOrId, status: Iterable[str] | None, *, key: str | None) -> Request:
    """``POST /api/batches/{id}/retry``. Raises ``InvalidArgument``."""
    return Request("POST", f"{batch_path(batch)}/retry", query(status=status), headers=key_header(key))


def batch_request(
    items: Sequence[ItemBody], fields: Mapping[str, Any], extra: Mapping[str, Any] | None, *, key: str | None
) -> Request:
    """``POST /api/batches`` with the fields that were given."""
    return Request(
        "POST",
        "/api/batches",
        body={"items": list(items), **given(**fields), **(extra or {})},
        headers=key_header(key),
    )


def query(**filters: Any) -> dict[str, str | int]:
    """A list's parameters; several statuses are joined."""
    return {
        name: value if isinstance(value, (str, int)) else ",".join(value)
        for name, value in filters.items()
        if value is not None
    }
