"""What a provider wrote, made fit for the log (no secrets) and for callers (no internal addresses either). Pure.

Patterns find what looks like it, no more: where the whole text could be a secret, callers get a sentence of ours.
"""

from __future__ import annotations

import ipaddress
import re

HIDDEN = "[hidden]"
ADDRESS = "[address]"
MAX_READ = 4_000
MAX_TEXT = 1_000
MAX_CODE = 64

_SECRET = re.compile(
    r"""
      \b(?:bearer|basic|sharedkey)\s+(?!(?:token|auth)\w*\b)[^\s,;"'<>]+
    | \beyJ[\w-]{8,}(?:\.[\w-]+){0,4}                                   # a JSON Web Token
    | \b(?:sk|rk|pk|whsec)[-_][\w*.-]{5,}[\w*] | \b(?:org-|proj_)\w{8,}      # what OpenAI gives out, masked or not
    | (?<![\w-])[0-9a-f]{32}(?:[0-9a-f]{8}|[0-9a-f]{32})?(?![\w-])      # a key of Azure
    | (?<![\w.+/-])(?=[^\W\d]*\d)[\w+/]{40,}={0,2}(?![\w-])                # random, and long
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NAMED = re.compile(
    r"""
    ( (?:api[-_ ]?key|account[-_]?key|access[-_]?key|functions-key|secret|passw(?:or)?d|pwd|authorization
      |signature|credential|token|\bsig) (?:\s\w{1,20}){0,2} ["']?\s{0,3}(?:=|:(?!//)|%3d)\s{0,3}["']? )
    (?!\[hidden) [^\s"'&;,<>]+
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""What follows a name that says so: `api_key=…`, `Incorrect API key provided: …`, `AccountKey=…;`."""

_SIGNED = re.compile(r"\b(?:sv|sig|se|st|sp|spr|sr|skoid|code)=[^\s&\"'<>]+(?:&(?:amp;)?[\w-]{1,40}=[^\s&\"'<>]*)*")
"""A signature of Azure Storage, or a function key, with its neighbours in the query."""

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>]+", re.IGNORECASE)
_IP4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?!\.?\w)")
_IP6 = re.compile(r"(?<![\w:.])\[?((?:[0-9a-f]{0,4}:){2,7}[0-9a-f.]{0,15})\]?(?::\d{1,5})?", re.IGNORECASE)
_NAME = re.compile(
    r"""
      \blocalhost(?::\d{1,5})?\b
    | (?<![\w-])[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}
      \.(?:internal|local|localdomain|lan|corp|intranet|svc|cluster|privatelink)(?:\.[\w-]{1,63}){0,8}(?::\d{1,5})?\b
    | (?<![\w-])[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}:\d{2,5}\b     # a host with a port
    | (?<![\w-])[a-z][\w-]{1,62}:\d{4,5}\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/ -]*", re.ASCII)


def without_secrets(text: str) -> str:
    """The text, cut to size, without what looks like keys, tokens, signatures and passwords: fit for the log."""
    # Cut first: a provider's text has no bound, and the patterns hold the event loop while they run.
    text = _URL.sub(lambda found: _without_user(found[0]), text[:MAX_READ])
    # Signatures first: the value of one looks like any random text, and the rest of its query would be left.
    for pattern in (_SIGNED, _SECRET):
        text = pattern.sub(HIDDEN, text)
    return _NAMED.sub(rf"\1{HIDDEN}", text)


def for_callers(text: str, *, most: int = MAX_TEXT) -> str:
    """The text as callers may read it: without secrets, without queries of URLs, and without internal addresses."""
    text = _URL.sub(lambda found: _public_url(found[0]), without_secrets(text))
    text = _IP6.sub(lambda found: ADDRESS if _is_ip(found[1]) else found[0], _IP4.sub(ADDRESS, text))
    text = _NAME.sub(ADDRESS, text)
    return text if len(text) <= most else text[: most - 1] + "…"


def plain_code(code: object, otherwise: str = "provider_error") -> str:
    """A provider's code, type or status as a word for callers; ``otherwise`` for what is none, or no plain one."""
    text = "" if code is None else str(code)
    plain = len(text) <= MAX_CODE and _CODE.fullmatch(text) is not None and for_callers(text) == text
    return text if plain else otherwise


def _without_user(url: str) -> str:
    # Proxies are often configured with a password: ``http://user:password@proxy``.
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _public_url(url: str) -> str:
    """The URL without query and fragment; no more than that it was one, where its host is not a public name."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    host = re.split(r"[/:\\]", bare.partition("://")[2], maxsplit=1)[0].strip("[].,;)}").lower()
    internal = "." not in host or _is_ip(host) or _NAME.fullmatch(host) is not None
    return ADDRESS if internal or "[" in bare.partition("://")[2].split("/")[0] else bare


def _is_ip(text: str) -> bool:
    try:
        # The pattern may take the full stop of a sentence with it.
        ipaddress.ip_address(text.rstrip("."))
    except ValueError:
        return False
    return True
