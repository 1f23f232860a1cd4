"""``/api/openapi.json``: the contract as a document. ``python -m local.openapi`` writes it."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from shared.api.callers import owner_of
from shared.api.http import not_modified
from shared.api.operations import IF_NONE_MATCH, UNCHANGED, Answer, operation
from shared.wiring import App

FILE = Path(__file__).parent.with_name("openapi.json")


@operation(
    tag="about",
    parameters=(IF_NONE_MATCH,),
    answers={
        200: Answer(text="OpenAPI 3.1.", shape={"type": "object", "required": ["openapi"]}, headers=("ETag",)),
        304: UNCHANGED,
    },
    acts_for="anybody",
)
def get_openapi(request: Request, app: App) -> Response:
    """The contract: this document."""
    owner_of(request, app.settings, needs_user=False)
    content, etag = _document()
    headers = {"Cache-Control": "no-cache", "ETag": etag}
    return not_modified(request, Response(content=content, media_type="application/json", headers=headers))


# Read once: the file is part of the package.
@functools.cache
def _document() -> tuple[bytes, str]:
    content = FILE.read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
