"""Runs, batches, sessions and tool calls as properties of a row, and back."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.agentkit.agent import ContinuationToken, Usage
from shared.agentkit.extras import HostedCall
from shared.runs.model import batch
from shared.runs.model.calls import Approval, CallKind, CallState, ToolCall
from shared.runs.model.deliveries import Delivery, DeliveryState
from shared.runs.model.outbox import CallbackState, Entry, EntryKind, Outbox
from shared.runs.model.phases import Claim, Creating, Ended, Lease, Pending, RunningTools, RunStatus, WaitingForAnswers
from shared.runs.model.run import (
    SCHEMA,
    Chain,
    Counters,
    Extras,
    Limits,
    PartRef,
    Request,
    Result,
    Run,
    Schedule,
    Turn,
    TurnReasoning,
)
from shared.runs.model.session import Session
from shared.runs.store.rows import changes, decode, encode, encode_new
from shared.runs.store.tables import Value
from shared.runs.store.unreadable import RowTooNew, RowTooOld, RowUnreadable
from tests.parts.cases import cases
from tests.parts.limits import check_values
from tests.unit.runs.records import NOW, SESSION, a_run, an_entry

LEAN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maybe_texts = st.none() | texts.filter(bool)  # an optional empty text is none
moments = st.datetimes(timezones=st.just(UTC))
counts = st.integers(min_value=0, max_value=2**53)
seconds = st.floats(min_value=0, max_value=1e9)
long_texts = texts | st.builds(PartRef, st.text("0123456789abcdef", min_size=32, max_size=32), counts)
CLAIMS = st.builds(Claim, until=moments, unknown_at=moments, owner=texts)
PHASES = st.one_of(
    st.builds(
        Creating,
        nonce=texts,
        claim=st.none() | CLAIMS,
        not_before=st.none() | moments,
        not_accepted=counts,
        previous_missing=counts,
        agent_errors=counts,
        denied_since=st.none() | moments,
    ),
    st.builds(
        Pending,
        token=st.builds(ContinuationToken, response_id=texts),
        nonce=texts,
        next_look=moments,
        no_news=counts,
        missing=counts,
        missing_since=st.none() | moments,
    ),
    st.builds(
        RunningTools, lease=st.none() | st.builds(Lease, owner=texts, until=moments, beside_others=st.booleans())
    ),
    st.builds(WaitingForAnswers, answer_by=moments, seconds_left=st.none() | seconds),
    st.builds(Ended, status=st.sampled_from(RunStatus), completed_at=moments, deleted_at=st.none() | moments),
)
USAGES = st.builds(Usage, input_tokens=counts, output_tokens=counts, total_tokens=counts)
OUTBOXES = st.builds(
    Outbox,
    entries=st.lists(
        st.builds(Entry, kind=st.sampled_from(EntryKind), subject=texts, due=moments, since=moments, tries=counts),
        max_size=3,
    ).map(tuple),
    callback_state=st.none() | st.sampled_from(CallbackState),
    deliveries=counts,
)
RUNS = st.builds(
    Run,
    request=st.builds(
        Request,
        session_id=st.just(SESSION),
        number=st.integers(min_value=1, max_value=99_999_999),
        agent=texts,
        owner=texts,
        fingerprint=texts,
        created_at=moments,
        limits=st.builds(Limits, turns=counts, tool_calls=counts, total_tokens=st.none() | counts),
        model=st.none() | texts,
        stream=st.booleans(),
        metadata=st.dictionaries(texts, texts, max_size=3),
        slot=st.none() | counts,
        batch_id=st.none() | texts,
        callback_url=st.none() | texts,
        follows=st.none() | counts,
        background=st.booleans(),
    ),
    schedule=st.builds(
        Schedule,
        deadline_at=st.none() | moments,
        resume_at=st.none() | moments,
        crashes=counts,
        agent_unknown_since=st.none() | moments,
        retry_after=seconds,
    ),
    updated_at=moments,
    turn=st.builds(
        Turn,
        number=counts,
        attempt=counts,
        accepted_at=st.none() | moments,
        unknown_outcomes=counts,
        restarts=counts,
        calls=counts,
        replay=st.booleans(),
    ),
    phase=PHASES,
    chain=st.builds(
        Chain,
        last_response_id=st.none() | texts,
        replay=st.booleans(),
        response_ids=st.lists(texts, max_size=3).map(tuple),
        items=counts,
        provider_status=st.none() | texts,
    ),
    counters=st.builds(Counters, wakes=counts, tool_calls=counts, usage=USAGES, corrections=counts),
    result=st.builds(
        Result,
        text=long_texts,
        output=long_texts,
        error_code=st.none() | texts,
        error_message=st.none() | texts,
        incomplete_reason=st.none() | texts,
        annotations=long_texts,
    ),
    outbox=OUTBOXES,
    extras=st.builds(
        Extras,
        hosted_calls=st.lists(
            st.builds(HostedCall, id=texts, type=texts, status=texts, summary=texts, error=texts, turn=counts),
            max_size=3,
        ).map(tuple),
        reasoning=st.lists(st.builds(TurnReasoning, turn=counts, text=texts), max_size=3).map(tuple),
    ),
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
    purged=counts,
    emptied=st.booleans(),
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

BATCH_PHASES = st.one_of(
    st.builds(batch.Running, begun=st.booleans()),
    st.builds(batch.Cancelling),
    st.builds(batch.Ended, status=st.sampled_from(batch.BatchStatus), completed_at=moments),
    st.builds(
        batch.Deleted,
        status=st.sampled_from(batch.BatchStatus),
        deleted_at=moments,
        purged=counts,
        emptied=st.booleans(),
    ),
)
BATCHES = st.builds(
    batch.Batch,
    request=st.builds(
        batch.BatchRequest,
        id=texts,
        owner=texts,
        fingerprint=texts,
        created_at=moments,
        total=counts,
        concurrency=counts,
        agent=st.none() | texts,
        model=st.none() | texts,
        metadata=st.dictionaries(texts, texts, max_size=3),
        refused=st.lists(counts, max_size=3).map(tuple),
        callback_url=st.none() | texts,
        retry_of=st.none() | texts,
    ),
    schedule=st.builds(
        batch.BatchSchedule,
        wake_at=moments,
        progress_at=moments,
        crashes=counts,
        wakes=counts,
        retry_after=seconds,
    ),
    pace=st.builds(
        batch.Pace,
        window=counts,
        accepted_at=st.none() | moments,
        held=st.booleans(),
        not_before=st.none() | moments,
        refusals=counts,
        crashes=counts,
    ),
    updated_at=moments,
    phase=BATCH_PHASES,
    progress=st.builds(
        batch.Progress,
        cursor=counts,
        active=st.lists(st.builds(batch.Active, index=counts, since=moments), max_size=3).map(tuple),
        completed=counts,
        incomplete=counts,
        failed=counts,
        cancelled=counts,
        cancelled_from=st.none() | counts,
        failed_from=st.none() | counts,
        failed_because=texts,
    ),
    outbox=OUTBOXES,
    last_callback=st.builds(
        batch.LastCallback, at=st.none() | moments, http_status=st.none() | counts, fault=st.none() | texts
    ),
    over_at=st.none() | moments,
)
ITEMS = st.builds(
    batch.BatchItem,
    index=counts,
    id=maybe_texts,
    asked=long_texts,
    error_code=maybe_texts,
    error_message=maybe_texts,
    retry_of_index=st.none() | counts,
)
RESULTS = st.builds(
    batch.ItemResult,
    index=counts,
    status=st.sampled_from(RunStatus),
    ended_at=moments,
    ran=st.booleans(),
    error_code=maybe_texts,
    error_message=maybe_texts,
)


def a_row(**given: Value) -> dict[str, Value]:
    return {**encode(a_run()), **given}


def a_request(**damage: Any) -> dict[str, Value]:
    return {"request": json.dumps(json.loads(str(encode(a_run())["request"])) | damage)}


@LEAN
@given(record=RUNS | SESSIONS | CALLS | DELIVERIES | BATCHES | ITEMS | RESULTS)
def test_a_record_comes_back_as_it_was_written(record: Any) -> None:
    assert decode(type(record), encode(record)) == record
    assert decode(type(record), encode_new(record)) == record


@LEAN
@given(pair=st.one_of(*(st.tuples(each, each) for each in (RUNS, SESSIONS, CALLS, DELIVERIES, BATCHES))))
def test_changes_are_exactly_the_merge_that_makes_one_record_the_other(pair: tuple[Any, Any]) -> None:
    before, after = pair
    merge = changes(before, after)
    assert decode(type(after), {**encode(before), **merge}) == after
    assert decode(type(after), {**encode_new(before), **merge}) == after
    assert all(encode(before)[name] != value for name, value in merge.items())
    assert changes(before, before) == {}


@cases(
    ("change", "merge"),
    [
        (
            {"phase": Ended(status=RunStatus.FAILED, completed_at=NOW)},
            {"phase": '{"is":"Ended","status":"failed","completed_at":"2026-03-01T12:00:00+00:00"}'},
        ),
        ({"phase": RunningTools()}, {"phase": '{"is":"RunningTools"}'}),
        ({"deadline_at": None}, {"schedule": '{"deadline_at":null}'}),
        (
            {"phase": Pending(token=ContinuationToken(response_id="r"), next_look=NOW)},
            {
                "phase": '{"is":"Pending","token":{"response_id":"r"},"next_look":"2026-03-01T12:00:00+00:00"}',
            },
        ),
        ({"text": "story"}, {"text": "story"}),
        ({"text": PartRef("ab", 3)}, {"text_part": "ab:3"}),
        ({"error_code": "x"}, {"result": '{"error_code":"x"}'}),
        ({"retry_after": 2.5}, {"schedule": '{"deadline_at":"2026-03-01T13:00:00+00:00","retry_after":2.5}'}),
        ({"replay": True}, {"turn": '{"replay":true}'}),
        ({"chain": Chain(replay=True)}, {"chain": '{"replay":true}'}),
        (
            {"metadata": {"ä": "ö"}},
            {
                "request": '{"session_id":"0123456789abcdef0123456789abcdef","number":1,"agent":"novelist",'
                '"owner":"app","fingerprint":"s","created_at":"2026-03-01T12:00:00+00:00",'
                '"limits":{"turns":20,"tool_calls":100},"metadata":{"ä":"ö"}}'
            },
        ),
        ({"updated_at": NOW + timedelta(seconds=1)}, {"updated_at": "2026-03-01T12:00:01+00:00"}),
        (
            {"entries": (an_entry(),)},
            {
                "outbox": '{"entries":[{"kind":"cancel","subject":"resp_1","due":"2026-03-01T12:00:00+00:00",'
                '"since":"2026-03-01T12:00:00+00:00"}]}'
            },
        ),
    ],
)
def test_how_a_change_is_written(change: dict[str, Any], merge: dict[str, Value]) -> None:
    assert changes(a_run(), a_run(**change)) == merge


def test_a_new_row_has_no_empty_properties_but_those_that_must_be_there() -> None:
    call = ToolCall(session_id=SESSION, number=1, turn=1, index=0, call_id="", name="n", arguments="")
    assert encode_new(call) == {
        "schema": SCHEMA,
        "session_id": SESSION,
        "number": 1,
        "turn": 1,
        "index": 0,
        "call_id": "",
        "name": "n",
        "arguments": "",
        "kind": "function",
        "state": "open",
        "approval": "none",
        "starts": 0,
        "interruptions": 0,
    }


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
    assert decode(Run, a_row(**a_request(of_tomorrow={"x": 1}))) == a_run()
    assert decode(Run, a_row(phase='{"is":"Creating","of_tomorrow":1}')) == a_run()


def test_a_moment_keeps_its_instant_whatever_its_zone() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert decode(Run, encode(a_run(updated_at=elsewhere))).updated_at == NOW
    assert decode(Run, encode(a_run(created_at=elsewhere))).request.created_at == NOW


@cases(
    "damage",
    [
        {"phase": '{"is":"Sleeping"}'},
        {"phase": '{"is":""}'},
        {"phase": "{}"},
        {"phase": "[]"},
        {"phase": 3},
        {"phase": '{"is":"Ended","status":"sleeping","completed_at":"2026-03-01T12:00:00+00:00"}'},
        {"phase": '{"is":"Ended","status":"","completed_at":"2026-03-01T12:00:00+00:00"}'},
        {"phase": '{"is":"Ended","status":"failed"}'},
        {"phase": '{"is":"Pending","token":"{","next_look":"2026-03-01T12:00:00+00:00"}'},
        {"phase": '{"is":"Pending","token":{},"next_look":"2026-03-01T12:00:00+00:00"}'},
        {"phase": '{"is":"Pending","token":[],"next_look":"2026-03-01T12:00:00+00:00"}'},
        {"phase": '{"is":"Pending","token":{"response_id":"r"},"next_look":"soon"}'},
        a_request(number="1"),
        a_request(number=1.5),
        a_request(number=None),
        a_request(agent=7),
        a_request(stream="yes"),
        a_request(created_at=""),
        a_request(created_at="yesterday"),
        a_request(created_at="2026-03-01T12:00:00"),
        a_request(created_at=7),
        a_request(limits={}),
        a_request(limits=[1, 2]),
        a_request(limits=None),
        a_request(limits={"turns": "x", "tool_calls": 1}),
        a_request(metadata="{"),
        a_request(metadata={"a": 1}),
        {"request": 7},
        {"request": b"{}"},
        {"request": ""},
        {"request": "{"},
        {"updated_at": ""},
        {"updated_at": "yesterday"},
        {"updated_at": "2026-03-01T12:00:00"},
        {"turn": '{"replay":"yes"}'},
        {"turn": '{"number":null}'},
        {"turn": "[]"},
        {"turn": ""},
        {"schedule": '{"deadline_at":null,"retry_after":"soon"}'},
        {"counters": '{"usage":7}'},
        {"counters": '{"usage":{"input_tokens":"many"}}'},
        {"chain": '{"response_ids":"resp"}'},
        {"chain": '{"response_ids":[7]}'},
        {"outbox": '{"entries":[{"kind":"cancel","subject":"r"}]}'},
        {
            "outbox": '{"entries":[{"kind":"lunch","subject":"r","due":"2026-03-01T12:00:00+00:00",'
            '"since":"2026-03-01T12:00:00+00:00"}]}'
        },
        {"outbox": '{"entries":7}'},
        {"outbox": '{"entries":[7]}'},
        {"outbox": '{"entries":[{"kind":"cancel","subject":"r","due":"2026-03-01","since":"2026-03-01"}]}'},
        {"text_part": "ab"},
        {"text_part": "ab:x"},
        {"text_part": "ab:1:2"},
    ],
)
def test_a_damaged_row_is_unreadable_and_nothing_else(damage: dict[str, Value]) -> None:
    with pytest.raises(RowUnreadable):
        decode(Run, a_row(**damage))


@pytest.mark.parametrize("missing", ["request", "schedule", "updated_at"])
def test_a_row_without_what_every_version_wrote_is_unreadable(missing: str) -> None:
    row = a_row()
    del row[missing]
    with pytest.raises(RowUnreadable):
        decode(Run, row)


@pytest.mark.parametrize("missing", ["session_id", "number", "created_at", "limits"])
def test_a_part_without_what_every_version_wrote_is_unreadable(missing: str) -> None:
    part = json.loads(str(a_row()["request"]))
    del part[missing]
    with pytest.raises(RowUnreadable):
        decode(Run, a_row(request=json.dumps(part)))


@pytest.mark.parametrize("schema", [SCHEMA + 1, 99, "1", 1.0])
def test_a_newer_schema_is_refused_whatever_else_the_row_holds(schema: Value) -> None:
    with pytest.raises(RowUnreadable, match="schema"):
        decode(Run, {"schema": schema})


@pytest.mark.parametrize("schema", [SCHEMA - 1, 1, 0])
def test_a_row_of_an_earlier_format_is_told_from_a_damaged_one(schema: int) -> None:
    with pytest.raises(RowTooOld, match="schema"):
        decode(Run, a_row(schema=schema))
    with pytest.raises(RowTooNew, match="schema"):
        decode(Run, a_row(schema=SCHEMA + 1))


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
        row |= changes(before, replace(before, chain=replace(before.chain, response_ids=left)))
        assert decode(Run, row) == a_run(response_ids=left)


@cases(
    "wrong",
    [
        {"agent": 1},
        {"number": "1"},
        {"stream": "yes"},
        {"metadata": {"a": 1}},
        {"metadata": {1: "a"}},
        {"metadata": "a"},
        {"limits": Limits(turns="1", tool_calls=1)},  # type: ignore[arg-type]
        {"created_at": "2026-03-01T12:00:00+00:00"},
        {"retry_after": "1"},
        {"response_ids": (1,)},
        {"error_code": 1},
        {"phase": None},
        {"phase": Turn()},
        {"phase": Pending(token=None, next_look=NOW)},  # type: ignore[arg-type]
        {"turn": Turn(number=None)},  # type: ignore[arg-type]
    ],
)
def test_what_could_not_be_read_again_of_a_part_is_not_written(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, AttributeError, KeyError)):
        encode(a_run(**wrong))


@pytest.mark.parametrize("name", ["name", "call_id", "why", "index", "progress_fraction"])
def test_what_could_not_be_read_again_is_not_written(name: str) -> None:
    call = ToolCall(session_id=SESSION, number=1, turn=1, index=0, call_id="c", name="n", arguments="{}")
    wrong: Any = "1" if name in ("index", "progress_fraction") else 1
    with pytest.raises(TypeError):
        encode(replace(call, **{name: wrong}))
