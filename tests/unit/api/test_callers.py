"""Who a call acts for."""

from __future__ import annotations

import pytest

from shared.api.callers import owner_of
from shared.errors import Unauthenticated
from shared.settings import Settings
from tests.unit.api.conftest import request

ON = Settings(auth="appservice", auth_enabled=True)
PRINCIPAL = {"X-MS-CLIENT-PRINCIPAL-ID": "ada", "X-MS-CLIENT-PRINCIPAL-IDP": "aad"}


def test_with_keys_all_callers_are_one_owner_whatever_they_claim() -> None:
    assert owner_of(request(), Settings()) == owner_of(request(headers=PRINCIPAL), Settings())


def test_with_app_service_the_principal_is_the_owner() -> None:
    other = PRINCIPAL | {"X-MS-CLIENT-PRINCIPAL-IDP": "github"}
    assert owner_of(request(headers=PRINCIPAL), ON) == "aad:ada"
    assert owner_of(request(headers=PRINCIPAL), ON) != owner_of(request(headers=other), ON)


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
