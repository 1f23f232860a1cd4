"""What no trigger takes."""

from __future__ import annotations

from typing import Any

import pytest

import function_app
from shared.api import routing
from shared.api.routing import not_found
from tests.unit.api.conftest import content, request

RUN = f"run_{'0a' * 16}_1"

assert function_app.app, "it has bound its routes"


def asked(method: str, path: dict[str, str]) -> Any:
    given = request(path=path)
    given.scope["method"] = method
    return given


@pytest.mark.parametrize(
    ("rest", "allow"),
    [
        ("runs", "GET, HEAD, POST"),
        ("runs/", "GET, HEAD, POST"),
        ("RUNS", "GET, HEAD, POST"),
        (f"runs/{RUN}", "GET, HEAD, DELETE"),
        (f"runs/{RUN.upper()}", "GET, HEAD, DELETE"),
        (f"runs/{RUN}/cancel", "POST"),
        (f"runs/{RUN}/answers", "POST"),
        (f"sessions/{'0a' * 16}", "GET, HEAD, DELETE"),
        ("agents", "GET, HEAD"),
        ("webhooks/openai", "POST"),
        ("health", "GET, HEAD"),
        ("health/deep", "GET, HEAD"),
    ],
)
def test_a_known_address_with_another_method_is_405_and_says_which(rest: str, allow: str) -> None:
    response = not_found(asked("PUT", {"rest": rest}))
    assert (response.status_code, response.headers["allow"]) == (405, allow)
    assert content(response)["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "rest",
    [None, "run", "runs/x", f"runs/{RUN}0000000000", f"runs/{RUN}/cancel/x", f"runs/{RUN}\n", "sessions/x", "ünter"],
)
def test_any_other_address_is_404(rest: str | None) -> None:
    response = not_found(asked("PUT", {} if rest is None else {"rest": rest}))
    assert (response.status_code, content(response)["code"]) == (404, "not_found")
    assert "allow" not in response.headers


@pytest.mark.parametrize(("method", "rest"), [("GET", f"runs/{RUN}/"), ("POST", "runs/"), ("DELETE", f"runs/{RUN}/")])
def test_an_address_is_never_told_to_be_asked_with_the_method_that_it_was_asked_with(method: str, rest: str) -> None:
    response = not_found(asked(method, {"rest": rest}))
    assert (response.status_code, content(response)["code"]) == (404, "not_found")
    assert "allow" not in response.headers


def test_a_dot_in_an_address_is_a_dot() -> None:
    assert not_found(asked("PUT", {"rest": "openapi.json"})).status_code == 405
    assert not_found(asked("PUT", {"rest": "openapi-json"})).status_code == 404


def test_a_route_is_found_by_its_pattern_once_it_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "ROUTES", {})
    routing.add("api/a.b/{x:regex(^[0-9]{{2}}$)}/{y:regex(^c$)}", ["POST"])
    routing.add("api/a.b/{x:regex(^[0-9]{{2}}$)}/{y:regex(^c$)}", ["HEAD", "GET"])
    routing.add("api/{*rest:regex(^.*$)}", ["PUT"])
    assert {r"api/a\.b/[0-9]{2}/c": {"GET", "HEAD", "POST"}} == routing.ROUTES
    assert routing.methods_of("a.b/12/c/") == ("GET", "HEAD", "POST")
    assert routing.methods_of("a.b/123/c") == routing.methods_of("x") == ()
