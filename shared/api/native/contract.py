"""``/api/openapi.json``: the contract as a document. ``python -m local.openapi`` writes it."""

from __future__ import annotations

import functools
import gzip
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from shared.api.callers import owner_of
from shared.api.http import Coding, coding_of, not_modified
from shared.api.operations import IF_NONE_MATCH, UNCHANGED, Answer, Parameter, operation
from shared.wiring import App

FILE = Path(__file__).parent.with_name("openapi.json")

ACCEPT_ENCODING = Parameter(
    name="Accept-Encoding",
    place="header",
    text="With `gzip` the document comes compressed, in about a tenth of its bytes.",
    schema={"type": "string"},
    example="gzip",
)


@operation(
    tag="about",
    parameters=(ACCEPT_ENCODING, IF_NONE_MATCH),
    answers={
        200: Answer(
            text="The document, in OpenAPI 3.1.",
            shape={
                "type": "object",
                "required": ["openapi", "info", "paths", "components"],
                "properties": {
                    "openapi": {"type": "string", "description": "The version of OpenAPI that it is written in."},
                    "info": {"type": "object", "description": "The app's name and version."},
                    "paths": {"type": "object", "description": "The operations, by address and method."},
                    "components": {"type": "object", "description": "The shapes that the operations refer to."},
                },
            },
            headers=("ETag", "Vary"),
            sometimes=("Content-Encoding",),
        ),
        304: UNCHANGED,
    },
    acts_for="anybody",
)
def get_openapi(request: Request, app: App) -> Response:
    """Get the contract: this document.

    Made from the code of this very app, so that it holds for the version that answers.
    """
    owner_of(request, app.settings, needs_user=False)
    coding = coding_of(",".join(request.headers.getlist("accept-encoding")))
    content, etag = _document(coding)
    headers = {"Cache-Control": "no-cache", "ETag": etag, "Vary": "Accept-Encoding"}
    if coding == "gzip":
        headers["Content-Encoding"] = coding
    return not_modified(request, Response(content=content, media_type="application/json", headers=headers))


# Read and compressed once: the file is part of the package.
@functools.cache
def _document(coding: Coding) -> tuple[bytes, str]:
    """The bytes, and their tag: a strong one names bytes, so each coding has its own (RFC 9110, section 8.8.3.3)."""
    content = FILE.read_bytes()
    if coding == "gzip":
        content = gzip.compress(content, mtime=0)  # without a time, so that all instances have the same bytes
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
