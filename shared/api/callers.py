"""Who calls, and for whom.

An owner's name begins with its kind, so that owners of different kinds never meet: ``function`` for all callers
with a function key, ``user:`` for whom such a caller acts for, ``principal:`` for who has signed in, ``key:`` for a
key of ``DORMOUSE_API_KEYS``.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request

from shared.errors import (
    CrossSite,
    DelegationDisabled,
    DelegationNotAllowed,
    InvalidUser,
    Unauthenticated,
    UserRequired,
)
from shared.settings import Settings

EVERYBODY = "function"
"""The one owner that all callers with a function key share, unless they act for users."""

ON_BEHALF_OF = "Dormouse-On-Behalf-Of"
"""The header that names the user whom a call is for."""

USER_ID = r"[A-Za-z0-9._~@-]{1,128}"
"""What the id of a user may be; ours to compare, never to understand."""

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""The methods that change something."""

_OF_THE_APP = frozenset({"same-origin", "none"})
"""What ``Sec-Fetch-Site`` says of the app's own pages, and of what a person typed (Fetch Metadata, section 2.3)."""


def owner_of(request: Request, settings: Settings, *, needs_user: bool = True) -> str:
    """The owner that a call acts for.

    With function keys all callers are one owner, or each call's is the user that it names. With App Service
    authentication it is the principal, whose header is trusted only where the platform says that it sets it.
    ``needs_user`` is false where the answer is the same for all: an app that wants every call to name its user takes
    such a call without. Raises ``Unauthenticated``, ``CrossSite``, and what is wrong with the header for users.
    """
    if settings.auth == "key":
        user = user_of(request, settings, needs_user=needs_user)
        return EVERYBODY if user is None else user
    # Without the platform's sign-in the header is whatever the caller has sent.
    if not settings.auth_enabled:
        raise Unauthenticated(
            "DORMOUSE_AUTH is `appservice`, but the platform's authentication is off, so nobody can be trusted. "
            "Turn App Service authentication on, or set DORMOUSE_AUTH to `key`."
        )
    principal = request.headers.get("x-ms-client-principal-id")
    if not principal:
        raise Unauthenticated
    refuse_cross_site(request, settings)
    # Whatever DORMOUSE_DELEGATION says: a browser that is signed in must not choose whose runs it sees.
    if ON_BEHALF_OF in request.headers:
        raise DelegationNotAllowed(f"Who signs in acts for nobody else. Leave `{ON_BEHALF_OF}` out.")
    provider = request.headers.get("x-ms-client-principal-idp", "")
    # Quoted: a colon in the provider's name must not make two principals one owner.
    return f"principal:{quote(provider, safe='')}:{principal}"


def user_of(request: Request, settings: Settings, *, may_delegate: bool = True, needs_user: bool = True) -> str | None:
    """``user:<id>`` for the user whom a call with a key is for; None when it names none.

    ``may_delegate`` is whether this caller's key has the right. Raises ``DelegationDisabled``,
    ``DelegationNotAllowed``, ``InvalidUser``, and ``UserRequired`` where a call has to name one.
    """
    given = request.headers.getlist(ON_BEHALF_OF)
    if not given:
        if settings.delegation == "required" and needs_user:
            raise UserRequired
        return None
    if settings.delegation is None:
        raise DelegationDisabled
    if not may_delegate:
        raise DelegationNotAllowed
    # Twice: nobody knows which was meant. Some servers make one header of both, with a comma, which no id has.
    if len(given) > 1 or re.fullmatch(USER_ID, given[0], re.ASCII) is None:
        raise InvalidUser
    return f"user:{given[0]}"


def refuse_cross_site(request: Request, settings: Settings) -> None:
    """Raise ``CrossSite`` for a call that changes something and that a page of another origin sent.

    Browsers say so themselves, and no page can keep them from it: by ``Origin`` with every request that is no GET or
    HEAD (Fetch standard), and by ``Sec-Fetch-Site`` wherever the address is https. ``same-site`` is refused as well:
    it is another host of the same domain, which cookies are sent from too, and which somebody else may run. Who sends
    neither is no browser, and no page can have made it send a cookie.
    """
    if request.method not in CHANGING:
        return
    origins, sites = request.headers.getlist("origin"), request.headers.getlist("sec-fetch-site")
    if origins and settings.origins_allowed.issuperset(origins):
        return
    if not (settings.own_origins.issuperset(origins) and _OF_THE_APP.issuperset(sites)):
        raise CrossSite
