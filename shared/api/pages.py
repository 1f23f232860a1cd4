"""Lists in pages: limit, filters, and a cursor that callers hand back as they got it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from starlette.datastructures import QueryParams
from starlette.requests import Request

from shared.errors import InvalidRequest
from shared.runs.model.phases import RunStatus
from shared.runs.queries.runs import RunFilter

DEFAULT_LIMIT = 20
MOST = 100
# Checked strictly, since it becomes the key at which a query begins.
# After `~`: where the service itself goes on, while a filter has found nothing. Whoever makes one up sees their own
# list all the same, since the query names it.
_SCAN = "~[A-Za-z0-9_-]{1,1200}"
RUN_CURSOR = re.compile(rf"(?:[0-9]{{14}}:run_[0-9a-f]{{32}}_[0-9]{{1,8}}:[0-9a-f]{{1,16}}|{_SCAN})", re.ASCII)
BATCH_CURSOR = re.compile(rf"(?:[0-9]{{14}}:batch_[0-9a-f]{{32}}:[0-9a-f]{{1,16}}|{_SCAN})", re.ASCII)

Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a list of runs asks for."""

    limit: int
    cursor: str | None
    wanted: RunFilter


def read_page(request: Request) -> Page:
    """``?limit=&cursor=&status=&agent=``; ``status`` takes several. Raises ``InvalidRequest``."""
    query = query_of(request, "limit", "cursor", "status", "agent")
    return Page(
        limit=limit_of(query),
        cursor=cursor_of(query, RUN_CURSOR),
        wanted=RunFilter(statuses=statuses_of(query, RunStatus), agent=query.get("agent") or None),
    )


def query_of(request: Request, *allowed: str) -> QueryParams:
    """The query parameters. Raises ``InvalidRequest`` for one that is neither allowed nor the platform's."""
    query = request.query_params
    for name in query:
        # A function key may come in the query, as `code` with `clientId`; the host leaves both there.
        if name not in (*allowed, "code", "clientId"):
            raise InvalidRequest(f"`{name[:80]}` is not a parameter of this list; leave it out.", param=name[:80])
    return query


def limit_of(query: Mapping[str, str]) -> int:
    """``?limit=``: how much a page may hold. Raises ``InvalidRequest``."""
    limit = query.get("limit", str(DEFAULT_LIMIT))
    # By a pattern: `int` also takes signs, blanks, underscores and digits of other scripts.
    if re.fullmatch(r"[0-9]{1,3}", limit, re.ASCII) is None or not 1 <= int(limit) <= MOST:
        raise InvalidRequest(f"`limit` is a whole number from 1 to {MOST}.", param="limit")
    return int(limit)


def cursor_of(query: Mapping[str, str], pattern: re.Pattern[str]) -> str | None:
    """``?cursor=``, which has to fit the pattern; None: the first page. Raises ``InvalidRequest``."""
    cursor = query.get("cursor")
    if cursor is not None and pattern.fullmatch(cursor) is None:
        raise not_a_cursor()
    return cursor


def not_a_cursor() -> InvalidRequest:
    """What is said of a cursor that no page gave out."""
    return InvalidRequest("`cursor` is none of ours. Take `next_cursor` of the page before.", param="cursor")


def statuses_of(query: QueryParams, kind: type[Word]) -> frozenset[Word]:
    """``?status=``, one or more, repeated or with commas; none: all of them. Raises ``InvalidRequest``."""
    # Generated clients repeat it, and of what is repeated a mapping has the last alone.
    words = {word for each in query.getlist("status") for word in each.split(",") if word}
    if words - {status.value for status in kind}:
        raise InvalidRequest(f"`status` is one or more of {', '.join(kind)}, repeated or with commas.", param="status")
    return frozenset(kind(word) for word in words)
