"""Both clients over a transport that is a function: what they send, and that they are one client in two ways."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from dormouse_client import AsyncDormouse, Dormouse, InvalidArgument, NetworkError, UnexpectedResponse
from tests.parts.cases import cases
from tests.unit.python_client.parts import RUN_ID, run
from tests.unit.python_client.test_watching import END, STATE, deltas

Handler = Callable[[httpx2.Request], httpx2.Response]
FILTERED = "status=failed%2Ccompleted&limit=100"
BATCH_ID = f"batch_{'b' * 32}"
NOT_SHARED = {"close", "aclose"}


def public(kind: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(kind, callable)
        if not name.startswith("_") or name == "__init__"
    }


def sync_client(handler: Handler, **options: Any) -> Dormouse:
    return Dormouse("http://app/base/", http=httpx2.Client(transport=httpx2.MockTransport(handler)), **options)


def async_client(handler: Handler, **options: Any) -> AsyncDormouse:
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(handler))
    return AsyncDormouse("http://app/base/", http=http, **options)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of both clients, none of which takes any time."""
    taken: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        taken.append(seconds)
        await real(0)

    monkeypatch.setattr(time, "sleep", taken.append)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    return taken


def events(*chunks: bytes) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join(chunks))


def test_both_have_the_same_methods_with_the_same_parameters_and_words() -> None:
    here, there = public(Dormouse), public(AsyncDormouse)
    assert here.keys() - NOT_SHARED == there.keys() - NOT_SHARED
    for name in here.keys() - NOT_SHARED:
        mine, other = (
            [(each.name, each.kind, each.default) for each in inspect.signature(member).parameters.values()]
            for member in (here[name], there[name])
        )
        assert mine == other, name
        assert here[name].__doc__ == there[name].__doc__, name
        assert here[name].__doc__, name


CALLS: list[tuple[Callable[[Any], Any], str, str]] = [
    (lambda client: client.submit("x", agent="novelist", metadata={}), "POST", "/api/runs"),
    (lambda client: client.get(RUN_ID), "GET", f"/api/runs/{RUN_ID}"),
    (lambda client: client.wait({"id": RUN_ID}), "GET", f"/api/runs/{RUN_ID}"),
    (lambda client: client.answer(RUN_ID, {"apr_1": True}), "POST", f"/api/runs/{RUN_ID}/answers"),
    (lambda client: client.cancel(RUN_ID), "POST", f"/api/runs/{RUN_ID}/cancel"),
    (lambda client: client.delete(RUN_ID), "DELETE", f"/api/runs/{RUN_ID}"),
    (lambda client: client.input(RUN_ID), "GET", f"/api/runs/{RUN_ID}/input"),
    (lambda client: client.timeline({"id": RUN_ID}), "GET", f"/api/runs/{RUN_ID}/timeline"),
    (lambda client: client.tool_call(RUN_ID, {"id": "2.10"}), "GET", f"/api/runs/{RUN_ID}/tool_calls/2.10"),
    (lambda client: client.create_token(RUN_ID, label="Ada"), "POST", f"/api/runs/{RUN_ID}/tokens"),
    (lambda client: client.create_token({"id": BATCH_ID}), "POST", f"/api/batches/{BATCH_ID}/tokens"),
    (lambda client: client.deliveries(RUN_ID), "GET", f"/api/runs/{RUN_ID}/deliveries"),
    (lambda client: client.redeliver(RUN_ID), "POST", f"/api/runs/{RUN_ID}/deliveries"),
    (lambda client: client.session("s1", limit=2), "GET", "/api/sessions/s1?limit=2"),
    (lambda client: client.delete_session("s1"), "DELETE", "/api/sessions/s1"),
    (lambda client: client.create_schedule("x", cron="0 6 * * 1", agent="a"), "POST", "/api/schedules"),
    (lambda client: client.schedules(limit=2), "GET", "/api/schedules?limit=2"),
    (lambda client: client.schedule("schedule_1"), "GET", "/api/schedules/schedule_1"),
    (lambda client: client.change_schedule({"id": "schedule_1"}, paused=True), "PATCH", "/api/schedules/schedule_1"),
    (lambda client: client.delete_schedule("schedule_1"), "DELETE", "/api/schedules/schedule_1"),
    (lambda client: client.agents(), "GET", "/api/agents"),
    (lambda client: client.submit_batch(["x"]), "POST", "/api/batches"),
    (lambda client: client.get_batch("batch_1"), "GET", "/api/batches/batch_1"),
    (lambda client: client.wait_batch("batch_1"), "GET", "/api/batches/batch_1"),
    (lambda client: client.cancel_batch("batch_1"), "POST", "/api/batches/batch_1/cancel"),
    (lambda client: client.delete_batch("batch_1"), "DELETE", "/api/batches/batch_1"),
    (
        lambda client: client.retry_batch(BATCH_ID, status=["failed", "cancelled"]),
        "POST",
        f"/api/batches/{BATCH_ID}/retry?status=failed%2Ccancelled",
    ),
    (lambda client: client.retry_batch(BATCH_ID, idempotency_key="k"), "POST", f"/api/batches/{BATCH_ID}/retry"),
    (lambda client: client.redeliver_batch("batch_1"), "POST", "/api/batches/batch_1/deliveries"),
    (
        lambda client: client.runs(status=["failed", "completed"]),
        "GET",
        "/api/runs?status=failed%2Ccompleted&limit=100",
    ),
    (
        lambda client: client.batch_items("batch_1", status="failed"),
        "GET",
        "/api/batches/batch_1/items?status=failed&limit=100",
    ),
    (lambda client: client.batches(limit=5), "GET", "/api/batches?limit=5"),
]


