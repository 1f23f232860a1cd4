"""The contract as it is served."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from shared.api.native import contract
from shared.errors import Unauthenticated
from shared.settings import Settings
from tests.unit.api.conftest import content, request


def app(**settings: Any) -> Any:
    return SimpleNamespace(settings=Settings(**settings))


def test_the_contract_is_served_as_the_file_has_it() -> None:
    response = contract.get_openapi(request(), app())
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.body == contract.FILE.read_bytes()
    assert content(response)["openapi"] == "3.1.0"


def test_who_has_it_gets_no_second_copy() -> None:
    etag = contract.get_openapi(request(), app()).headers["etag"]
    again = contract.get_openapi(request(headers={"If-None-Match": etag}), app())
    assert (again.status_code, again.body, again.headers["etag"]) == (304, b"", etag)
    assert again.headers["cache-control"] == "no-cache"


def test_it_is_for_those_who_may_call() -> None:
    with pytest.raises(Unauthenticated):
        contract.get_openapi(request(), app(auth="appservice", auth_enabled=True))
