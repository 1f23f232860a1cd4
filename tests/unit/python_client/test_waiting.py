"""How a wait asks: held requests, never in a hurry, and no outage ends it."""

from __future__ import annotations

from typing import Any

import pytest

from dormouse_client._calls import follow
from dormouse_client.errors import InvalidArgument, NetworkError, NotAllowed, NotFound, UnexpectedResponse, WaitTimeout
from tests.unit.python_client.parts import RUN_ID, Server, lost, problem, reply, run

PATH = f"/api/runs/{RUN_ID}"


def wait(server: Server, **options: Any) -> Any:
    return server.carry_out(follow(PATH, server.rules, **options))


def test_a_run_that_has_ended_is_asked_for_once() -> None:
    server = Server([reply(200, run("failed"))])
    assert wait(server, hold=30)["status"] == "failed"
    assert (len(server.requests), server.pauses) == (1, [])


def test_the_server_holds_the_request_until_something_changes() -> None:
    server = Server(
        [
            reply(200, run(), ETag='"1"'),
            reply(304),
            reply(200, run(turn=2), ETag='"2"'),
            reply(200, run("completed")),
        ],
        takes=[0, 30, 4, 9],
    )
    seen: list[Any] = []
    assert wait(server, hold=30, on_progress=seen.append)["status"] == "completed"
    assert [(dict(each.query), dict(each.headers)) for each in server.requests] == [
        ({}, {}),
        ({"wait": 30}, {"If-None-Match": '"1"'}),
        ({"wait": 30}, {"If-None-Match": '"1"'}),
        ({"wait": 30}, {"If-None-Match": '"2"'}),
    ]
    assert server.pauses == []
    assert [each.get("turn") for each in seen] == [None, 2, None]


@pytest.mark.parametrize("same", [reply(304), reply(200, run())], ids=["304", "200"])
def test_a_proxy_that_drops_the_wait_makes_no_busy_loop(same: Any) -> None:
    server = Server([reply(200, run(), ETag='"1"'), *[same] * 20, reply(200, run("completed"))])
    wait(server, hold=30)
    assert server.pauses == [1.0] * 20


def test_a_run_that_is_always_another_is_not_asked_in_a_hurry_and_the_time_is_kept() -> None:
    server = Server([reply(200, run(turn=number)) for number in range(99)])
    with pytest.raises(WaitTimeout):
        wait(server, hold=30, timeout=2)
    assert server.now == pytest.approx(2)
    assert len(server.requests) <= 12


@pytest.mark.parametrize("other", [{"id": "x"}, {"data": []}])
def test_what_is_no_run_is_not_taken_for_one(other: Any) -> None:
    with pytest.raises(UnexpectedResponse):
        wait(Server([reply(200, other)]))
    server = Server([reply(200, run()), reply(200, other), reply(200, run("completed"))])
    assert wait(server)["status"] == "completed"


def test_without_a_hold_it_asks_when_the_server_says() -> None:
    server = Server(
        [reply(200, run(), Retry_After="9"), reply(200, run(turn=2)), reply(304), reply(200, run("completed"))]
    )
    wait(server)
    assert server.pauses == [9.0, 2.0, 2.0]
    assert all(not each.query for each in server.requests)


@pytest.mark.parametrize("gap", [None, 0, -5, "soon"])
def test_a_server_that_names_no_gap_is_not_asked_faster_than_once_a_second(gap: Any) -> None:
    server = Server([reply(200, run(retry_after=gap)), reply(200, run("completed"))])
    wait(server)
    assert server.pauses == [1.0]


def test_an_outage_of_any_length_is_waited_through_and_told() -> None:
    restarting = [reply(503), reply(404), reply(502), reply(200, None), lost(), problem(500, "internal_error")]
    server = Server([reply(200, run()), *restarting * 20, reply(200, run("completed"))])
    told: list[Any] = []
    assert wait(server, hold=30, on_outage=lambda *given: told.append(given))["status"] == "completed"
    assert len(told) == len(server.pauses) == 120
    assert max(server.pauses) == 15.0
    assert [pause for _, pause in told] == server.pauses


def test_the_first_answer_must_come_as_for_any_call() -> None:
    server = Server([lost()] * 6)
    with pytest.raises(NetworkError):
        wait(server, hold=30)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(problem(404, "run_not_found"), NotFound), (problem(401, "x"), NotAllowed), (reply(401), NotAllowed)],
)
def test_the_apps_own_word_ends_it(answer: Any, kind: type[Exception]) -> None:
    server = Server([reply(200, run()), lost(), answer])
    with pytest.raises(kind):
        wait(server, hold=30)


def test_where_the_places_for_waiting_are_taken_it_asks_without_a_hold() -> None:
    busy = problem(429, "too_many_viewers", Retry_After="5")
    server = Server([reply(200, run()), busy, reply(200, run()), reply(200, run("completed"))])
    wait(server, hold=30)
    assert [dict(each.query) for each in server.requests] == [{}, {"wait": 30}, {}, {"wait": 30}]
    assert server.pauses == [5.0, 2.0]


def test_no_request_is_held_open_while_a_person_is_to_answer() -> None:
    parked = reply(200, run("requires_action"), Retry_After="30")
    server = Server([parked, reply(304, Retry_After="30"), reply(200, run()), reply(200, run("completed"))])
    wait(server, hold=30)
    assert [dict(each.query) for each in server.requests] == [{}, {}, {}, {"wait": 30}]
    assert server.pauses == [30.0, 30.0]


def test_after_its_time_it_raises_with_what_was_last_seen_and_the_run_goes_on() -> None:
    server = Server([reply(200, run(turn=3), ETag='"1"'), reply(304)], takes=[0, 5])
    with pytest.raises(WaitTimeout) as caught:
        wait(server, hold=30, timeout=4.2)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.last["turn"] == 3
    assert dict(server.requests[-1].query) == {"wait": 5}


@pytest.mark.parametrize("hold", [0, 30])
def test_its_time_also_ends_an_outage(hold: int) -> None:
    server = Server([reply(200, run()), *[lost()] * 99])
    with pytest.raises(WaitTimeout):
        wait(server, hold=hold, timeout=60)
    assert server.now == pytest.approx(60)


def test_no_time_at_all_is_one_look() -> None:
    server = Server([reply(200, run())])
    with pytest.raises(WaitTimeout):
        wait(server, timeout=0)
    assert len(server.requests) == 1


def test_it_returns_early_when_the_condition_holds() -> None:
    asked = run("requires_action", required_action={"calls": []})
    server = Server([reply(200, run()), reply(200, asked)])
    assert wait(server, hold=30, until=lambda now: now.get("required_action")) == asked


def test_an_error_of_the_callers_own_ends_it() -> None:
    server = Server([reply(200, run()), reply(200, run("completed"))])

    def fail(_: Any) -> None:
        raise lost()

    with pytest.raises(NetworkError):
        wait(server, hold=30, on_progress=fail)


@pytest.mark.parametrize("options", [{"timeout": -1}, {"hold": -1}])
def test_seconds_are_not_negative(options: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument):
        wait(Server([]), **options)
