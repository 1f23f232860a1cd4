"""What a wake does with what its provider and its tools say, over tables alone and a provider that is played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from shared.agentkit import faults
from shared.agentkit.agent import AgentResponse, ContinuationToken, ResponseStatus, RunOptions, Send, Usage
from shared.agentkit.tools import Progress, Tool, tool
from shared.runs.actions import call_row, outbox, provider, tools
from shared.runs.actions.advance import advance
from shared.runs.actions.call_row import MAX_TRIES, CallRow
from shared.runs.actions.outbox import CANCEL_PATIENCE, DELETES_A_WAKE, LOST_TRIES, PROVIDER_KEEPS
from shared.runs.actions.outcome import Outcome
from shared.runs.actions.tools import shortened
from shared.runs.concurrency import LostRace
from shared.runs.model.calls import Approval, CallKind, CallState, ToolCall
from shared.runs.model.facts import Attempt
from shared.runs.model.outbox import CallbackState, Entry, EntryKind
from shared.runs.model.phases import Claim, Creating, Ended, Pending, RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.rules.agenda import ActionKind
from shared.runs.rules.schedule import CALLBACK_WAITS
from shared.runs.store.runs import CallChange, Stored
from shared.runs.store.tables import Conflict, StoreUnavailable, Table
from shared.runs.store.unreadable import RowTooNew
from shared.settings import Settings
from tests.parts.memory import MemoryTables
from tests.unit.runs.conftest import Clock
from tests.unit.runs.records import NOW, SESSION, a_run, an_entry, at, put
from tests.unit.runs.test_transitions import a_call, pending

RUN = f"run_{SESSION}_1"
NOTHING = Outcome(None, None)
OVER = Ended(status=RunStatus.COMPLETED, completed_at=NOW)
Answer = AgentResponse | Exception | None


def still_pending(response_id: str = "resp_1", **fields: Any) -> AgentResponse:
    token = ContinuationToken(response_id=response_id)
    return AgentResponse(
        status=ResponseStatus.PENDING,
        provider_status="in_progress",
        response_id=response_id,
        continuation_token=token,
        **fields,
    )


def done(**fields: Any) -> AgentResponse:
    given = {"status": ResponseStatus.COMPLETED, "provider_status": "completed", "response_id": "resp_1", "text": "t"}
    return AgentResponse(**{**given, **fields})


class Played:
    """An agent whose provider answers as the test says."""

    output = None
    streams = False
    chains = True
    models: frozenset[str] = frozenset()

    def __init__(self, *answers: Answer, background: bool = True, tools: Mapping[str, Tool] | None = None) -> None:
        self.answers = list(answers)
        self.background = background
        self.tools = tools or {}
        self.asked: list[str] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.metadata: Mapping[str, str] = {}

    async def _answer(self, what: str) -> AgentResponse | None:
        self.asked.append(what)
        if self.meanwhile is not None:
            await self.meanwhile()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def prepare(self, messages: Any, *, session: Any, options: RunOptions) -> Send:
        self.metadata = options.metadata

        async def send() -> AgentResponse:
            return cast(AgentResponse, await self._answer("create"))

        return send

    async def run(self, messages: Any, *, session: Any, options: RunOptions) -> AgentResponse:
        return cast(AgentResponse, await self._answer("look"))

    async def cancel(self, response_id: str, *, timeout: float) -> AgentResponse | None:
        return await self._answer(f"cancel {response_id}")

    async def delete(self, response_id: str, *, timeout: float) -> None:
        await self._answer(f"delete {response_id}")


def serving(ports: Ports, agent: Played, **settings: Any) -> Ports:
    """The same with this agent and these settings."""
    given = Settings(**{"openai_api_key": "k", "app_name": "unit", **settings})
    return replace(ports, agents=cast(Any, {"novelist": agent}), settings=given)


async def load(ports: Ports) -> Run:
    stored = await ports.runs.load(RUN)
    assert stored is not None
    return stored.value


async def remove(ports: Ports) -> None:
    stored = await ports.runs.load(RUN)
    assert stored is not None
    await ports.runs.delete_run(stored)


# --- wakes --------------------------------------------------------------------------------------------


async def test_a_wake_of_a_run_that_is_not_there_has_nothing_to_do(ports: Ports) -> None:
    assert await advance(ports, RUN) == NOTHING
    assert await advance(ports, "x") == NOTHING


@pytest.mark.parametrize(
    ("only", "asked", "wake_in"),
    [
        (None, ["look"], 1.5),
        (frozenset({ActionKind.LOOK}), ["look"], 1.5),
        (frozenset({ActionKind.OUTBOX}), [], 0.0),
    ],
)
async def test_what_a_wake_may_not_do_is_left_to_another(
    ports: Ports, only: frozenset[ActionKind] | None, asked: list[str], wake_in: float
) -> None:
    agent = Played(still_pending())
    await put(ports, a_run(phase=pending(look=0)))
    outcome = await advance(serving(ports, agent), RUN, only=only)
    assert (outcome.wake_in, outcome.may_be_early, agent.asked) == (wake_in, bool(asked), asked)


async def test_a_wake_asks_somebody_else_once(ports: Ports) -> None:
    agent = Played(None, still_pending())
    await put(ports, a_run(phase=pending("resp_1", look=0), entries=(an_entry("resp_0"),)))
    assert await advance(serving(ports, agent), RUN) == Outcome(RunStatus.IN_PROGRESS, 0.0)
    assert agent.asked == ["cancel resp_0"]
    assert await advance(serving(ports, agent), RUN) == Outcome(RunStatus.IN_PROGRESS, 1.5)
    assert agent.asked == ["cancel resp_0", "look"]


async def test_a_run_of_an_unknown_agent_still_ends_and_waits_for_its_agent_before(ports: Ports, clock: Clock) -> None:
    await put(ports, a_run(phase=pending(look=0), deadline_at=at(40)))
    assert await advance(ports, RUN) == Outcome(RunStatus.IN_PROGRESS, 30.0)
    clock.move(40)
    outcome = await advance(ports, RUN)
    assert outcome.status is RunStatus.FAILED
    assert (await load(ports)).result.error_code == "deadline_exceeded"


@pytest.mark.parametrize(
    ("error", "raised"), [(StoreUnavailable("gone"), True), (RowTooNew("new"), True), (ZeroDivisionError(), False)]
)
async def test_only_what_nobody_expected_is_counted_as_a_crash(
    ports: Ports, caplog: pytest.LogCaptureFixture, error: Exception, raised: bool
) -> None:
    await put(ports, a_run(phase=pending(look=0)))
    ports = serving(ports, Played(error))
    if raised:
        with pytest.raises(type(error)):
            await advance(ports, RUN)
    else:
        assert await advance(ports, RUN) == Outcome(RunStatus.IN_PROGRESS, 2.0)
        assert "a wake crashed" in caplog.text
    assert (await load(ports)).schedule.crashes == int(not raised)


@pytest.mark.parametrize("error", [LostRace("x"), ZeroDivisionError()])
async def test_a_wake_whose_run_goes_meanwhile_has_nothing_to_do(ports: Ports, error: Exception) -> None:
    agent = Played(error)
    agent.meanwhile = lambda: remove(ports)
    await put(ports, a_run(phase=pending(look=0)))
    assert await advance(serving(ports, agent), RUN) == NOTHING


async def test_a_wake_that_lost_a_race_says_what_the_row_says(ports: Ports) -> None:
    await put(ports, a_run(phase=pending(look=-5)))
    outcome = await advance(serving(ports, Played(LostRace("x"))), RUN)
    assert (outcome.status, outcome.wake_in) == (RunStatus.IN_PROGRESS, 0.0)
    assert (await load(ports)).schedule.crashes == 0


# --- creates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "phase", "status"),
    [
        (still_pending(), Pending, "in_progress"),
        (done(), Ended, "completed"),
        (faults.NotAccepted("x", code="c"), Creating, "c"),
        (faults.PerhapsAccepted("x", code="c"), Creating, "c"),
        (faults.NoNews("x", code="c"), Creating, "c"),
        (TimeoutError(), Creating, "create_timeout"),
        (still_pending(metadata={"app": "another"}), Creating, "another_response"),
        (faults.Refused("x", code="c"), Ended, None),
    ],
)
@pytest.mark.parametrize("background", [True, False])
async def test_what_becomes_of_a_create(
    ports: Ports, answer: Answer, phase: type[Any], status: str | None, background: bool
) -> None:
    agent = Played(answer, background=background)
    ports = serving(ports, agent)
    await put(ports, a_run())
    await advance(ports, RUN)
    run = await load(ports)
    assert type(run.phase) is phase
    assert agent.asked == ["create"]
    if status is not None:
        assert run.chain.provider_status == status
    unknown = isinstance(answer, faults.PerhapsAccepted | faults.NoNews | TimeoutError) or status == "another_response"
    if isinstance(run.phase, Creating):
        # A call that answers within itself leaves nothing running, so nothing is waited out.
        claim = (Claim(until=at(60), unknown_at=at(90)) if background else None) if unknown else None
        assert run.phase.claim == claim
        assert run.turn.unknown_outcomes == int(unknown and not background)
    assert agent.metadata["run"] == RUN
    assert agent.metadata["attempt"] == "1"


async def test_a_response_whose_run_goes_while_it_is_created_is_stopped(ports: Ports) -> None:
    agent = Played(still_pending(), still_pending(), None)
    ports = serving(ports, agent)
    await put(ports, a_run())
    removed = False

    async def meanwhile() -> None:
        nonlocal removed
        if not removed:
            removed = True
            await remove(ports)

    agent.meanwhile = meanwhile
    assert await advance(ports, RUN) == NOTHING
    assert agent.asked == ["create", "cancel resp_1", "delete resp_1"], "no row can name it any more"


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (still_pending(response_id=None), ["create"]),  # type: ignore[arg-type]
        (still_pending(), ["create", "cancel resp_1"]),
    ],
)
async def test_what_cannot_be_stopped_is_left(ports: Ports, answer: AgentResponse, asked: list[str]) -> None:
    agent = Played(answer, faults.NoNews("x", code="c"))
    ports = serving(ports, agent)
    await put(ports, a_run())

    async def meanwhile() -> None:
        if len(agent.asked) == 1:
            await remove(ports)

    agent.meanwhile = meanwhile
    assert await advance(ports, RUN) == NOTHING
    assert agent.asked == asked


@pytest.mark.parametrize(("seconds", "sent"), [(30, True), (30.5, False)])
async def test_nothing_is_sent_once_too_little_of_the_claim_is_left(
    ports: Ports, tables: MemoryTables, clock: Clock, seconds: float, sent: bool
) -> None:
    agent = Played(still_pending())
    ports = serving(ports, agent, create_timeout=30, create_claim=60)
    await put(ports, a_run())

    async def after(operation: str, table: Table, *_: object) -> None:
        if operation == "commit" and table is Table.RUNS:
            tables.after = None
            clock.move(seconds)

    tables.after = after
    await advance(ports, RUN)
    run = await load(ports)
    assert agent.asked == (["create"] if sent else [])
    assert isinstance(run.phase, Pending if sent else Creating)
    if not sent:
        assert run.phase == Creating(not_accepted=1, not_before=at(seconds + 4))


@pytest.mark.parametrize(
    ("said", "another"),
    [
        ({}, False),
        ({"app": "a", "run": RUN}, False),
        ({"turn": "2"}, True),
        ({"nonce": "m"}, True),
        ({"app": "b"}, True),
        ({"more": "x"}, False),
    ],
)
def test_whose_a_response_is(said: dict[str, str], another: bool) -> None:
    ours = provider.metadata_of("a", a_run(), Attempt(turn=1, number=1, nonce="n"))
    assert provider.names_another(done(metadata=said), ours) is another
    nameless = provider.metadata_of("", a_run(), Attempt(turn=1, number=1, nonce=""))
    assert provider.names_another(done(metadata={"app": "b", "nonce": "m"}), nameless) is False


# --- looks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "phase", "missing", "status"),
    [
        (still_pending(), Pending, 0, "in_progress"),
        (done(), Ended, None, "completed"),
        (faults.NoNews("x", code="c"), Pending, 0, "c"),
        (faults.ResponseMissing("x", code="c"), Pending, 1, "c"),
        (TimeoutError(), Pending, 0, "poll_timeout"),
        (still_pending(metadata={"run": "another"}), Pending, 1, "another_response"),
    ],
)
async def test_what_becomes_of_a_look(
    ports: Ports, clock: Clock, answer: Answer, phase: type[Any], missing: int | None, status: str
) -> None:
    clock.move(300)
    await put(ports, a_run(phase=pending(), attempt=1))
    await advance(serving(ports, Played(answer)), RUN)
    run = await load(ports)
    assert type(run.phase) is phase
    assert run.chain.provider_status == status
    if isinstance(run.phase, Pending):
        assert run.phase.missing == missing


# --- the outbox ---------------------------------------------------------------------------------------


def over(*entries: Entry, **changes: Any) -> Run:
    return a_run(**{"phase": OVER, "entries": entries, "usage": Usage(total_tokens=5), **changes})


@pytest.mark.parametrize(
    ("answer", "left", "tokens"),
    [
        (done(status=ResponseStatus.CANCELLED, usage=Usage(total_tokens=7)), None, 12),
        (still_pending(usage=Usage(total_tokens=7)), None, 5),
        (None, None, 5),
        (faults.NoNews("x", code="c"), {"tries": 1, "due": at(5)}, 5),
        (TimeoutError(), {"tries": 1, "due": at(5)}, 5),
    ],
)
async def test_what_becomes_of_a_cancel(ports: Ports, answer: Answer, left: dict[str, Any] | None, tokens: int) -> None:
    await put(ports, over(an_entry()))
    await advance(serving(ports, Played(answer)), RUN)
    run = await load(ports)
    assert run.outbox.entries == (() if left is None else (replace(an_entry(), **left),))
    assert run.counters.usage.total_tokens == tokens


@pytest.mark.parametrize(
    ("code", "tries", "left"),
    [("response_lost", LOST_TRIES - 1, True), ("response_lost", LOST_TRIES, False), ("other", 0, False)],
)
async def test_a_lost_response_is_cancelled_again_and_again_though_its_provider_does_not_know_it(
    ports: Ports, code: str, tries: int, left: bool
) -> None:
    await put(ports, over(replace(an_entry(), tries=tries), error_code=code))
    await advance(serving(ports, Played(None)), RUN)
    assert bool((await load(ports)).outbox.entries) is left


@pytest.mark.parametrize(("age", "left"), [(-1, True), (0, False)])
async def test_a_cancel_that_never_succeeds_is_given_up(
    ports: Ports, clock: Clock, caplog: pytest.LogCaptureFixture, age: float, left: bool
) -> None:
    await put(ports, over(an_entry()))
    clock.move(CANCEL_PATIENCE.total_seconds() + age)
    await advance(serving(ports, Played(faults.NoNews("x", code="c"))), RUN)
    assert bool((await load(ports)).outbox.entries) is left
    assert ("gave up the cancel of resp_1" in caplog.text) is not left


DELETE = an_entry("", kind=EntryKind.DELETE)


@pytest.mark.parametrize(
    ("answers", "left", "entry"),
    [
        ([None, None, None], (), None),
        ([None, faults.NoNews("x", code="c"), None], ("b",), {"tries": 0, "due": NOW}),
        (
            [faults.NoNews("x", code="c", retry_after=3.0), TimeoutError(), faults.NoNews("x", code="c")],
            ("a", "b", "c"),
            {"tries": 1, "due": at(5)},
        ),
    ],
)
async def test_what_becomes_of_deletes_at_the_provider(
    ports: Ports, answers: list[Answer], left: tuple[str, ...], entry: dict[str, Any] | None
) -> None:
    await put(ports, over(DELETE, response_ids=("a", "b", "c")))
    agent = Played(*answers)
    await advance(serving(ports, agent), RUN)
    run = await load(ports)
    assert agent.asked == ["delete a", "delete b", "delete c"]
    assert (run.chain.response_ids, run.outbox.entries) == (left, () if entry is None else (replace(DELETE, **entry),))


async def test_a_wake_deletes_some_and_leaves_the_rest_to_the_next(ports: Ports) -> None:
    ids = tuple(f"r{number}" for number in range(DELETES_A_WAKE + 2))
    await put(ports, over(DELETE, response_ids=ids))
    agent = Played(*[None] * len(ids))
    assert (await advance(serving(ports, agent), RUN)).wake_in == 0.0
    assert (await load(ports)).chain.response_ids == ids[DELETES_A_WAKE:]


@pytest.mark.parametrize(("age", "left"), [(-1, True), (0, False)])
async def test_copies_are_not_deleted_for_longer_than_a_provider_keeps_them(
    ports: Ports, clock: Clock, caplog: pytest.LogCaptureFixture, age: float, left: bool
) -> None:
    await put(ports, over(DELETE, response_ids=("a", "b")))
    clock.move(PROVIDER_KEEPS.total_seconds() + age)
    fault = faults.NoNews("x", code="c")
    await advance(serving(ports, Played(fault, fault)), RUN)
    assert bool((await load(ports)).outbox.entries) is left
    assert ("gave up the delete of a, b" in caplog.text) is not left


@pytest.mark.parametrize(("tries", "state"), [(len(CALLBACK_WAITS), None), (len(CALLBACK_WAITS) + 1, "given_up")])
async def test_a_callback_whose_last_attempt_was_cut_off_is_given_up(
    ports: Ports, tries: int, state: str | None
) -> None:
    callback = replace(an_entry("completed", kind=EntryKind.CALLBACK), tries=tries)
    await put(ports, over(callback, callback_url="https://a.example"))
    await advance(serving(ports, Played()), RUN)
    run = await load(ports)
    # Nobody sends for this app any more, and that was the last attempt: given up, as one that failed.
    assert run.outbox.callback_state is CallbackState.GIVEN_UP
    log = await ports.runs.deliveries(run)
    assert [each.value.fault for each in log] == ([] if state else ["callbacks_disabled"])


async def test_who_finds_no_room_for_a_callback_uses_up_no_attempt(ports: Ports) -> None:
    sender: Any = type("Sender", (), {"reserve": lambda *_: outbox.NoShare(wait=9.0)})()
    callback = replace(an_entry("completed", kind=EntryKind.CALLBACK), tries=3)
    await put(ports, over(callback, callback_url="https://a.example"))
    await advance(replace(ports, sender=sender), RUN)
    assert (await load(ports)).outbox.entries == (replace(callback, due=at(9)),)


# --- tools --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "most", "kept", "bytes_of_all"),
    [
        ("", 0, "", None),
        ("abcd", 4, "abcd", None),
        ("abcd", 16, "abcd", None),
        ("abcde", 4, "abcd", 5),
        ("éé", 4, "éé", None),
        ("ééé", 4, "éé", 6),
        ("ééé", 5, "éé", 6),  # no half of a character
        ("abcd", 0, "", 4),
    ],
)
def test_a_long_output_is_cut_with_a_note(output: str, most: int, kept: str, bytes_of_all: int | None) -> None:
    cut = shortened(output, most)
    if bytes_of_all is None:
        assert cut == output == kept
    else:
        assert cut.startswith(f"{kept}\n\n[Cut off by the app: the output had {bytes_of_all} bytes")
        assert f"one call may return {most} at most" in cut
        assert "all may return" in shortened(output, most, "all may return")


async def test_the_outputs_of_a_turn_have_a_limit_together(ports: Ports) -> None:
    ports = serving(ports, Played(), tool_output_bytes=1_024)
    sizes = [1_024, 1_000, 1_024, 1_024, 200, 50]
    calls = [a_call(index=index, call_id=f"c{index}", result="x" * size) for index, size in enumerate(sizes)]
    approval = a_call(index=6, call_id="m", kind=CallKind.MCP, approval=Approval.APPROVED)
    outputs = await tools._outputs(ports, a_run(), [*calls, approval])
    kept = [len(each["output"].partition("\n")[0]) for each in outputs[:-1]]
    assert kept == [1_024, 1_000, 1_024, 1_024, 24, 0]
    assert "the tools of one turn may return 4096 together" in outputs[4]["output"]
    assert outputs[-1] == {"type": "mcp_approval_response", "approval_request_id": "m", "approve": True}


@pytest.mark.parametrize(
    ("approval", "reason", "more"),
    [
        (Approval.APPROVED, "", {}),
        (Approval.REFUSED, "Too dear.", {"reason": "Too dear."}),
        (Approval.NONE, "", {}),
    ],
)
async def test_what_the_provider_is_told_of_an_approval(
    ports: Ports, approval: Approval, reason: str, more: dict[str, str]
) -> None:
    call = a_call(kind=CallKind.MCP, approval=approval, reason=reason)
    assert await tools.output_of(ports, a_run(), call) == {
        "type": "mcp_approval_response",
        "approval_request_id": "c",
        "approve": approval is Approval.APPROVED,
        **more,
    }


async def test_what_takes_too_long_is_stopped() -> None:
    stopped: list[bool] = []

    async def work(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    assert await tools._in_time(5, work(0), lambda: stopped.append(True)) == "done"
    assert stopped == []
    assert await tools._in_time(0.01, work(60), lambda: stopped.append(True)) is None
    assert stopped == [True]


async def with_calls(ports: Ports, *calls: ToolCall) -> Stored[Run]:
    """A run that is at work on these calls of its turn."""
    stored = await put(ports, a_run(phase=RunningTools()))
    after = replace(stored.value, turn=replace(stored.value.turn, calls=len(calls)))
    after = replace(after, counters=replace(after.counters, tool_calls=len(calls)))
    return (await ports.runs.save(stored, after, calls=[CallChange(before=None, after=each) for each in calls])).run


async def test_a_turn_whose_calls_are_not_all_there_is_a_defect(ports: Ports) -> None:
    stored = await with_calls(ports, a_call())
    await ports.runs.save(stored, replace(stored.value, turn=replace(stored.value.turn, calls=2)))
    await advance(serving(ports, Played(tools={})), RUN)
    assert (await load(ports)).schedule.crashes == 1


async def test_a_turn_of_finished_calls_is_followed_by_the_next(ports: Ports) -> None:
    await with_calls(ports, a_call(state=CallState.FINISHED, result="seen"))
    assert (await advance(serving(ports, Played(tools={})), RUN)).wake_in == 0.0
    run = await load(ports)
    assert (run.turn.number, run.phase) == (2, Creating())
    assert await ports.runs.last_items(run) == [{"type": "function_call_output", "call_id": "c", "output": "seen"}]


async def test_a_call_that_was_interrupted_is_run_again_and_counted(ports: Ports) -> None:
    interrupted = a_call(state=CallState.STARTED, starts=1, owner="gone")
    await with_calls(ports, interrupted)

    @tool
    async def pay() -> str:
        """Pay."""
        return "paid"

    await advance(serving(ports, Played(tools={"pay": pay})), RUN)
    (call,) = [each.value for each in await ports.runs.calls(await load(ports))]
    assert (call.state, call.starts, call.result) == (CallState.FINISHED, 2, "paid")
    assert ports.interruptions._counts["tools"] == 1
    assert (await load(ports)).turn.number == 2


# --- the row of a call --------------------------------------------------------------------------------


class Held:
    """A lease that holds until the test says otherwise."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.over = False

    async def confirm(self) -> None:
        if self.over:
            raise LostRace("x")

    def expired(self) -> bool:
        return self.over


