"""What no route matches: 404, or 405 with ``Allow``. The host's own 404 is empty, for wrong methods too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from shared.api.http import problem
from shared.errors import DormouseError, MethodNotAllowed, NotFound

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

ROUTES: dict[str, set[str]] = {}
"""The methods of each address that has a trigger, by its pattern. Filled by ``add`` while the triggers are bound."""

NOTHING_THERE = ("api/v1",)
"""Templates of triggers that only say, in the shape of what is below them, that there is nothing."""

# In a template of the host `{{` and `}}` stand for single braces.
_PARAMETER = re.compile(r"\{\w+:regex\(\^((?:\{\{|\}\}|[^{}])*)\$\)\}")


def add(template: str, methods: Iterable[str]) -> None:
    """Note that a trigger has this route: a template of the host. Catch-alls and the page are no such address."""
    if template.startswith("api/") and "{*" not in template and template not in NOTHING_THERE:
        ROUTES.setdefault(_pattern(template), set()).update(methods)


def not_found(request: Request) -> Response:
    """The problem for an address that no trigger took."""
    return problem(refusal(other_methods(request, request.path_params.get("rest", "")), NotFound()))


def refusal(methods: Sequence[str], unknown: DormouseError) -> DormouseError:
    """What is wrong with a call of an address that takes these methods, but not its own; ``unknown`` without any."""
    if not methods:
        return unknown
    allow = ", ".join(methods)
    return MethodNotAllowed(f"This address takes {allow}.", headers={"Allow": allow})


def other_methods(request: Request, rest: str) -> tuple[str, ...]:
    """The methods of an address below ``api/`` that was asked for with none of them; none for one that is not ours.

    An address that is only like one of ours, as with two slashes after it, comes here with the right method, too.
    """
    methods = methods_of(rest)
    return () if request.method in methods else methods


def methods_of(rest: str) -> tuple[str, ...]:
    """The methods of an address below ``api/``; none for one that is not ours."""
    # The host's routing ignores a slash at the end, and case.
    address = f"api/{rest.rstrip('/')}"
    for pattern, methods in ROUTES.items():
        if re.fullmatch(pattern, address, re.ASCII | re.IGNORECASE):
            return tuple(method for method in METHODS if method in methods)
    return ()


def _pattern(template: str) -> str:
    """The template as a regular expression; each of its parameters has a `regex` of its own."""
    pattern, end = "", 0
    for parameter in _PARAMETER.finditer(template):
        pattern += re.escape(template[end : parameter.start()])
        pattern += parameter[1].replace("{{", "{").replace("}}", "}")
        end = parameter.end()
    return pattern + re.escape(template[end:])
