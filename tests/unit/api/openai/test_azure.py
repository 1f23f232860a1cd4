"""The addresses that Azure's clients make, and which handler each leads to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from shared.api import routing
from shared.api.openai import azure
from shared.errors import InvalidApiKey, MethodNotAllowed, NotFound
from shared.settings import Settings

KEY = "0123456789abcdef"
APP: Any = SimpleNamespace(settings=Settings(api_keys=f"ada:{KEY}"))
ID = f"resp_{'0' * 32}_1"


def request(method: str, rest: str, key: str = KEY) -> Request:
    headers = [(b"api-key", key.encode())]
    return Request({"type": "http", "method": method, "headers": headers, "path_params": {"rest": rest}})


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, str]]]:
    """Which of the calls was answered, and with which parameters of the path."""
    found: list[tuple[int, dict[str, str]]] = []

    def handler(index: int) -> azure.Handler:
        async def answer(request: Request, app: Any, driver: Any) -> Any:
            found.append((index, dict(request.path_params)))

        return answer

    calls = tuple((method, address, handler(index)) for index, (method, address, _) in enumerate(azure.CALLS))
    monkeypatch.setattr(azure, "CALLS", calls)
    return found


@pytest.mark.parametrize(
    ("method", "rest", "index", "parameters"),
    [
        ("POST", "deployments/analyst/chat/completions", 0, {"deployment": "analyst"}),
        ("POST", "v1/chat/completions", 0, {}),
        ("POST", "responses", 1, {}),
        ("POST", "v1/responses/", 1, {}),
        ("POST", "Deployments/analyst/Responses", 1, {"deployment": "analyst"}),
        ("GET", f"responses/{ID}", 2, {"response_id": ID}),
        ("HEAD", f"v1/responses/{ID}", 2, {"response_id": ID}),
        ("DELETE", f"v1/responses/{ID}", 3, {"response_id": ID}),
        ("POST", f"responses/{ID}/cancel", 4, {"response_id": ID}),
        ("GET", f"responses/{ID}/input_items", 5, {"response_id": ID}),
        ("GET", "models", 6, {}),
        ("GET", "v1/models/analyst", 7, {"model": "analyst"}),
    ],
)
async def test_each_address_leads_to_its_handler(
    called: list[Any], method: str, rest: str, index: int, parameters: dict[str, str]
) -> None:
    await azure.call(request(method, rest), APP, None)  # type: ignore[arg-type]
    assert called == [(index, parameters)]


@pytest.mark.parametrize(
    "rest",
    ["", "v1", "v1/", "v1/v1/responses", "deployments//chat/completions", "deployments/a/b/chat/completions", "x",
     "deployments/analyst/embeddings", "responses/a b", "v1/responses\n", "responses//cancel", "deployments/analyst",
     "responses/compact/x", "v1/responses/input_tokens/x"],
)  # fmt: skip
async def test_any_other_address_is_not_there(called: list[Any], rest: str) -> None:
    for method in ("GET", "POST"):
        with pytest.raises(NotFound):
            await azure.call(request(method, rest), APP, None)  # type: ignore[arg-type]
        with pytest.raises(InvalidApiKey):
            await azure.call(request(method, rest, key="x"), APP, None)  # type: ignore[arg-type]
    assert called == []


async def test_a_wrong_method_is_told_the_right_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "ROUTES", {"api/v1/responses": {"POST"}})
    for rest in ("responses", "v1/responses", "deployments/a/responses"):
        with pytest.raises(MethodNotAllowed) as refused:
            await azure.call(request("GET", rest), APP, None)  # type: ignore[arg-type]
        assert refused.value.headers == {"Allow": "POST"}