@cases(("call", "method", "path"), CALLS)
async def test_each_call_goes_where_it_belongs_by_either_client(call: Any, method: str, path: str) -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={**run("completed"), "data": [run("completed")], "input": [3]})

    mine = call(sync_client(handler, key="secret"))
    if inspect.isgenerator(mine):
        mine = list(mine)
    other = call(async_client(handler, key="secret"))
    other = await other if inspect.isawaitable(other) else [each async for each in other]
    assert mine == other
    for request in seen:
        assert (request.method, str(request.url)) == (method, f"http://app/base{path}")
        assert request.headers["x-functions-key"] == "secret"
        assert request.headers["user-agent"].startswith("dormouse-client/")
        assert ("idempotency-key" in request.headers) == (
            path in ("/api/runs", "/api/batches", "/api/schedules") or "/retry" in path
        )
    assert len(seen) == 2
    assert seen[0].content == seen[1].content


def test_a_submit_sends_what_was_given_and_no_more() -> None:
    bodies: list[Any] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(202, json=run())

    client = sync_client(handler)
    client.submit("x")
    client.submit("x", stream=False, title="T", extra={"colour": "red"})
    client.submit_batch(["x"], concurrency=2)
    for start_at in (datetime(2026, 12, 1, 6, tzinfo=UTC), "2026-12-01T07:00:00+01:00"):
        client.submit("x", start_at=start_at)
    assert bodies == [
        {"input": "x"},
        {"input": "x", "stream": False, "title": "T", "colour": "red"},
        {"items": [{"input": "x"}], "concurrency": 2},
        {"input": "x", "start_at": "2026-12-01T06:00:00+00:00"},
        {"input": "x", "start_at": "2026-12-01T07:00:00+01:00"},
    ]


def test_a_token_is_asked_for_with_what_was_given() -> None:
    bodies: list[Any] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(200, json={**run(), "token": "t", "expires_at": "x"})

    client = sync_client(handler)
    client.create_token(RUN_ID)
    client.create_token(RUN_ID, rights="cancel")  # type: ignore[arg-type]  # a text, as who forgets the brackets gives it
    client.create_token(BATCH_ID, rights={"read"}, seconds=60, label="Ada")
    assert client.submit("x", token={"rights": ["read"], "seconds": 5})["token"] == "t"
    client.submit_batch(["x"], token={"rights": ["read"]})
    assert bodies == [
        {"rights": ["read"]},
        {"rights": ["cancel"]},
        {"rights": ["read"], "seconds": 60, "label": "Ada"},
        {"input": "x", "token": {"rights": ["read"], "seconds": 5}},
        {"items": [{"input": "x"}], "token": {"rights": ["read"]}},
    ]


