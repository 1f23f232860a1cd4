"""``/ui``: the page. The files of ``web/``, as they are but for the placeholders of ``index.html``.

All but the index are below ``/ui/assets/<hash>/``, with one hash over all files: modules import one another by relative
addresses, and a new version of one is a new address of all. Browsers keep them for good, and ask for the index alone.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import html
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from shared import settings
from shared.api.http import Coding, answered_as, coding_of, not_modified
from shared.errors import DormouseError, MethodNotAllowed, NotFound
from shared.settings import Settings

FOLDER = Path(__file__).parents[2] / "web"
INDEX = "index.html"
FIRST = "app.js"
"""The module that the index begins with."""
CONTRACT = Path(__file__).with_name("openapi.json")
ROOT = "/ui/"
ASSETS = "assets/"
"""Where all but the index is, below ``/ui/``."""

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
"""What is served, by the end of its name: what else lies in the folder is not for the web."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Code and requests of this origin alone, none in the markup, no text that becomes markup, and no frame around it."""

FOR_ALL = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
FOR_DOCUMENTS = {
    **FOR_ALL,
    "Content-Security-Policy": POLICY,
    # The address of a run, or of a tool's web page, is nobody else's business.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""What is opened in a tab has these; for what a document loads, the document's own count (CSP 3, section 4.1)."""

DOCUMENT_TYPES = ("text/html", "image/svg+xml")
"""An SVG image is a document when somebody opens its address."""

FOR_GOOD = "public, max-age=31536000, immutable"
# Kept, but never used without asking.
ASKED_FOR = "no-cache"

_ASSET = re.compile(r"assets/([^/]+)/(.+)", re.DOTALL)
_IMPORT = re.compile(r'^(?:import|export)\s[^"=;]*?\bfrom "(\.[^"]+)"|^import "(\.[^"]+)"', re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _File:
    """What is sent for one file, as it is and compressed."""

    media_type: str
    forms: Mapping[Coding, tuple[bytes, str]]
    """The bytes and their tag. A strong one names bytes, so each coding has its own (RFC 9110, section 8.8.3.3)."""

    @classmethod
    def of(cls, content: bytes, media_type: str) -> _File:
        # Without a time, so that all instances have the same bytes and therefore the same tags.
        forms: dict[Coding, bytes] = {"identity": content, "gzip": gzip.compress(content, 9, mtime=0)}
        tagged = {coding: (each, f'"{hashlib.sha256(each).hexdigest()[:32]}"') for coding, each in forms.items()}
        return cls(media_type, tagged)


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    """All files of the page, by their paths in the folder, and the hash over them."""

    files: Mapping[str, _File]
    index: str
    modules: tuple[str, ...]
    """Those that every visit needs."""
    hash: str


def _sentence(error: DormouseError) -> Response:
    """An error for a person who opened an address: one sentence."""
    content = f"{error.message}\n".encode("utf-8", "replace")
    headers = {**FOR_DOCUMENTS, "Cache-Control": "no-store", **error.headers}
    return Response(content, error.status, headers, media_type="text/plain")


answered_to_reader = answered_as(_sentence)
"""``answered``, for a person who opens addresses: an error is a sentence."""


def lead_to_page(request: Request) -> Response:
    """``/``: on to ``/ui/``. Raises ``MethodNotAllowed``."""
    _only_read(request)
    # What stands behind the `#` goes along: a browser keeps it.
    return Response(status_code=302, headers={**FOR_DOCUMENTS, "Location": ROOT, "Cache-Control": ASKED_FOR})


def get_start(request: Request) -> Response:
    """``/ui/``, and ``/ui``, which leads there: the host gives both to one trigger. Raises ``MethodNotAllowed``."""
    return get_page(request) if request.url.path.endswith("/") else lead_to_page(request)


def get_page(request: Request) -> Response:
    """``/ui/`` and all below: a file of the page, or the index for whatever may be one of its views.

    Raises ``NotFound`` for what can be neither, and ``MethodNotAllowed``.
    """
    _only_read(request)
    path = request.path_params.get("rest", "")
    given = settings.load()
    page = _page(_stamp() if _is_developers(given) else ())
    if found := _ASSET.fullmatch(path):
        file = page.files.get(found[2])
        if file is None:
            raise NotFound("The page has no such file. Its start is /ui/.")
        # Another hash is that of another version, while one takes the place of the other: its index has been read
        # already, and what this version has for it is better than nothing, but not for good.
        return _answer(request, file, FOR_GOOD if found[1] == page.hash else ASKED_FOR)
    if "." in path or path.lower().startswith(ASSETS):
        raise NotFound("There is no such file. The page is /ui/.")
    return _answer(request, _rendered(page, given.auth, given.sign_in_path), ASKED_FOR)


def _only_read(request: Request) -> None:
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed("The page is only read: this address takes GET, HEAD.", headers={"Allow": "GET, HEAD"})


def _answer(request: Request, file: _File, cache: str) -> Response:
    coding = coding_of(",".join(request.headers.getlist("accept-encoding")))
    content, etag = file.forms[coding]
    headers = dict(FOR_DOCUMENTS if file.media_type.startswith(DOCUMENT_TYPES) else FOR_ALL)
    headers |= {"Cache-Control": cache, "ETag": etag, "Vary": "Accept-Encoding", "Content-Type": file.media_type}
    if coding == "gzip":
        headers["Content-Encoding"] = coding
    return not_modified(request, Response(content, headers=headers))


# --- the files ---


def _is_developers(given: Settings) -> bool:
    """Whether this runs on a developer's machine, where the files change while it does."""
    return given.site_hostname is None or given.site_hostname.startswith("localhost")


def _paths() -> list[Path]:
    """The files that are served, and the index; in order. No links: they may lead out of the folder."""
    found = [each for each in FOLDER.rglob("*") if each.suffix in TYPES or each == FOLDER / INDEX]
    return sorted(each for each in found if each.is_file() and not each.is_symlink() and not each.name.startswith("."))


def _stamp() -> tuple[tuple[str, int, int], ...]:
    """What is another as soon as a file is."""
    return tuple((str(each), each.stat().st_mtime_ns, each.stat().st_size) for each in _paths())


# At the first request for the page, so that a start of the app for anything else pays nothing for it.
@functools.lru_cache(maxsize=1)
def _page(_: object) -> _Page:
    """All files, read and compressed; again only when the stamp is another. Raises ``NotFound`` without an index."""
    contents = {each.relative_to(FOLDER).as_posix(): each.read_bytes() for each in _paths()}
    if INDEX not in contents:
        raise NotFound("This app was deployed without the page: the folder web/ is not there.")
    digest = hashlib.sha256()
    for path, content in contents.items():
        for part in (path.encode(), content):
            # With its length: else text could move from one part to the next without changing the hash.
            digest.update(len(part).to_bytes(8, "big") + part)
    index = contents.pop(INDEX).decode("utf-8")
    files = {path: _File.of(content, TYPES[Path(path).suffix]) for path, content in contents.items()}
    return _Page(files, index, _modules(contents), digest.hexdigest()[:16])


def _modules(contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """The first module and all that it imports, and these import; not what is loaded on demand, by `import()`."""
    found: dict[str, None] = {}
    left = [FIRST]
    while left:
        path = left.pop()
        if path in found or path not in contents:
            continue
        found[path] = None
        names = (match[1] or match[2] for match in _IMPORT.finditer(contents[path].decode("utf-8", "replace")))
        left += [posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) for name in names]
    return tuple(sorted(found))


@functools.lru_cache(maxsize=1)
def _rendered(page: _Page, auth: str, login: str) -> _File:
    """The index with its placeholders filled. One that it does not know stays as it is."""
    prefix = f"{ROOT}{ASSETS}{page.hash}"
    modules = [html.escape(f"{prefix}/{path}") for path in page.modules]
    values = {
        "assets": html.escape(prefix),
        "auth": html.escape(auth),
        "login": html.escape(login),
        "version": html.escape(_version()),
        # All at once: else the browser would learn of each module only from the one that imports it.
        "preload": "\n    ".join(f'<link rel="modulepreload" href="{each}" />' for each in modules),
    }
    filled = _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), page.index)
    return _File.of(filled.encode(), "text/html; charset=utf-8")


def _version() -> str:
    """The version of the app: the contract begins with it."""
    with CONTRACT.open(encoding="utf-8") as file:
        found = re.search(r'"version": "([^"]*)"', file.read(1_000))
    return found[1] if found else ""
