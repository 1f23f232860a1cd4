"""Runs, sessions and tool calls as properties of a row, and back."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.agentkit.agent import ContinuationToken, Usage
from shared.runs.callbacks.callback import Delivery, DeliveryState
from shared.runs.run import (
    SCHEMA,
    Approval,
    CallbackState,
    CallKind,
    CallState,
    Debt,
    Limits,
    Next,
    Owed,
    PartRef,
    Run,
    RunStatus,
    Session,
    ToolCall,
)
from shared.runs.store.limits import check_values
from shared.runs.store.rows import RowUnreadable, changes, decode, encode
from shared.runs.store.tables import Value

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SESSION = "0123456789abcdef" * 2
LEAN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maybe_texts = st.none() | texts.filter(bool)  # an optional empty text is none
moments = st.datetimes(timezones=st.just(UTC))
counts = st.integers(min_value=0, max_value=2**53)
long_texts = texts | st.builds(PartRef, st.text("0123456789abcdef", min_size=32, max_size=32), counts)
RUNS = st.builds(
    Run,
    session_id=st.just(SESSION),
    number=st.integers(min_value=1, max_value=99_999_999),
    agent=texts,
    owner=texts,
    submission=texts,
    created_at=moments,
    updated_at=moments,
    deadline_at=st.none() | moments,
    wake_at=moments,
    limits=st.builds(Limits, turns=counts, tool_calls=counts, total_tokens=st.none() | counts),
    status=st.sampled_from(RunStatus),
    next=st.sampled_from(Next),
    completed_at=st.none() | moments,
    metadata=st.dictionaries(texts, texts, max_size=3),
    token=st.none() | st.builds(ContinuationToken, response_id=texts),
    attempt=counts,
    nonce=texts,
    claimed_until=st.none() | moments,
    response_ids=st.lists(texts, max_size=3).map(tuple),
    previous_response_id=maybe_texts,
    replay=st.booleans(),
    provider_status=maybe_texts,
    denied_since=st.none() | moments,
    lease_owner=texts,
    lease_until=st.none() | moments,
    beside_others=st.booleans(),
    usage=st.builds(Usage, input_tokens=counts, output_tokens=counts, total_tokens=counts),
    text=long_texts,
    error_code=maybe_texts,
    error_message=maybe_texts,
    retry_after=st.floats(min_value=0, max_value=1e9),
    model=maybe_texts,
    deleted_at=st.none() | moments,
    unknown_at=st.none() | moments,
    replay_turn=counts,
    answer_by=st.none() | moments,
    deadline_left=st.none() | st.floats(min_value=0, max_value=1e9),
    output=long_texts,
    corrections=counts,
    callback_url=maybe_texts,
    callback_state=st.none() | st.sampled_from(CallbackState),
    deliveries=counts,
    debts=st.lists(
        st.builds(Debt, kind=st.sampled_from(Owed), subject=texts, due=moments, since=moments, tries=counts), max_size=3
    ).map(tuple),
)
SESSIONS = st.builds(
    Session,
    session_id=st.just(SESSION),
    agent=texts,
    owner=texts,
    created_at=moments,
    last_activity=moments,
    response_id=maybe_texts,
    replay=st.booleans(),
    active_run=st.none() | counts,
    next_number=counts,
    deleted_at=st.none() | moments,
)
CALLS = st.builds(
    ToolCall,
    session_id=st.just(SESSION),
    number=counts,
    turn=counts,
    index=counts,
    call_id=texts,
    interruptions=counts,
    name=texts,
    arguments=long_texts,
    kind=st.sampled_from(CallKind),
    state=st.sampled_from(CallState),
    approval=st.sampled_from(Approval),
    why=texts,
    reason=texts,
    progress=texts,
    progress_fraction=st.none() | st.floats(min_value=0, max_value=1),
    progress_at=st.none() | moments,
    starts=counts,
    owner=texts,
    result=long_texts,
    started_at=st.none() | moments,
    finished_at=st.none() | moments,
)

DELIVERIES = st.builds(
    Delivery,
    session_id=st.just(SESSION),
    number=counts,
    index=counts,
    event=texts,
    attempt=counts,
    sent_at=moments,
    state=st.sampled_from(DeliveryState),
    http_status=st.none() | counts,
    fault=maybe_texts,
    seconds=st.none() | st.floats(min_value=0, max_value=1e9),
    next_try_at=st.none() | moments,
)


def a_run(**given: Any) -> Run:
    run = Run(
        session_id=SESSION,
        number=1,
        agent="novelist",
        owner="app",
        submission="s",
        created_at=NOW,
        updated_at=NOW,
        deadline_at=NOW,
        wake_at=NOW,
        limits=Limits(turns=20, tool_calls=100),
    )
    return replace(run, **given)


def a_row(**given: Value) -> dict[str, Value]:
    return {**encode(a_run()), **given}


@LEAN
@given(record=RUNS | SESSIONS | CALLS | DELIVERIES)
def test_a_record_comes_back_as_it_was_written(record: Any) -> None:
    assert decode(type(record), encode(record)) == record


@LEAN
@given(pair=st.tuples(RUNS, RUNS) | st.tuples(SESSIONS, SESSIONS) | st.tuples(CALLS, CALLS))
def test_changes_are_exactly_the_merge_that_makes_one_record_the_other(pair: tuple[Any, Any]) -> None:
    before, after = pair
    merge = changes(before, after)
    assert decode(type(after), {**encode(before), **merge}) == after
    assert all(encode(before)[name] != value for name, value in merge.items())
    assert changes(before, before) == {}


@pytest.mark.parametrize(
    ("change", "merge"),
    [
        ({"status": RunStatus.FAILED}, {"status": "failed"}),
        ({"deadline_at": None}, {"deadline_at": ""}),
        ({"token": ContinuationToken(response_id="r")}, {"token": '{"response_id": "r"}'}),
        ({"text": "story"}, {"text": "story"}),
        ({"text": PartRef("ab", 3)}, {"text_part": "ab:3"}),
        ({"retry_after": 2.5}, {"retry_after": 2.5}),
        ({"replay": True}, {"replay": True}),
        ({"metadata": {"ä": "ö"}}, {"metadata": '{"ä":"ö"}'}),
        ({"wake_at": NOW + timedelta(seconds=1)}, {"wake_at": "2026-03-01T12:00:01+00:00"}),
    ],
)
def test_how_a_change_is_written(change: dict[str, Any], merge: dict[str, Value]) -> None:
    assert changes(a_run(), a_run(**change)) == merge


def test_a_value_that_moves_between_row_and_parts_leaves_no_trace_of_the_other() -> None:
    inline, apart = a_run(text="story"), a_run(text=PartRef("ab", 3))
    assert decode(Run, {**encode(inline), **changes(inline, apart)}) == apart
    assert decode(Run, {**encode(apart), **changes(apart, inline)}) == inline


@pytest.mark.parametrize("kind", [Run, Session, ToolCall])
def test_properties_that_an_older_version_did_not_write_have_their_defaults(kind: Any) -> None:
    required = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    record = {
        Run: a_run(),
        Session: Session(session_id=SESSION, agent="a", owner="o", created_at=NOW, last_activity=NOW),
        ToolCall: ToolCall(session_id=SESSION, number=1, turn=1, index=0, call_id="c", name="n", arguments="{}"),
    }[kind]
    assert decode(kind, {name: value for name, value in encode(record).items() if name in required}) == record


def test_properties_that_this_version_does_not_know_are_passed_over() -> None:
    assert decode(Run, a_row(of_tomorrow="x")) == a_run()


def test_a_moment_keeps_its_instant_whatever_its_zone() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert decode(Run, encode(a_run(wake_at=elsewhere))).wake_at == NOW


@pytest.mark.parametrize(
    "damage",
    [
        {"status": "sleeping"},
        {"status": ""},
        {"next": 3},
        {"number": "1"},
        {"number": 1.5},
        {"number": b"1"},
        {"agent": 7},
        {"replay": "yes"},
        {"retry_after": "soon"},
        {"created_at": ""},
        {"created_at": "yesterday"},
        {"created_at": "2026-03-01T12:00:00"},
        {"limits": "{}"},
        {"limits": "[1, 2]"},
        {"usage": '{"of_tomorrow": 1}'},
        {"token": "{"},
        {"token": "{}"},
        {"token": "[]"},
        {"metadata": "{"},
        {"debts": '[{"kind": "cancel", "subject": "r"}]'},
        {
            "debts": '[{"kind": "lunch", "subject": "r", "due": "2026-03-01T12:00:00+00:00",'
            ' "since": "2026-03-01T12:00:00+00:00", "tries": 0}]'
        },
        {"debts": "7"},
        {"debts": '[{"kind": "cancel", "subject": "r", "due": "2026-03-01", "since": "2026-03-01", "tries": 0}]'},
        {"text_part": "ab"},
        {"text_part": "ab:x"},
        {"text_part": "ab:1:2"},
    ],
    ids=str,
)
def test_a_damaged_row_is_unreadable_and_nothing_else(damage: dict[str, Value]) -> None:
    with pytest.raises(RowUnreadable):
        decode(Run, a_row(**damage))


@pytest.mark.parametrize("missing", ["session_id", "number", "wake_at", "limits"])
def test_a_row_without_what_every_version_wrote_is_unreadable(missing: str) -> None:
    row = a_row()
    del row[missing]
    with pytest.raises(RowUnreadable):
        decode(Run, row)


@pytest.mark.parametrize("schema", [SCHEMA + 1, 99, "1", 1.0])
def test_a_newer_schema_is_refused_whatever_else_the_row_holds(schema: Value) -> None:
    with pytest.raises(RowUnreadable, match="schema"):
        decode(Run, {"schema": schema})


def test_a_type_that_has_no_form_in_a_row_is_refused() -> None:
    @dataclasses.dataclass
    class Odd:
        value: object

    with pytest.raises(TypeError, match="no way to write"):
        encode(Odd(value=object()))


def test_a_value_that_one_property_cannot_hold_goes_on_in_others() -> None:
    ids = tuple(f"resp_{number:048}" for number in range(2_000))
    run = a_run(response_ids=ids, metadata={"k": "\U0001f40b" * 20_000})
    row = encode(run)
    check_values(SESSION, "00000001", row)
    assert decode(Run, row) == run


def test_a_value_that_shrinks_leaves_nothing_behind() -> None:
    ids = tuple(f"resp_{number:048}" for number in range(2_000))
    row = encode(a_run(response_ids=ids))
    for left in (ids[:700], ids[:5], ()):
        before = decode(Run, row)
        row |= changes(before, replace(before, response_ids=left))
        assert decode(Run, row) == a_run(response_ids=left)


@pytest.mark.parametrize("name", ["name", "call_id", "why", "index", "progress_fraction"])
def test_what_could_not_be_read_again_is_not_written(name: str) -> None:
    call = ToolCall(session_id=SESSION, number=1, turn=1, index=0, call_id="c", name="n", arguments="{}")
    wrong: Any = "1" if name in ("index", "progress_fraction") else 1
    with pytest.raises(TypeError):
        encode(replace(call, **{name: wrong}))