@pytest.mark.parametrize(
    "call", ["", "call_1", "1", "1.", "1.0/../2.0", "1.0\n", "1.0 ", "¹.0", {}, {"id": 1}, {"call_id": "1.0"}]
)
def test_a_call_is_named_by_turn_and_place(call: Any) -> None:
    with pytest.raises(InvalidArgument):
        sync_client(lambda _: httpx2.Response(200, json=run())).tool_call(RUN_ID, call)


async def test_a_watch_goes_on_over_cuts_and_planned_ends(pauses: list[float]) -> None:
    def new_handler() -> tuple[Handler, list[str | None]]:
        asked: list[str | None] = []
        connections = [
            events(b"retry: 1500\n\n", STATE, deltas("Hel")[:-1]),  # cut in the middle of an event
            httpx2.ConnectError("refused"),
            httpx2.Response(502, text="<html>"),
            httpx2.Response(200, text="<html>", headers={"content-type": "text/html"}),
            events(STATE, deltas("Hel")),
            events(STATE, deltas("lo.", first=2), END),
        ]

        def handler(request: httpx2.Request) -> httpx2.Response:
            assert request.headers["accept-encoding"] == "identity"
            asked.append(request.headers.get("last-event-id"))
            answer = connections.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return handler, asked

    outages: list[str] = []
    handler, asked = new_handler()
    views = list(sync_client(handler).watch(RUN_ID, on_outage=lambda error, pause: outages.append(error.code)))
    other_handler, other_asked = new_handler()
    others = [view async for view in async_client(other_handler).watch(RUN_ID)]
    assert [view.text for view in views if view.event == "delta"] == ["Hel", "Hello."]
    assert views == others
    assert asked == other_asked == [None, None, None, None, None, "1.1.1"]
    assert outages == ["network_error", "http_502", "unexpected_response"]
    assert pauses[0] == 1.5


async def test_a_run_whose_end_is_known_is_watched_no_more() -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(204)

    assert list(sync_client(handler).watch(RUN_ID, after="end")) == []
    assert [view async for view in async_client(handler).watch(RUN_ID, after="end")] == []


async def test_who_stops_watching_closes_the_connection() -> None:
    closed: list[str] = []

    class Endless(httpx2.SyncByteStream, httpx2.AsyncByteStream):
        def __iter__(self) -> Any:
            yield STATE
            while True:
                yield b": ping\n\n"

        async def __aiter__(self) -> Any:
            yield STATE
            while True:
                yield b": ping\n\n"

        def close(self) -> None:
            closed.append("sync")

        async def aclose(self) -> None:
            closed.append("async")

    def handler(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Endless())

    for _ in sync_client(handler).watch(RUN_ID):
        break
    watch = async_client(handler).watch(RUN_ID)
    async for _ in watch:
        break
    await watch.aclose()
    assert closed == ["sync", "async"]


async def test_what_is_called_back_may_be_a_coroutine_function() -> None:
    seen: list[str] = []
    answers = [run(), run("completed")]

    async def note(now: Any) -> None:
        seen.append(now["status"])

    client = async_client(lambda _: httpx2.Response(200, json=answers.pop(0)))
    assert (await client.wait(RUN_ID, on_progress=note))["status"] == "completed"
    assert seen == ["in_progress", "completed"]


async def test_the_client_of_ordinary_code_works_where_an_event_loop_runs() -> None:
    answers = [run(), run("completed")]
    assert sync_client(lambda _: httpx2.Response(200, json=answers.pop(0))).wait(RUN_ID)["status"] == "completed"


