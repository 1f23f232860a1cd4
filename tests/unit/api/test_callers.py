"""Who a call acts for."""

from __future__ import annotations

import pytest

from shared.api.http import owner_of
from shared.api.openai.http import owner_of_key
from shared.errors import Unauthenticated
from shared.settings import Settings
from tests.unit.api.conftest import request

ON = Settings(auth="appservice", auth_enabled=True)
PRINCIPAL = {"X-MS-CLIENT-PRINCIPAL-ID": "ada", "X-MS-CLIENT-PRINCIPAL-IDP": "aad"}


def test_with_keys_all_callers_are_one_owner_whatever_they_claim() -> None:
    assert owner_of(request(), Settings()) == owner_of(request(headers=PRINCIPAL), Settings())


def test_with_app_service_the_principal_is_the_owner() -> None:
    other = PRINCIPAL | {"X-MS-CLIENT-PRINCIPAL-IDP": "github"}
    assert owner_of(request(headers=PRINCIPAL), ON) == "principal:aad:ada"
    assert owner_of(request(headers=PRINCIPAL), ON) != owner_of(request(headers=other), ON)


@pytest.mark.parametrize(
    ("provider", "principal"), [("key", "ada"), ("", "ada"), ("key:ada", ""), ("", "key:ada"), ("", "function")]
)
def test_an_owner_who_signed_in_is_never_one_with_a_key(provider: str, principal: str) -> None:
    keys = Settings(api_keys="ada:a-secret-of-some-length")
    by_key = owner_of_key(request(headers={"authorization": "Bearer a-secret-of-some-length"}), keys)
    headers = {"x-ms-client-principal-idp": provider, "x-ms-client-principal-id": principal or "x"}
    signed_in = owner_of(request(headers=headers), ON)
    assert len({by_key, signed_in, owner_of(request(), Settings())}) == 3


def test_two_who_signed_in_never_meet_whatever_their_provider_is_called() -> None:
    pairs = [("a", "b:c"), ("a:b", "c"), ("a%3Ab", "c"), ("", "a:b:c")]
    headers = [{"x-ms-client-principal-idp": one, "x-ms-client-principal-id": other} for one, other in pairs]
    assert len({owner_of(request(headers=each), ON) for each in headers}) == len(pairs)


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        (ON, {}),
        (ON, {"X-MS-CLIENT-PRINCIPAL-ID": ""}),
        (ON, {"X-MS-CLIENT-PRINCIPAL-IDP": "aad"}),
        (Settings(auth="appservice"), PRINCIPAL),
    ],
)
def test_without_a_principal_that_can_be_trusted_nobody_is_let_in(settings: Settings, headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        owner_of(request(headers=headers), settings)
