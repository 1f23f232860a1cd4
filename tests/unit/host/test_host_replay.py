"""What an episode comes to: histories and actions in, decisions out."""

from datetime import UTC, datetime, timedelta
from typing import Any

from local.host.durable.events import (
    Event,
    Kind,
    event,
    event_raised,
    execution_started,
    format_time,
    task_completed,
    task_failed,
)
from local.host.durable.replay import Decision, End, FunctionNames, replay

T0 = datetime(2026, 1, 1, tzinfo=UTC)
KNOWN = FunctionNames(activities=["work"], orchestrators=["child"])
WAIT = {"actionType": 6, "externalEventName": "Wake"}
CALL = {"actionType": 0, "functionName": "work", "input": "1"}
RESTART = {"actionType": 4, "input": "null"}


def timer(seconds: float, *, cancelled: bool = False) -> dict[str, Any]:
    return {"actionType": 5, "fireAt": format_time(T0 + timedelta(seconds=seconds)), "isCanceled": cancelled}


def either(*actions: Any) -> dict[str, Any]:
    return {"actionType": 11, "compoundActions": list(actions)}


def every(*actions: Any) -> dict[str, Any]:
    return {"actionType": 12, "compoundActions": list(actions)}


def state(*actions: Any, done: bool = False, **more: Any) -> dict[str, Any]:
    return {"isDone": done, "actions": [list(actions)], **more}


def begun(*events: Event) -> list[Event]:
    started = execution_started(T0, name="o", instance_id="i", execution_id="e", input_text=None)
    return [event(Kind.ORCHESTRATOR_STARTED, T0), started, *events]


def called(number: int = 0) -> Event:
    return event(Kind.TASK_SCHEDULED, T0, event_id=number, Name="work")


def set_(number: int = 0) -> Event:
    return event(Kind.TIMER_CREATED, T0, event_id=number, FireAt=format_time(T0))


def fired(number: int = 0) -> Event:
    return event(Kind.TIMER_FIRED, T0, TimerId=number, FireAt=format_time(T0))


def wake(name: str = "wake") -> Event:
    return event_raised(T0, name, '"x"')


def test_a_call_is_scheduled_once() -> None:
    assert replay(begun(), state(CALL), KNOWN).decisions == (Decision(Kind.TASK_SCHEDULED, 0, "work", "1"),)
    assert replay(begun(called()), state(CALL), KNOWN).decisions == ()


def test_all_of_a_group_is_scheduled_at_once_and_any_lets_the_next_begin() -> None:
    both = state(either(CALL, CALL), CALL)

    assert [one.sequence for one in replay(begun(), both, KNOWN).decisions] == [0, 1]
    done = begun(called(0), called(1), task_completed(T0, 1, "1"))
    assert [one.sequence for one in replay(done, both, KNOWN).decisions] == [2]


def test_all_waits_for_the_last_even_when_one_failed() -> None:
    group = state(every(CALL, CALL), CALL)
    failed = begun(called(0), called(1), task_failed(T0, 0, "r", "d"))

    assert replay(failed, group, KNOWN).decisions == ()
    assert len(replay([*failed, task_completed(T0, 1, "1")], group, KNOWN).decisions) == 1


def test_an_open_timer_holds_back_the_end() -> None:
    """Upstream defect 2 of the list the orchestrators are written around."""
    race = state(either(WAIT, timer(60)), done=True, output="x")

    assert replay(begun(set_(), wake()), race, KNOWN).end is None
    assert replay(begun(set_(), wake(), fired()), race, KNOWN).end == End("Completed", "x")


def test_a_cancelled_timer_lets_the_end_come() -> None:
    race = state(either(WAIT, timer(60, cancelled=True)), done=True, output="x")

    assert replay(begun(set_(), wake()), race, KNOWN).end == End("Completed", "x")


def test_an_event_behind_a_cancelled_timer_is_carried_over() -> None:
    """durable-extension #2606: the cancelled timer is done before the event is looked at."""
    raised = wake()
    outcome = replay(begun(set_(), raised), state(either(WAIT, timer(60, cancelled=True)), RESTART, done=True), KNOWN)

    assert outcome.end == End("ContinuedAsNew", "null", (raised,))