def test_a_function_makes_headers_for_each_request() -> None:
    sent: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers["authorization"])
        return httpx2.Response(200, json=run())

    tokens = iter(["one", "two"])
    client = sync_client(handler, headers=lambda: {"Authorization": f"Bearer {next(tokens)}"})
    client.get(RUN_ID)
    client.get(RUN_ID)
    assert sent == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize("user", ["a", "ada.lovelace_1~x@example-1", "A" * 128])
def test_a_call_is_made_on_behalf_of_somebody(user: str) -> None:
    sent: list[str | None] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers.get("dormouse-on-behalf-of"))
        return httpx2.Response(200, json=run())

    client = sync_client(handler, key="k")
    client.get(RUN_ID)
    client.for_user(user).get(RUN_ID)
    sync_client(handler, key="k", on_behalf_of=user).get(RUN_ID)
    client.get(RUN_ID)
    assert sent == [None, user, user, None]


@pytest.mark.parametrize("user", ["", "A" * 129, "ä", "a b", "a\n", "a/b", "a:b", " a", "a\r\nx-evil: 1", "😀"])
def test_an_id_that_could_do_harm_never_leaves(user: str) -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise AssertionError("it was sent")

    for make in (sync_client, async_client):
        with pytest.raises(InvalidArgument):
            make(handler, on_behalf_of=user)
        with pytest.raises(InvalidArgument):
            make(handler).for_user(user)


@pytest.mark.parametrize(
    "options",
    [
        {"key": "schlüssel"},
        {"key": "a\nb"},
        {"key": ""},
        {"key": "a "},
        {"token": "ä"},
        {"headers": {"Cookie": "é"}},
        {"headers": {"X-MS-Invocation-Id": "1"}},
        {"key": "a", "token": "b"},
        {"token": "b", "on_behalf_of": "ada"},
        {"timeout": 0},
        {"retries": -1},
    ],
)
def test_what_would_hang_or_mislead_the_server_is_refused_here(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Dormouse("http://app", **options)
    assert "schlüssel" not in str(caught.value)


def test_headers_that_a_function_makes_are_checked_too() -> None:
    with pytest.raises(InvalidArgument):
        sync_client(lambda _: httpx2.Response(200, json=run()), headers=lambda: {"Cookie": "é"}).get(RUN_ID)
    with pytest.raises(InvalidArgument):
        sync_client(lambda _: httpx2.Response(200, json=run())).submit("x", idempotency_key="ä")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app",
        "ftp://app",
        "http://",
        "http://app?code=secret",
        "http://app#x",
        "//app",
        "http://a:b",
        "http://a:99999",
        "http://a b",
        "http://[a",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Dormouse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "..", ".", "a/b", "../agents", "a?b", "a#b", "ä", "a\nb", "%2e%2e", " ", "a" * 201]
)
def test_an_id_is_never_taken_for_an_address(name: str) -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise AssertionError("it was sent")

    client = sync_client(handler)
    for call in (client.get, client.cancel, client.delete, client.get_batch, client.session, client.delete_session):
        with pytest.raises(InvalidArgument):
            call(name)
    with pytest.raises(InvalidArgument):
        next(client.watch(name))
    with pytest.raises(InvalidArgument):
        client.get({"status": "queued"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"input": b"x"},
        {"input": "x", "deadline_seconds": float("nan")},
        {"input": "x", "metadata": {"a": {1}}},
        {"input": "x", "start_at": datetime(2026, 12, 1, 6)},  # noqa: DTZ001 - whose six o'clock?
        {"input": "x", "wait": 31},
        {"input": "x", "wait": -1},
        {"input": "x", "wait": "1"},
        {"input": "x", "idempotency_key": ""},
        {"input": "x", "idempotency_key": "a" * 256},
    ],
)
def test_what_cannot_be_sent_is_told_before(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        sync_client(lambda _: httpx2.Response(200, json=run())).submit(**options)


def test_a_text_is_sent_as_it_is_even_with_half_a_character() -> None:
    bodies: list[bytes] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["content-type"] == "application/json"
        bodies.append(request.content)
        return httpx2.Response(200, json=run())

    client = sync_client(handler)
    client.submit("ä🐭")
    client.submit("ä\ud83d")
    assert bodies == ['{"input":"ä🐭"}'.encode(), b'{"input": "\\u00e4\\ud83d"}']


@pytest.mark.parametrize("given", [{}, {"apr_1": "yes"}, {"apr_1": None}, {"apr_1": {"reason": "x"}}])
def test_an_answer_is_a_yes_or_a_no(given: Any) -> None:
    with pytest.raises(InvalidArgument):
        sync_client(lambda _: httpx2.Response(200, json=run())).answer(RUN_ID, given)


def test_an_answer_by_call_id_is_sent_for_what_was_seen() -> None:
    bodies: list[Any] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content)["answers"])
        return httpx2.Response(200, json=run())

    calls = [{"id": "apr_1", "call_id": "c"}, {"id": "apr_2", "call_id": "d"}, {"id": "apr_3", "call_id": "d"}]
    asked: Any = run("requires_action", required_action={"type": "approve", "calls": calls})
    client = sync_client(handler)
    client.answer(asked, {"c": True, "d": False, "apr_2": {"approve": False, "reason": "No."}})
    client.answer(RUN_ID, {"c": True})
    assert bodies == [
        {"apr_1": {"approve": True}, "d": {"approve": False}, "apr_2": {"approve": False, "reason": "No."}},
        {"c": {"approve": True}},
    ]