async def a_row(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> tuple[CallRow, Held, list[float]]:
    """The row of a call that is started, its lease, and the pauses that it makes."""
    stored = await with_calls(ports, a_call(state=CallState.STARTED, owner="o"))
    (call,) = await ports.runs.calls(stored.value)
    lease, pauses = Held(stored.value), []

    async def sleep(seconds: float) -> None:
        if seconds:  # the tables in memory let others go on
            pauses.append(seconds)

    monkeypatch.setattr(call_row.asyncio, "sleep", sleep)
    return CallRow(ports, cast(Any, lease), call), lease, pauses


def failing(ports: Ports, monkeypatch: pytest.MonkeyPatch, *errors: Exception | None) -> list[Exception | None]:
    """Let the next writes of the call fail like this; what is left of it."""
    save, left = ports.runs.save_call, list(errors)

    async def save_call(before: Stored[ToolCall], after: ToolCall) -> Stored[ToolCall]:
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return await save(before, after)

    monkeypatch.setattr(ports.runs, "save_call", save_call)
    return left


@pytest.mark.parametrize(
    ("errors", "pauses"),
    [
        ([], []),
        ([StoreUnavailable("x")], [0.2]),
        ([StoreUnavailable("x")] * 7, [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]),
        ([Conflict("k", "x")], []),
        ([StoreUnavailable("x"), Conflict("k", "x"), StoreUnavailable("x")], [0.2, 0.8]),
        ([Conflict("k", "x")] * MAX_TRIES, []),
    ],
)
async def test_a_result_is_written_through_outages_and_races(
    ports: Ports, monkeypatch: pytest.MonkeyPatch, errors: list[Exception], pauses: list[float]
) -> None:
    row, _, slept = await a_row(ports, monkeypatch)
    failing(ports, monkeypatch, *errors)
    await row.finish("done")
    assert slept == pytest.approx(pauses)
    (call,) = [each.value for each in await ports.runs.calls(row.run)]
    assert (call.state, call.result, call.finished_at) == (CallState.FINISHED, "done", NOW)


@pytest.mark.parametrize(
    ("errors", "operations", "progress"),
    [
        ([], [], "half"),
        ([StoreUnavailable("x")], ["query"], "half"),
        ([Conflict("k", "x")], ["query"], "half"),
        ([Conflict("k", "x")] * 2, ["query"], ""),
        ([StoreUnavailable("x")] * 3, ["query"] * 3, "half"),
    ],
)
async def test_progress_is_written_once_and_after_a_failure_as_the_row_then_is(
    ports: Ports,
    tables: MemoryTables,
    monkeypatch: pytest.MonkeyPatch,
    errors: list[Exception],
    operations: list[str],
    progress: str,
) -> None:
    row, _, slept = await a_row(ports, monkeypatch)
    failing(ports, monkeypatch, *errors)
    seen: list[str] = []

    async def note(operation: str, *_: object) -> None:
        seen.append(operation)

    tables.before = note
    row._remember(Progress(message="half", fraction=0.5))
    assert row._writer is not None
    await row._writer
    assert seen == [*operations, *(["commit"] if progress else [])]
    assert slept == [call_row.PROGRESS_GAP] * (len(errors) + 1 if progress else 1)
    assert row.call.progress == progress


async def test_a_result_that_never_wins_its_race_is_another_s(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    row, _, _ = await a_row(ports, monkeypatch)
    left = failing(ports, monkeypatch, *[Conflict("k", "x")] * (MAX_TRIES + 2))
    with pytest.raises(LostRace):
        await row.finish("done")
    assert len(left) == 1


async def test_a_result_is_not_written_through_the_end_of_the_lease(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, lease, slept = await a_row(ports, monkeypatch)

    async def save_call(*_: object) -> None:
        lease.over = True
        raise StoreUnavailable("x")

    monkeypatch.setattr(ports.runs, "save_call", save_call)
    with pytest.raises(StoreUnavailable):
        await row.finish("done")
    assert slept == []
    with pytest.raises(LostRace):
        await row.begin()


async def test_a_result_that_is_there_already_is_not_written_again(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _, _ = await a_row(ports, monkeypatch)
    (stored,) = await ports.runs.calls(row.run)
    await ports.runs.save_call(stored, replace(stored.value, state=CallState.FINISHED, result="by us, unheard"))
    await row.finish("done")
    (call,) = [each.value for each in await ports.runs.calls(row.run)]
    assert call.result == "by us, unheard"


@pytest.mark.parametrize("changes", [{"owner": "another"}, {"index": 1}])
async def test_a_result_of_a_call_that_another_has_is_lost(
    ports: Ports, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    row, _, _ = await a_row(ports, monkeypatch)
    (stored,) = await ports.runs.calls(row.run)
    if "owner" in changes:
        await ports.runs.save_call(stored, replace(stored.value, owner="another"))
    else:
        await ports.runs.delete_rows(row.run)
    with pytest.raises(LostRace):
        await row.finish("done")
