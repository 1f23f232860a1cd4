"""``/api/shared``: what a call's token lets it do, and which pages of other origins may read the answer."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from shared.api import routing
from shared.api.by_token.access import IN_A_QUERY, access
from shared.api.by_token.origins import answered_to_pages
from shared.api.by_token.routes import shared_not_found
from shared.api.http import json_response
from shared.api.run_tokens import Right, Subject, sign
from shared.errors import (
    DormouseError,
    InvalidToken,
    NotFound,
    RunNotFound,
    TokenInQuery,
    TokenRequired,
    TokenRightMissing,
)
from shared.settings import Settings
from tests.unit.api.conftest import content, request

PAGE = "https://app.example.com"
SETTINGS = Settings(run_token_secret="a-secret-of-the-tests-0123456789abcdef", allowed_origins=PAGE)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RUN = Subject(id=f"run_{'a' * 32}_1", owner="function", fingerprint="f" * 32)


def app(settings: Settings = SETTINGS) -> Any:
    return SimpleNamespace(settings=settings, ports=SimpleNamespace(clock=lambda: NOW))


def token(*rights: Right, label: str | None = None) -> str:
    return sign(SETTINGS, RUN, frozenset(rights or Right), 60, label, NOW).text


def opened(header: str | None, *, right: Right = Right.READ, run: str = RUN.id, query: str = "", of: Any = None) -> Any:
    asked = request(headers={} if header is None else {"authorization": header})
    asked.scope["query_string"] = query.encode()
    return access(asked, of or app(), run, right, RunNotFound)


def refused(*given: Any, **more: Any) -> DormouseError:
    with pytest.raises(DormouseError) as caught:
        opened(*given, **more)
    return caught.value


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_a_token_lets_who_has_it_do_what_it_says(scheme: str) -> None:
    found = opened(f"{scheme} {token(label='Ann')}")
    assert found.by == "token:Ann"
    assert found.opens(RUN)
    assert opened(f"Bearer {token()}").by == "token"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic YTpi", "token abc"])
def test_without_one_the_answer_says_which_kind_is_wanted(header: str | None) -> None:
    error = refused(header)
    assert type(error) is TokenRequired
    assert error.headers == {"WWW-Authenticate": "Bearer"}


def test_a_token_without_the_scheme_is_asked_for_again() -> None:
    assert type(refused(token())) is TokenRequired
    assert type(refused(f"Bearer Bearer {token()}")) is InvalidToken


@pytest.mark.parametrize("right", Right)
def test_a_right_that_it_lacks_is_named(right: Right) -> None:
    error = refused(f"Bearer {token(*(frozenset(Right) - {right}))}", right=right)
    assert type(error) is TokenRightMissing
    assert f"`{right}`" in error.message
    assert opened(f"Bearer {token(right)}", right=right).opens(RUN)


def test_another_runs_token_finds_nothing_whatever_its_rights() -> None:
    assert type(refused(f"Bearer {token(Right.READ)}", run=f"run_{'a' * 32}_2", right=Right.CANCEL)) is RunNotFound


@pytest.mark.parametrize("name", [*sorted(IN_A_QUERY), "Access_Token", "TOKEN"])
def test_a_token_in_the_address_is_refused_even_beside_one_in_the_header(name: str) -> None:
    for header in (None, f"Bearer {token()}"):
        error = refused(header, query=f"wait=5&{name}={token()}")
        assert type(error) is TokenInQuery
        assert "eyJ" not in error.message


def test_an_app_without_a_secret_has_no_such_addresses() -> None:
    for header in (None, f"Bearer {token()}"):
        assert type(refused(header, of=app(Settings()))) is NotFound
    with pytest.raises(NotFound, match="DORMOUSE_RUN_TOKEN_SECRET"):
        shared_not_found(request(path={"rest": "x"}), app(Settings()))


async def answer(method: str, rest: str, settings: Settings = SETTINGS, **headers: str) -> Any:
    """What the catch-all answers."""

    @answered_to_pages(settings.origins_allowed)
    async def handler(req: Any) -> Any:
        return shared_not_found(req, app(settings))

    asked = request(headers={name.replace("_", "-"): value for name, value in headers.items()}, path={"rest": rest})
    asked.scope["method"] = method
    return await handler(asked)


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "ROUTES", {})
    routing.add("api/shared/thing", ["GET", "HEAD"])
    routing.add("api/shared/thing/answers", ["POST"])


ASKS = {"access_control_request_method": "GET", "access_control_request_headers": "authorization"}


@pytest.mark.usefixtures("routes")
@pytest.mark.parametrize(
    ("rest", "methods"), [("thing", "GET, HEAD"), ("thing/answers", "POST"), ("THING/", "GET, HEAD")]
)
async def test_a_preflight_of_a_page_that_is_named_says_what_it_may_send(rest: str, methods: str) -> None:
    response = await answer("OPTIONS", rest, origin=PAGE, **ASKS)
    assert (response.status_code, response.body) == (204, b"")
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["access-control-allow-methods"] == methods
    allowed = {name.strip() for name in response.headers["access-control-allow-headers"].split(",")}
    assert allowed >= {"Authorization", "Content-Type", "Last-Event-ID", "If-None-Match", "Idempotency-Key"}
    assert int(response.headers["access-control-max-age"]) > 0
    assert response.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in response.headers


FOREIGN = ["https://evil.example", f"{PAGE}.evil.example", f"{PAGE}:444", PAGE.replace("https", "http"), "null", "",
           f"{PAGE}/", PAGE.upper(), f"{PAGE}, https://evil.example"]  # fmt: skip


@pytest.mark.usefixtures("routes")
@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_that_is_not_named_is_told_why_and_given_no_header(origin: str) -> None:
    response = await answer("OPTIONS", "thing", origin=origin, **ASKS)
    assert (response.status_code, content(response)["code"]) == (403, "origin_not_allowed")
    assert "DORMOUSE_ALLOWED_ORIGINS" in content(response)["detail"]
    assert "access-control-allow-origin" not in response.headers
    assert "access-control-allow-methods" not in response.headers
    assert response.headers["vary"] == "Origin"


@pytest.mark.usefixtures("routes")
async def test_without_named_origins_no_page_may_call() -> None:
    closed = Settings(run_token_secret=SETTINGS.run_token_secret)
    assert (await answer("OPTIONS", "thing", closed, origin=PAGE, **ASKS)).status_code == 403


@pytest.mark.usefixtures("routes")
async def test_what_is_no_preflight_is_another_method_or_another_address() -> None:
    plain = await answer("OPTIONS", "thing", origin=PAGE)
    assert (plain.status_code, plain.headers["allow"]) == (405, "GET, HEAD")
    assert plain.headers["access-control-allow-origin"] == PAGE, "a page that may call reads the error, too"
    assert (await answer("OPTIONS", "thing", **ASKS)).status_code == 405
    assert (await answer("DELETE", "thing")).status_code == 405
    response = await answer("GET", "thing/else", origin=PAGE)
    assert (response.status_code, content(response)["code"]) == (404, "not_found")


@pytest.mark.usefixtures("routes")
async def test_a_page_may_ask_for_an_address_that_is_none_so_that_it_can_read_that() -> None:
    response = await answer("OPTIONS", "thing/else", origin=PAGE, **ASKS)
    assert (response.status_code, response.headers["access-control-allow-methods"]) == (204, "GET, HEAD, POST")
    assert (await answer("OPTIONS", "thing/else", origin=FOREIGN[0], **ASKS)).status_code == 403
    assert (await answer("OPTIONS", "thing/else")).status_code == 404


@pytest.mark.parametrize("outcome", [lambda: json_response({}), RunNotFound, lambda: RuntimeError("what")])
async def test_each_answer_says_which_page_may_read_it(outcome: Any) -> None:
    @answered_to_pages({PAGE})
    async def handler(req: Any) -> Any:
        made = outcome()
        if isinstance(made, Exception):
            raise made
        return made

    response = await handler(request(headers={"origin": PAGE}))
    assert response.headers["access-control-allow-origin"] == PAGE
    for headers in ({}, *({"origin": origin} for origin in FOREIGN)):
        other = await handler(request(headers=headers))
        assert "access-control-allow-origin" not in other.headers
        assert other.headers["vary"] == "Origin"
        assert other.status_code == response.status_code