def test_a_timer_between_cancel_and_continue_as_new_consumes_the_event() -> None:
    actions = state(either(WAIT, timer(60, cancelled=True)), timer(0), RESTART, done=True)
    outcome = replay(begun(set_(0), wake(), set_(1), fired(1)), actions, KNOWN)

    assert outcome.end == End("ContinuedAsNew", "null", ())


def test_early_events_are_buffered_in_order_and_without_case() -> None:
    waits = state(WAIT, WAIT, CALL)

    assert replay(begun(wake("WAKE")), waits, KNOWN).decisions == ()
    assert len(replay(begun(wake(), wake()), waits, KNOWN).decisions) == 1
    assert replay(begun(wake(), wake("other")), waits, KNOWN).decisions == ()


def test_the_latest_wait_of_a_name_is_served_first() -> None:
    nested = state(either(WAIT, CALL), either(WAIT, timer(5)), CALL)
    history = begun(called(0), task_completed(T0, 0, "1"), set_(1), wake())

    assert [one.kind for one in replay(history, nested, KNOWN).decisions] == [Kind.TASK_SCHEDULED]


def test_retries_are_attempts_with_timers_between_and_one_behind_the_last() -> None:
    options = {"firstRetryIntervalInMilliseconds": 2000, "maxNumberOfAttempts": 2}
    retried = state({**CALL, "actionType": 1, "retryOptions": options}, CALL)
    history = begun(called(0), task_failed(T0, 0, "r", "d"))
    (pause,) = replay(history, retried, KNOWN).decisions
    assert pause == Decision(Kind.TIMER_CREATED, 1, fire_at=T0 + timedelta(seconds=2))

    history += [set_(1), fired(1)]
    assert [one.sequence for one in replay(history, retried, KNOWN).decisions] == [2]

    history += [called(2), task_failed(T0, 2, "r", "d")]
    assert replay(history, retried, KNOWN).decisions == (Decision(Kind.TIMER_CREATED, 3, fire_at=T0),)

    history += [set_(3), fired(3)]
    assert [one.sequence for one in replay(history, retried, KNOWN).decisions] == [4]


def test_a_suspended_instance_keeps_what_comes_until_it_is_resumed() -> None:
    suspended = begun(called(), event(Kind.EXECUTION_SUSPENDED, T0, Reason=""), task_completed(T0, 0, "1"))
    actions = state(CALL, CALL)

    assert replay(suspended, actions, KNOWN).decisions == ()
    resumed = [*suspended, event(Kind.EXECUTION_RESUMED, T0, Reason="")]
    assert [one.sequence for one in replay(resumed, actions, KNOWN).decisions] == [1]


def test_termination_ends_whatever_is_open_and_even_a_suspended_one() -> None:
    terminated = event(Kind.EXECUTION_TERMINATED, T0, Input="why")
    history = begun(called(), event(Kind.EXECUTION_SUSPENDED, T0, Reason=""), terminated)

    assert replay(history, state(CALL), KNOWN).end == End("Terminated", "why")


def test_an_error_ends_once_nothing_is_open() -> None:
    broken = state(either(WAIT, timer(60)), error="boom")

    assert replay(begun(set_(), wake()), broken, KNOWN).end is None
    assert replay(begun(set_(), wake(), fired()), broken, KNOWN).end == End("Failed", "boom")


def test_what_cannot_be_done_fails_with_a_sentence() -> None:
    def refusal(action: dict[str, Any], *events: Event) -> str:
        end = replay(begun(*events), state(action), KNOWN).end
        assert end is not None
        assert end.status == "Failed"
        return str(end.output)

    assert "no entities" in refusal({"actionType": 7})
    assert "no call_http" in refusal({"actionType": 8})
    assert "known activity functions: 'work'" in refusal({**CALL, "functionName": "other"})
    assert "Non-Deterministic" in refusal(timer(1), called())
    assert "Non-Deterministic" in refusal(WAIT, called())


def test_a_child_may_be_called() -> None:
    child = {"actionType": 2, "functionName": "child", "input": "1", "instanceId": "c", "version": None}

    assert replay(begun(), state(child), KNOWN).decisions == (
        Decision(Kind.SUB_ORCHESTRATION_CREATED, 0, "child", "1", instance_id="c"),
    )
