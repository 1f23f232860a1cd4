"""Run tokens: signed, short-lived, for one run or one batch and for named rights.

A token is a JSON Web Token (RFC 7519) under HS256. It names its run or batch, and holds a code made of that one's owner
and fingerprint: so it dies with its run, and fits no other, whatever id that has. Nothing of a token is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import InvalidToken, TokenExpired, TokensDisabled
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.runs.model.batch import Batch
    from shared.runs.model.run import Run

ALGORITHM = "HS256"
ISSUER = "dormouse"
AUDIENCE = "dormouse:shared"
"""What tells run tokens from whatever else somebody signs with the same secret."""

DEFAULT_SECONDS = 3_600
MOST_SECONDS = 7 * 86_400
"""How long a token is good for whose caller does not say, and the longest that one may be."""

# Three parts of base64url. Ours have some 400 characters, a label of 64 in any script included.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}\.[A-Za-z0-9_-]{1,1500}\.[A-Za-z0-9_-]{1,100}", re.ASCII)


class Right(StrEnum):
    """What a token may be good for."""

    READ = "read"
    """See the run and watch it, or see the batch."""

    ANSWER = "answer"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The run or batch that a token opens."""

    id: str
    owner: str

    fingerprint: str
    """Tells it from any other that ever had its id."""


def subject_of(of: Run | Batch) -> Subject:
    """The run or batch as tokens name it."""
    return Subject(id=of.id, owner=of.request.owner, fingerprint=of.request.fingerprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a run token has opened. A handler that is given none acts for the owner whom the call itself names."""

    by: str
    """Who acts, for what is written down: ``token:<label>``, or ``token`` without one."""

    opens: Callable[[Subject], bool]
    """Whether it is this run or batch that it has opened."""

    viewer: str
    """Whose streams and waiting requests it counts among: those of the run's tokens, never those of its owner."""

    def is_for(self, of: Run | Batch) -> bool:
        """Whether it has opened this run or batch."""
        return self.opens(subject_of(of))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedToken:
    """A token as it is handed out, once."""

    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedToken:
    """A token that this app has signed and that has not expired."""

    subject_id: str
    rights: frozenset[str]

    label: str | None
    """The name that whoever asked for the token gave it."""

    # Never in a line of the log that shows this value.
    bound: str = field(repr=False)
    secret: str = field(repr=False)

    def opens(self, subject: Subject) -> bool:
        """Whether it was made for just this run or batch."""
        return hmac.compare_digest(self.bound, _bound(self.secret, subject))


class _Claims(BaseModel):
    """What a token of ours says."""

    model_config = ConfigDict(strict=True)

    sub: str
    exp: int
    bound: str = Field(pattern=r"^[0-9a-f]{32}$")
    rights: list[str]
    label: str | None = None


def check_enabled(settings: Settings) -> None:
    """Raises ``TokensDisabled`` where nothing can be signed."""
    if not settings.run_token_secrets:
        raise TokensDisabled


def sign(
    settings: Settings, subject: Subject, rights: frozenset[Right], seconds: int, label: str | None, now: datetime
) -> SignedToken:
    """A token for this run or batch. Raises ``TokensDisabled``."""
    # Imported late: it brings a library of ciphers, which liveness and most calls never need.
    import jwt

    check_enabled(settings)
    secret = settings.run_token_secrets[0]
    expires = int(now.timestamp()) + seconds
    claims: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject.id,
        "exp": expires,
        "bound": _bound(secret, subject),
        "rights": sorted(rights),
    }
    if label is not None:
        claims["label"] = label
    text = jwt.encode(claims, secret, algorithm=ALGORITHM)
    return SignedToken(text=text, expires_at=datetime.fromtimestamp(expires, UTC))


def verify(settings: Settings, token: str, now: datetime) -> VerifiedToken:
    """The token, if it is one of ours and good at that time. Raises ``InvalidToken``, ``TokenExpired``.

    Which run it opens, and for what, is still to be asked.
    """
    if _TOKEN.fullmatch(token) is None:
        raise InvalidToken(headers=_CHALLENGE)
    for secret in settings.run_token_secrets:
        claims = _claims(token, secret)
        if claims is not None:
            # To the second, and without leave for clocks that differ: it is this app that has set the time.
            if claims.exp <= now.timestamp():
                raise TokenExpired(headers=_CHALLENGE)
            return VerifiedToken(
                subject_id=claims.sub,
                rights=frozenset(claims.rights),
                label=claims.label,
                bound=claims.bound,
                secret=secret,
            )
    raise InvalidToken(headers=_CHALLENGE)


_CHALLENGE = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
"""For a token that is refused (RFC 6750, section 3.1)."""


def _claims(token: str, secret: str) -> _Claims | None:
    """What the token says, if it was signed with this secret and is a run token; else None."""
    import jwt

    try:
        given = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],  # never what the token itself names: `none` would be its choice, too
            issuer=ISSUER,
            audience=AUDIENCE,
            # The library would ask its own clock, and the app's time is passed in.
            options={"require": ["iss", "aud", "sub", "exp"], "verify_exp": False, "strict_aud": True},
        )
        return _Claims.model_validate(given)
    except (jwt.InvalidTokenError, ValidationError):
        return None


def _bound(secret: str, subject: Subject) -> str:
    """A code that fits this run or batch alone.

    Under the secret, since a token can be read by who holds it: a bare hash would let them try names of owners.
    """
    named = json.dumps([subject.id, subject.owner, subject.fingerprint]).encode()
    return hmac.new(secret.encode(), named, hashlib.sha256).hexdigest()[:32]
