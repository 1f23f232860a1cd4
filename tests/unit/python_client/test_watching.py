"""What a viewer sees, over any number of connections, and what the bytes of a stream become on the way."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from dormouse_client.errors import NetworkError, NotAllowed, NotFound, TooManyRequests, UnexpectedResponse, refusal
from dormouse_client.watching import View, Watch
from tests.unit.python_client.parts import RUN_ID, Server, lost, problem, reply, run


def sse(event: str, data: Any, event_id: str | None = None) -> bytes:
    """One event as the server sends it."""
    name = "" if event_id is None else f"id: {event_id}\n"
    return f"{name}event: {event}\ndata: {json.dumps(data)}\n\n".encode()


STATE = sse("state", run())
END = sse("end", run("completed", text="Hello."), "end")


def new_watch(**options: Any) -> Watch:
    return Watch(RUN_ID, Server([]).rules_of(2), **options)


def fed(watch: Watch, *chunks: bytes) -> list[View]:
    """What a viewer sees of a connection that brings these bytes."""
    response = httpx2.Response(
        200,
        headers={"content-type": "text/event-stream; charset=utf-8"},
        content=iter(chunks),
        request=httpx2.Request("GET", "http://app/"),
    )
    views = [watch.feed(event) for event in httpx2.EventSource(response, max_event_size=None)]
    return [view for view in views if view is not None]


def deltas(*texts: str, first: int = 1) -> bytes:
    return b"".join(sse("delta", {"text": text}, f"1.1.{number}") for number, text in enumerate(texts, first))


def test_a_text_grows_by_deltas_to_the_runs_text() -> None:
    views = fed(
        new_watch(), b"retry: 1000\n\n", STATE, sse("snapshot", {"text": ""}, "1.1.0"), deltas("Hel", "lo"), END
    )
    assert [view.event for view in views] == ["state", "snapshot", "delta", "delta", "end"]
    assert [view.text for view in views] == ["", "", "Hel", "Hello", "Hello."]
    assert [view.delta for view in views] == ["", "", "Hel", "lo", "."]
    assert [view.id for view in views] == [None, "1.1.0", "1.1.1", "1.1.2", "end"]
    assert views[-1].run["status"] == "completed"


def test_a_wake_changes_what_it_names_of_the_run_and_nothing_else() -> None:
    woken = {"wakes": 3, "waiting_for": "provider", "waiting_text": "Next look in 8 s."}
    views = fed(new_watch(), STATE, sse("wake", woken), END)
    assert [view.event for view in views] == ["state", "wake", "end"]
    assert views[1].run == {**run(), **woken}
    assert views[1].text == ""


def test_bytes_may_be_cut_anywhere() -> None:
    whole = b"".join(
        [b": ping\n\n", STATE, deltas("Hel", "lö ☃ 🐭"), sse("end", run("completed", text="Hello ☃"), "end")]
    )
    whole = whole.replace(json.dumps("lö ☃ 🐭").encode(), '"lö ☃ 🐭"'.encode())
    expected = fed(new_watch(), whole)
    assert expected[2].delta == "lö ☃ 🐭"
    assert fed(new_watch(), *(bytes([byte]) for byte in whole)) == expected
    assert fed(new_watch(), whole.replace(b"\n", b"\r\n")) == expected


def test_an_event_that_was_cut_in_the_middle_does_not_count() -> None:
    for end in range(1, len(deltas("lost"))):
        watch = new_watch()
        views = fed(watch, STATE, deltas("kept"), deltas("lost", first=2)[:-end])
        assert [view.text for view in views] == ["", "kept"]
        assert watch.request().headers["Last-Event-ID"] == "1.1.1"


def test_the_next_connection_goes_on_exactly_after_the_last_event() -> None:
    watch = new_watch()
    assert "Last-Event-ID" not in watch.request().headers
    fed(watch, STATE, deltas("Hel"))
    assert watch.request().headers["Last-Event-ID"] == "1.1.1"
    views = fed(watch, STATE, deltas("lo.", first=2), END)
    assert [view.text for view in views] == ["Hel", "Hello.", "Hello."]
    assert watch.ended


def test_another_process_goes_on_from_an_id_and_a_text() -> None:
    watch = new_watch(after="1.1.1", text="Hel")
    assert watch.request().headers["Last-Event-ID"] == "1.1.1"
    assert fed(watch, STATE, deltas("lo.", first=2))[-1].text == "Hello."


def test_a_snapshot_takes_the_place_of_the_text_and_says_whether_it_began_anew() -> None:
    views = fed(
        new_watch(),
        STATE,
        deltas("Let me see."),
        sse("stale", {"continuation_token": "1.1.1"}),
        sse("snapshot", {"text": "Let me see. So:"}, "1.1.9"),
        sse("snapshot", {"text": ""}, "2.1.0"),
        sse("snapshot", {"text": "A story"}, "2.1.7"),
        sse("end", run("completed", text="Another"), "end"),
    )
    assert [(view.delta, view.replaced, view.stale) for view in views] == [
        ("", False, False),
        ("Let me see.", False, False),
        ("", False, True),
        (" So:", False, False),
        ("", True, False),
        ("A story", False, False),
        ("Another", True, False),
    ]


def test_the_halves_of_a_character_are_put_together_and_never_shown_alone() -> None:
    mouse = "🐭".encode("utf-16-be")
    first, second = (chr(int.from_bytes(mouse[at : at + 2], "big")) for at in (0, 2))
    watch = new_watch()
    views = fed(watch, STATE, deltas("a", f"b{first}", f"{second}c"))
    assert [view.text for view in views] == ["", "a", "ab", "ab🐭c"]
    assert [view.delta for view in views] == ["", "a", "b", "🐭c"]
    # Who goes on from the text without the half must get the half again.
    assert [view.id for view in views] == [None, "1.1.1", "1.1.1", "1.1.3"]
    "".join(view.delta for view in views).encode()


def test_tool_events_are_merged_into_the_runs_calls() -> None:
    def call(turn: int, state: str) -> dict[str, Any]:
        return {"call_id": "c", "name": "work", "turn": turn, "state": state}

    views = fed(
        new_watch(),
        sse("state", run(tool_calls=[call(1, "finished")])),
        sse("tool_started", call(2, "started")),
        sse("tool_finished", call(2, "finished")),
    )
    assert [each["state"] for each in views[1].run["tool_calls"]] == ["finished", "started"]
    assert [each["state"] for each in views[2].run["tool_calls"]] == ["finished", "finished"]
    assert views[2].call == call(2, "finished")


def test_what_is_not_known_yet_is_passed_on_and_does_no_harm() -> None:
    watch = new_watch()
    views = fed(watch, STATE, deltas("a"), sse("wake", {"next": 12}, "1.1.2"), sse("comet", {}))
    assert [(view.event, view.data, view.text) for view in views[2:]] == [
        ("wake", {"next": 12}, "a"),
        ("comet", {}, "a"),
    ]
    assert watch.request().headers["Last-Event-ID"] == "1.1.2"
    assert fed(new_watch(), sse("state", run(waiting_for="the moon", colour="red")))[0].run["id"] == RUN_ID


@pytest.mark.parametrize("data", ["<html>", "[1]", "null", '{"text'])
def test_an_event_that_is_not_the_apps_is_a_failed_connection(data: str) -> None:
    for event in ("delta", "state"):
        with pytest.raises(UnexpectedResponse):
            fed(new_watch(), f"event: {event}\ndata: {data}\n\n".encode())


def test_a_run_without_a_status_is_none() -> None:
    with pytest.raises(UnexpectedResponse):
        fed(new_watch(), sse("state", {"id": RUN_ID}))


def test_a_planned_end_is_followed_after_the_servers_own_pause() -> None:
    watch = new_watch()
    fed(watch, b"retry: 2500\n\n", STATE)
    assert watch.pause(None) == 2.5
    fed(watch, b"retry: 99999999999\n\n", STATE)
    assert watch.pause(None) == 30.0
    fed(watch, b"retry: 0\n\n", STATE)
    assert watch.pause(None) == 0.5


def test_a_stream_that_ends_before_its_first_event_is_a_failed_connection() -> None:
    watch = new_watch()
    fed(watch, b"retry: 1\n\n: ping\n\n")
    assert watch.pause(None) == 0.5
    assert watch.pause(None) == 0.5
    with pytest.raises(UnexpectedResponse):
        watch.pause(None)
    watch = new_watch()
    fed(watch, STATE)
    watch.pause(None)
    assert [watch.pause(None) for _ in range(9)][-1] == 15.0


def test_once_it_has_begun_no_outage_ends_it() -> None:
    watch = new_watch()
    fed(watch, STATE)
    outages = [lost(), UnexpectedResponse("x", status=200), *(refusal(s, {}, b"") for s in (403, 404, 429, 500, 503))]
    pauses = [watch.pause(error) for error in outages * 30]
    assert pauses[0] == 1.0
    assert max(pauses) == 15.0
    fed(watch, STATE)
    assert watch.pause(lost()) == 1.0


def test_the_first_connection_must_come_about_as_any_call() -> None:
    watch = new_watch()
    assert [watch.pause(lost()) for _ in range(2)] == [1.0, 1.0]
    with pytest.raises(NetworkError):
        watch.pause(lost())
    with pytest.raises(NotFound):
        new_watch().pause(refusal(404, {}, b""))


def test_the_apps_own_word_ends_it() -> None:
    watch = new_watch()
    fed(watch, STATE)
    gone, unknown = problem(404, "run_not_found"), reply(401)
    with pytest.raises(NotFound):
        watch.pause(refusal(404, gone.headers, gone.content))
    with pytest.raises(NotAllowed):
        watch.pause(refusal(401, {}, unknown.content))


def test_who_is_told_to_come_later_does() -> None:
    watch = new_watch()
    full = problem(429, "too_many_viewers", Retry_After="7")
    error = refusal(429, full.headers, full.content)
    assert isinstance(error, TooManyRequests)
    assert watch.pause(error) == 7.0
