"""The calls, each as the steps that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from dormouse_client._arguments import is_final, query
from dormouse_client._steps import (
    MAX_PAUSE_SECONDS,
    CallBack,
    Pause,
    Reply,
    Request,
    Rules,
    Steps,
    call,
    checked,
    is_outage,
    pause_after,
    whole_seconds,
)
from dormouse_client.errors import DormouseError, InvalidArgument, TooManyRequests, WaitTimeout

T = TypeVar("T")
One = TypeVar("One", bound=Mapping[str, Any])
Outage = Callable[[DormouseError, float], object]

MAX_HOLD_SECONDS = 30
"""How long the server keeps a request open at most."""

SHORTEST_GAP_SECONDS = 1.0
"""Between two questions of which the first brought nothing new, whatever a proxy in between makes of `wait`."""

SHORTEST_GAP_AFTER_NEWS_SECONDS = 0.2
"""The same where it did: no more than a person can follow."""


def body(kind: type[T], request: Request, rules: Rules) -> Steps[T]:
    """The object that comes back, which is one of this kind: it is not checked."""
    found: T = (yield from call(request, rules)).json()
    return found


def nothing(request: Request, rules: Rules) -> Steps[None]:
    """A call whose answer has no body."""
    yield from call(request, rules)


def page(
    path: str, filters: Mapping[str, Any], cursor: str | None, rules: Rules
) -> Steps[tuple[list[Any], str | None]]:
    """A page of a list, and the cursor of the next; None: that was the last."""
    found = (yield from call(Request("GET", path, query(**filters, cursor=cursor)), rules)).json("data")
    following = found.get("next_cursor")
    # The same cursor again would be a circle.
    return found["data"], following if following != cursor else None


def follow(
    path: str,
    rules: Rules,
    *,
    until: Callable[[One], object] = is_final,
    on_progress: Callable[[One], object] | None = None,
    on_outage: Outage | None = None,
    hold: float = 0.0,
    timeout: float | None = None,
) -> Steps[One]:
    """What is at this address as soon as ``until`` holds, or it has ended.

    With ``hold`` the server answers when something changes; without, and while a person is to answer, it is asked again
    after `Retry-After`. The first
    answer must come as for any call; after that no outage ends the wait, only ``timeout`` does.

    Raises:
        WaitTimeout: ``timeout`` seconds are over.
        DormouseError: the app refused: it was deleted, or the key is not valid any more.
    """
    if (timeout is not None and timeout < 0) or hold < 0:
        raise InvalidArgument("`timeout` and `hold` are seconds, 0 or more.")
    end = None if timeout is None else rules.clock() + timeout
    reply = yield from call(Request("GET", path), rules)
    seen: One = reply.json("status")
    yield from _told(on_progress, seen)
    failures, may_hold, tag = 0, True, reply.headers.get("etag")
    while not (until(seen) or is_final(seen)):
        # Nobody knows when a person answers: no request is held open for that.
        holding = min(hold, MAX_HOLD_SECONDS) if may_hold and seen["status"] != "requires_action" else 0.0
        if not holding:
            yield from _wait(_gap(seen, reply), end, seen, rules)
        asked = rules.clock()
        left = MAX_HOLD_SECONDS if end is None else max(0.0, end - asked)
        try:
            reply = checked((yield _question(path, tag, min(holding, left))))
            now: One = seen if reply.status == 304 else reply.json("status")
        except DormouseError as error:
            if not is_outage(error):
                raise
            failures += 1
            # The places for waiting requests may be taken; whoever only asks needs none.
            may_hold = not isinstance(error, TooManyRequests)
            pause = min(pause_after(failures, error.retry_after, rules.random()), MAX_PAUSE_SECONDS)
            if on_outage is not None:
                yield CallBack(on_outage, error, pause)
            yield from _wait(pause, end, seen, rules)
            continue
        failures, may_hold, tag = 0, True, reply.headers.get("etag", tag)
        is_new = now != seen
        if is_new:
            yield from _told(on_progress, now)
        seen = now
        if not (until(seen) or is_final(seen)):
            gap = SHORTEST_GAP_AFTER_NEWS_SECONDS if is_new else SHORTEST_GAP_SECONDS
            yield from _wait(max(0.0, gap - (rules.clock() - asked)) if holding else 0.0, end, seen, rules)
    return seen


def _told(callback: Callable[[One], object] | None, value: One) -> Steps[None]:
    if callback is not None:
        yield CallBack(callback, value)


def _question(path: str, tag: str | None, hold: float) -> Request:
    request = Request("GET", path, headers={"If-None-Match": tag} if tag else {})
    return replace(request, query={"wait": whole_seconds(hold)}, hold=hold) if hold > 0 else request


def _gap(seen: Mapping[str, Any], reply: Reply) -> float:
    """Seconds until it is worth asking again."""
    said = reply.retry_after if reply.retry_after is not None else seen.get("retry_after")
    return max(SHORTEST_GAP_SECONDS, float(said)) if isinstance(said, (int, float)) else SHORTEST_GAP_SECONDS


def _wait(seconds: float, end: float | None, seen: Mapping[str, Any], rules: Rules) -> Steps[None]:
    """A pause, but no longer than there is time for. Raises ``WaitTimeout`` when there is none left."""
    left = None if end is None else end - rules.clock()
    if left is not None and left <= 0:
        raise _over(seen)
    if seconds > 0:
        yield Pause(seconds if left is None else min(seconds, left))
    if end is not None and rules.clock() >= end:
        raise _over(seen)


def _over(seen: Mapping[str, Any]) -> WaitTimeout:
    what = seen.get("object", "run")
    return WaitTimeout(f"The {what} {seen.get('id')} has not ended in that time; it goes on. Wait for it again.", seen)
