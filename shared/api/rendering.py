"""How values look on the wire."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from azurefunctions.extensions.http.fastapi import Response


def json_response(body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Any:
    """A JSON answer that caches revalidate, with a strong ETag of its bytes."""
    content = json.dumps(body, ensure_ascii=False).encode()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Response(
        content=content,
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-cache", "ETag": etag, **(headers or {})},
    )


def time_on_the_wire(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
