"""Who runs the app, and what of their calls is written down."""

from __future__ import annotations

import logging
import re

from starlette.requests import Request

from shared.api.secrets import name_of
from shared.errors import InvalidOperatorKey, NotFound
from shared.runs.log import log
from shared.settings import Settings

HEADER = "x-dormouse-operator-key"

_ADDRESS = re.compile(r"[0-9A-Fa-f.:\[\]]{2,64}", re.ASCII)


def check_operator(request: Request, settings: Settings) -> None:
    """Raise ``NotFound`` while the app has no operator, and ``InvalidOperatorKey`` for a call of anybody else."""
    if not settings.operator_keys:
        raise NotFound
    if name_of(request.headers.get(HEADER, ""), {key: key for key in settings.operator_keys}) is None:
        raise InvalidOperatorKey


def audit(request: Request, action: str, target: str, *, level: int = logging.WARNING) -> None:
    """Write down what an operator has done, to what, and from where: never a key, nor a text."""
    log.log(level, "audit: an operator called from %s: %s %s", _address(request), action, target)


def _address(request: Request) -> str:
    """Where the call came from, as the platform's front end says it, which writes its own at the end."""
    last = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    # A caller may have sent the header where no front end did: no line end, or `%`, gets into the log.
    return last if _ADDRESS.fullmatch(last) else "an unknown address"