def test_a_run_token_opens_the_routes_that_are_made_for_it() -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return (
            events(STATE, END) if request.url.path.endswith("/events") else httpx2.Response(200, json=run("completed"))
        )

    client = sync_client(handler, token="t")
    client.get(RUN_ID)
    client.answer(RUN_ID, {"apr_1": True})
    client.cancel(RUN_ID)
    list(client.watch(RUN_ID))
    client.wait_batch("batch_1")
    shared = f"/base/api/shared/runs/{RUN_ID}"
    assert [each.url.path for each in seen] == [
        shared,
        f"{shared}/answers",
        f"{shared}/cancel",
        f"{shared}/events",
        "/base/api/shared/batches/batch_1",
    ]
    assert all(each.headers["authorization"] == "Bearer t" for each in seen)
    for call in (
        lambda: client.submit("x"),
        lambda: next(client.runs()),
        lambda: client.deliveries(RUN_ID),
        lambda: client.delete(RUN_ID),
        lambda: client.input(RUN_ID),
        lambda: client.timeline(RUN_ID),
        lambda: client.tool_call(RUN_ID, "1.0"),
        lambda: client.create_token(RUN_ID),
        lambda: next(client.batch_items("batch_1")),
        lambda: client.cancel_batch("batch_1"),
        lambda: client.retry_batch("batch_1"),
        client.agents,
    ):
        with pytest.raises(InvalidArgument, match="key"):
            call()
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx2.ReadTimeout("slow"), NetworkError),
        (httpx2.RemoteProtocolError("cut"), NetworkError),
        (httpx2.DecodingError("not gzip"), NetworkError),
    ],
)
def test_the_networks_errors_are_ours(failure: Exception, kind: type[Exception], pauses: list[float]) -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise failure

    with pytest.raises(kind) as caught:
        sync_client(handler, retries=1).get(RUN_ID)
    assert caught.value.__cause__ is failure
    assert len(pauses) == 1
    with pytest.raises(kind):
        list(sync_client(handler, retries=1).watch(RUN_ID))


def test_a_page_of_something_else_is_told_apart() -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, text="<html>")

    with pytest.raises(UnexpectedResponse):
        sync_client(handler).get(RUN_ID)
    with pytest.raises(UnexpectedResponse):
        list(sync_client(handler, retries=0).watch(RUN_ID))
