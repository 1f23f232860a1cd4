"""Lists in pages: limit, filters, and a cursor that callers hand back as they got it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from shared.errors import InvalidRequest
from shared.runs.run import Run, RunStatus

DEFAULT_LIMIT = 20
MOST = 100
_CURSOR = re.compile(r"[0-9]{14}:run_[0-9a-f]{32}_[0-9]{1,8}:[0-9a-f]{1,16}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a list call asks for."""

    limit: int
    cursor: str | None
    statuses: frozenset[RunStatus]
    agent: str | None

    def wants(self, run: Run) -> bool:
        """Whether the filters let the run through."""
        return (not self.statuses or run.status in self.statuses) and self.agent in (None, run.agent)


def read_page(request: Any) -> Page:
    """``?limit=&cursor=&status=&agent=``; ``status`` takes several with commas. Raises ``InvalidRequest``."""
    query = request.query_params
    for name in query:
        if name not in ("limit", "cursor", "status", "agent", "code", "clientId"):
            raise InvalidRequest(f"`{name[:80]}` is not a parameter of this list; leave it out.", param=name[:80])
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if re.fullmatch(r"[0-9]{1,3}", limit, re.ASCII) is None or not 1 <= int(limit) <= MOST:
        raise InvalidRequest(f"`limit` is a whole number from 1 to {MOST}.", param="limit")
    cursor = query.get("cursor")
    if cursor is not None and _CURSOR.fullmatch(cursor) is None:
        raise InvalidRequest("`cursor` is none of ours. Take `next_cursor` of the page before.", param="cursor")
    words = [word for word in query.get("status", "").split(",") if word]
    unknown = set(words) - {status.value for status in RunStatus}
    if unknown:
        raise InvalidRequest(f"`status` is one or more of {', '.join(RunStatus)}, with commas.", param="status")
    return Page(
        limit=int(limit), cursor=cursor, statuses=frozenset(map(RunStatus, words)), agent=query.get("agent") or None
    )
