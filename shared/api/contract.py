"""``/api/openapi.json``: the contract as a document. ``python -m local.openapi`` writes it."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from azurefunctions.extensions.http.fastapi import Response

from shared.api.callers import owner_of
from shared.api.conditions import not_modified
from shared.wiring import App

FILE = Path(__file__).with_name("openapi.json")


def show(request: Any, app: App) -> Any:
    """``GET /api/openapi.json``: OpenAPI 3.1; 304 for a caller who has it."""
    owner_of(request, app.settings)
    content, etag = _document()
    headers = {"Cache-Control": "no-cache", "ETag": etag}
    return not_modified(request, Response(content=content, media_type="application/json", headers=headers))


@functools.cache
def _document() -> tuple[bytes, str]:
    content = FILE.read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
