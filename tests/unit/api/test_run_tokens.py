"""Run tokens: what is taken for one, for how long, and what it opens."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from shared.api.run_tokens import MOST_SECONDS, Right, Subject, VerifiedToken, sign, verify
from shared.errors import DormouseError, InvalidToken, TokenExpired, TokensDisabled
from shared.settings import Settings
from tests.parts.cases import cases

SECRET = "a-secret-of-the-tests-" * 3
OTHER = "another-secret-of-the-tests-" * 3
SETTINGS = Settings(run_token_secret=SECRET)
NOW = datetime(2026, 11, 21, 12, 0, 0, 250_000, UTC)
RUN = Subject(id=f"run_{'a' * 32}_1", owner="user:ann@example.com", fingerprint="f" * 32)
ALL = frozenset(Right)


def token(settings: Settings = SETTINGS, seconds: int = 60, label: str | None = None, **changes: str) -> str:
    return sign(settings, replace(RUN, **changes), ALL, seconds, label, NOW).text


def parts(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as anybody can read them."""
    header, claims, _ = text.split(".")
    return decoded(header), decoded(claims)


def decoded(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def checked(text: str, settings: Settings = SETTINGS, *, at: float = 0.0) -> VerifiedToken:
    return verify(settings, text, NOW + timedelta(seconds=at))


def refusal(text: str, settings: Settings = SETTINGS, *, at: float = 0.0) -> DormouseError:
    with pytest.raises(DormouseError) as caught:
        checked(text, settings, at=at)
    return caught.value


def test_a_token_names_its_run_its_rights_and_who_it_is_for() -> None:
    signed = sign(SETTINGS, RUN, frozenset({Right.READ, Right.ANSWER}), 60, "Ann, by mail ✉", NOW)
    assert signed.expires_at == datetime(2026, 11, 21, 12, 1, tzinfo=UTC)
    found = checked(signed.text)
    assert (found.subject_id, found.rights, found.label) == (RUN.id, {"read", "answer"}, "Ann, by mail ✉")
    assert found.opens(RUN)


def test_who_holds_a_token_reads_neither_owner_nor_fingerprint_out_of_it() -> None:
    header, claims = parts(token(label="x"))
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert claims.keys() == {"iss", "aud", "sub", "exp", "bound", "rights", "label"}
    assert "ann" not in json.dumps(claims)
    assert RUN.fingerprint not in json.dumps(claims)


def test_a_token_that_was_read_shows_no_secret_in_a_log() -> None:
    assert SECRET not in repr(checked(token()))


@pytest.mark.parametrize("changed", [{"owner": "user:bob"}, {"fingerprint": "0" * 32}, {"id": f"run_{'a' * 32}_2"}])
def test_a_token_opens_no_other_run_not_even_one_of_the_same_id(changed: dict[str, str]) -> None:
    assert not checked(token()).opens(replace(RUN, **changed))
    assert checked(token(**changed)).opens(replace(RUN, **changed))


def test_it_ends_to_the_second_and_no_leave_is_given() -> None:
    text = token(seconds=60)
    assert checked(text, at=59.74).opens(RUN)
    for later in (59.75, 60.0, 86_400.0):
        assert isinstance(refusal(text, at=later), TokenExpired)
    assert checked(token(seconds=MOST_SECONDS), at=MOST_SECONDS - 1).opens(RUN)


def forged() -> dict[str, str]:
    head, claims, signature = token().split(".")
    more = parts(token())[1] | {"exp": 9_999_999_999}
    none = encoded({"alg": "none", "typ": "JWT"})
    return {
        "nothing": "",
        "words": "let me in",
        "two parts": f"{head}.{claims}",
        "no signature": f"{head}.{claims}.",
        "alg none": f"{none}.{claims}.",
        "alg none, with the signature": f"{none}.{claims}.{signature}",
        "alg None": f"{encoded({'alg': 'None'})}.{claims}.{signature}",
        "other secret": token(Settings(run_token_secret=OTHER)),
        "another algorithm of the same secret": jwt.encode(more, SECRET, algorithm="HS512"),
        "changed claims": f"{head}.{encoded(more)}.{signature}",
        "changed signature": f"{head}.{claims}.{signature[:-4]}AAAA",
        "a key of its own": f"{encoded({'alg': 'HS256', 'jwk': {'kty': 'oct', 'k': 'AAAA'}})}.{claims}.{signature}",
        "critical": jwt.encode(more, SECRET, headers={"crit": ["x"], "x": 1}),
        "too long": token(label="x") + "A" * 4_000,
        "not ASCII": token()[:-1] + "é",
        "half a surrogate pair": token()[:-1] + "\ud800",
        "a line end": token() + "\n",
    }


@cases("kind", forged())
def test_what_this_app_has_not_signed_is_no_token(kind: str) -> None:
    error = refusal(forged()[kind])
    assert type(error) is InvalidToken
    assert error.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}


OURS = parts(token())[1]
LACKING = [{**OURS, name: None} for name in ("iss", "aud", "sub", "exp", "bound", "rights")]


@cases(
    "claims",
    [
        *LACKING,
        *({name: value for name, value in each.items() if value is not None} for each in LACKING),
        {**OURS, "iss": "somebody"},
        {**OURS, "aud": "something"},
        {**OURS, "aud": ["dormouse:shared"]},
        {**OURS, "sub": 1},
        {**OURS, "exp": "9999999999"},
        {**OURS, "exp": 1e99},
        {**OURS, "rights": "read"},
        {**OURS, "bound": ""},
        {},
    ],
)
def test_what_somebody_else_signs_with_the_same_secret_is_no_run_token(claims: dict[str, Any]) -> None:
    # Without the checks that the library makes of what it encodes.
    assert type(refusal(jwt.PyJWS().encode(json.dumps(claims).encode(), SECRET, "HS256"))) is InvalidToken


def test_the_time_of_a_forged_token_is_not_even_looked_at() -> None:
    assert type(refusal(token(Settings(run_token_secret=OTHER)), at=3_600)) is InvalidToken


def test_while_a_secret_is_changed_the_first_signs_and_both_are_taken() -> None:
    both, new = Settings(run_token_secret=f"{OTHER} {SECRET}"), Settings(run_token_secret=OTHER)
    old = token()
    assert checked(old, both).opens(RUN)
    assert checked(token(both), both).opens(RUN)
    assert checked(token(both), new).opens(RUN)
    assert type(refusal(old, new)) is InvalidToken
    assert type(refusal(token(both), SETTINGS)) is InvalidToken
    assert isinstance(refusal(old, both, at=60), TokenExpired)


def test_without_a_secret_nothing_is_signed_and_nothing_taken() -> None:
    with pytest.raises(TokensDisabled):
        sign(Settings(), RUN, ALL, 60, None, NOW)
    assert type(refusal(token(), Settings())) is InvalidToken
