"""A turn against a provider that misbehaves: what becomes of the run."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.model import ScriptedModel
from shared.agentkit.faults import NO_CREDENTIAL
from shared.runs.actions.outcome import outcome
from shared.runs.commit import commit
from shared.runs.model.facts import AgentUnknown
from shared.runs.model.phases import Claim, Creating, Pending, RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.rules.agenda import next_time
from shared.runs.store.tables import Change, Kind, StoreUnavailable, Table
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig, Rig

Fault = dict[str, Any]
FOREVER = -1
SOON = 2.0
"""Real seconds until a request that hangs is given up. Half of it is for the connection, also on a busy machine."""

CLAIM_AND_GRACE = 90.0


@pytest.fixture
def streamed(request: pytest.FixtureRequest) -> bool:
    """Whether responses are created to be streamed; see ``either_way``."""
    return bool(getattr(request, "param", False))


either_way = pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"], indirect=True)
"""What holds for a create that is answered at once, and for one that is answered by a stream."""


@pytest.fixture
def rigs(streamed: bool, rigs: NewRig) -> NewRig:
    """As everywhere, and each run is submitted to be streamed, or none."""

    async def make(**settings: Any) -> Rig:
        return replace(await rigs(**settings), stream=streamed)

    return make


def timeout(setting: str, fault: Fault) -> dict[str, float]:
    """Settings that give up soon on a request that hangs, and on no other."""
    return {setting: SOON} if "hang" in fault else {}


def turn(operation: str, *faults: Fault, **more: Any) -> list[dict[str, Any]]:
    return [{"text": "Fine.", "faults": {operation: list(faults)}, **more}]


@asynccontextmanager
async def provider_down(rig: Rig) -> AsyncIterator[None]:
    """Stop the scripted model. Its port is held meanwhile: nobody else comes to listen there, or to connect from it."""
    await rig.server.__aexit__(None, None, None)
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", rig.server.port))
        yield


async def assert_fine(rig: Rig, run: Run) -> None:
    assert (run.status, run.result.error_code) == (RunStatus.COMPLETED, None)
    assert await rig.text(run.id) == "Fine."
    assert run.is_done


def creating(run: Run) -> Creating:
    """The phase of a run whose response is to be created."""
    assert isinstance(run.phase, Creating), run.phase
    return run.phase


def pending(run: Run) -> Pending:
    """The phase of a run that waits for its response."""
    assert isinstance(run.phase, Pending), run.phase
    return run.phase


def claim_of(run: Run) -> Claim | None:
    """The open claim, if any."""
    return creating(run).claim


def missing(run: Run) -> int:
    """Looks in a row that told that there is no such response."""
    return run.phase.missing if isinstance(run.phase, Pending) else 0


# Creates that surely started nothing


@either_way
@pytest.mark.parametrize(
    ("fault", "gap"),
    [
        pytest.param({"status": 429, "headers": {"Retry-After": "30"}}, 30.0, id="429 that says when"),
        pytest.param({"status": 429, "json_error": {"code": "rate_limit_exceeded"}}, 2.0, id="429"),
        pytest.param({"status": 503, "headers": {"Retry-After": "20"}}, 20.0, id="503 that says when"),
        pytest.param({"status": 409}, 2.0, id="409"),
        pytest.param({"status": 429, "headers": {"Retry-After": "soon"}}, 2.0, id="429 that says nonsense"),
        pytest.param({"status": 429, "headers": {"Retry-After": "nan"}}, 2.0, id="429 that says no number"),
    ],
)
async def test_a_create_that_was_not_accepted_is_retried_and_not_counted(rig: Rig, fault: Fault, gap: float) -> None:
    await rig.model.script("s", turn("create", fault))
    run = (await rig.submit()).run
    assert run.status is RunStatus.QUEUED
    assert (claim_of(run), run.turn.unknown_outcomes, creating(run).not_accepted) == (None, 0, 1)
    assert run.schedule.retry_after == gap
    rig.clock.move(gap - 0.01)
    await rig.wake(run.id)
    assert len(await rig.model.log("create")) == 1, "too early"
    await assert_fine(rig, await rig.follow(run.id))
    assert await rig.gaps() == [gap]
    assert len(await rig.model.creates()) == 1


def once_before(rig: Rig, name: str, other: Callable[[], Awaitable[object]]) -> list[str]:
    """Let something else happen right before a row first gets this name; the list is empty until then."""
    happened: list[str] = []

    async def before(operation: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        values = [value for change in changes if change.kind is Kind.MERGE for value in change.values.values()]
        merged = any(f'"{name}":' in str(value) for value in values)
        if not happened and operation == "commit" and merged:
            happened.append(name)
            await other()

    rig.tables.before = before
    return happened


async def say_that_the_agent_is_unknown(rig: Rig, run_id: str) -> None:
    """What a process of a version without the agent writes that read the row before it was claimed."""
    stored = await rig.app.ports.runs.load(run_id)
    assert stored is not None
    assert (await commit(rig.app.ports, stored, AgentUnknown())).refused is None


@either_way
@pytest.mark.parametrize("race", ["lost", "outage", "unheard"])
async def test_a_claim_is_released_and_not_counted_whatever_the_store_says(rigs: NewRig, race: str) -> None:
    rig, stranger = await rigs(), await rigs()
    await rig.model.script("s", turn("create", {"status": 429}))

    async def other() -> None:
        if race == "lost":  # a process of a version without the agent writes that it does not know it
            (run_id,) = [row.key for row in rig.tables.rows(Table.DUE)]
            await say_that_the_agent_is_unknown(stranger, run_id)
        else:
            rig.tables.fail_next(StoreUnavailable("away"), operation="commit", applied=race == "unheard")

    happened = once_before(rig, "not_accepted", other)
    run_id = await rig.start()
    assert happened
    run = await rig.run(run_id)
    assert (claim_of(run), run.turn.unknown_outcomes, creating(run).not_accepted) == (None, 0, 1)
    await assert_fine(rig, await rig.follow(run_id))
    assert await rig.gaps() == [2.0]


@either_way
async def test_a_refusal_fails_the_run_at_once_though_its_row_was_changed_meanwhile(rigs: NewRig) -> None:
    rig, stranger = await rigs(), await rigs()
    await rig.model.script("s", turn("create", {"status": 400}))

    async def other() -> None:
        (run_id,) = [row.key for row in rig.tables.rows(Table.DUE)]
        await say_that_the_agent_is_unknown(stranger, run_id)

    happened = once_before(rig, "error_code", other)
    run_id = await rig.start()
    assert happened
    assert (await rig.run(run_id)).status is RunStatus.FAILED


@pytest.mark.parametrize(("zone", "gap"), [("GMT", 45.0), ("+0000", 45.0), ("-0000", 2.0)])
async def test_retry_after_may_be_a_date(rig: Rig, zone: str, gap: float) -> None:
    then = datetime.now(UTC) + timedelta(seconds=45)  # the server's own Date is the real one
    date = f"{then:%a, %d %b %Y %H:%M:%S} {zone}"
    await rig.model.script("s", turn("create", {"status": 429, "headers": {"Retry-After": date}}))
    assert (await rig.submit()).run.schedule.retry_after == pytest.approx(gap, abs=5)


async def test_a_long_outage_is_waited_out_with_growing_gaps(rig: Rig) -> None:
    await rig.model.script("s", turn("create", {"status": 429, "times": 9}))
    await assert_fine(rig, await rig.run_to_end())
    assert await rig.gaps() == [2, 4, 8, 16, 32, 64, 120, 120, 120]


@either_way
async def test_a_provider_that_is_down_at_submit_leaves_the_run_queued_until_it_is_back(rigs: NewRig) -> None:
    rig = await rigs()
    async with provider_down(rig):
        run_id = await rig.start("Hello.")
        run = await rig.run(run_id)
        assert (run.status, claim_of(run), run.turn.unknown_outcomes) == (RunStatus.QUEUED, None, 0)
        assert run.chain.provider_status == "provider_unreachable"
        half_an_hour = rig.clock.now.timestamp() + 1_800
        await rig.follow(run_id, lambda _: rig.clock.seconds() >= half_an_hour)
    async with ScriptedModel(port=rig.server.port, clock=rig.clock.seconds):
        run = await rig.follow(run_id)
        assert run.status is RunStatus.COMPLETED
        assert len(await rig.model.log("create")) == 1
    assert (run.completed_at - run.request.created_at).total_seconds() < 1_800 + 130  # type: ignore[operator]


@either_way
async def test_a_credential_that_gives_no_token_is_access_denied_and_nothing_is_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def no_token() -> str:
        raise RuntimeError("the identity endpoint is gone")

    config = rig.provider._config
    monkeypatch.setattr(type(config), "credential", property(lambda _: no_token), raising=False)
    run = await rig.run_to_end()
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "access_denied")
    assert run.result.error_message == NO_CREDENTIAL
    assert "the identity endpoint is gone" in caplog.text
    assert await rig.model.log("create") == []


# Creates that were surely refused


@either_way
@pytest.mark.parametrize("status", [400, 404, 405, 413, 422])
async def test_a_create_that_is_refused_fails_the_run_at_once(rig: Rig, status: int) -> None:
    error = {"code": "no_good", "message": "This will never do."}
    await rig.model.script("s", turn("create", {"status": status, "json_error": error}))
    run = (await rig.submit()).run
    assert (run.status, run.result.error_code, run.result.error_message) == (
        RunStatus.FAILED,
        "no_good",
        "This will never do.",
    )
    assert run.is_done
    assert len(await rig.model.log("create")) == 1
    assert (await rig.session(run.id)).active_run is None


async def test_a_refusal_without_a_code_is_named_by_its_status(rig: Rig) -> None:
    await rig.model.script("s", turn("create", {"status": 413, "html": "<h1>Too large</h1>"}))
    run = (await rig.submit()).run
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "http_413")
    assert run.result.error_message


async def test_a_wrong_model_name_does_not_sleep_until_the_deadline(rigs: NewRig) -> None:
    rig = await rigs(openai_model="no-such-model")
    run = (await rig.submit()).run
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "model_not_found")
    assert "no-such-model" in (run.result.error_message or "")


@pytest.mark.parametrize("status", [401, 403])
async def test_access_denied_fails_the_run_after_ten_minutes(rig: Rig, status: int) -> None:
    await rig.model.script("s", turn("create", {"status": status, "times": FOREVER}))
    run = await rig.run_to_end()
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "access_denied")
    assert (run.completed_at - run.request.created_at).total_seconds() == 600  # type: ignore[operator]
    assert await rig.gaps() == [30.0] * 20


async def test_a_role_that_comes_late_is_waited_for(rig: Rig) -> None:
    denied: Fault = {"status": 403, "times": 15}
    call = {"name": "work", "arguments": {"label": "a"}}
    await rig.model.script("s", [{"calls": [call], "faults": {"create": [denied]}}, *turn("create", denied)])
    run_id = await rig.start()
    for number in (1, 2):  # together longer than the timeout of ten minutes, which begins anew
        run = await rig.follow(run_id, lambda run, number=number: run.turn.number == number)  # type: ignore[misc]
        if number == 2:
            assert creating(run).denied_since is None
            await rig.wake(run_id)
        run = await rig.run(run_id)
        assert creating(run).denied_since == rig.clock.now
    await assert_fine(rig, await rig.follow(run_id))


# Creates of unknown outcome

PERHAPS = [
    pytest.param({"status": 500}, id="500"),
    pytest.param({"status": 503}, id="503 without Retry-After"),
    pytest.param({"status": 408}, id="408"),
    pytest.param({"status": 502, "html": True}, id="502 with HTML"),
    pytest.param({"html": True}, id="200 with HTML"),
    pytest.param({"body": '{"id": "resp_'}, id="200 with half a JSON"),
    pytest.param({"body": "[]"}, id="200 with a list"),
    pytest.param({"body": {"object": "error"}}, id="200 with no response"),
    pytest.param({"body": {"id": "resp_1"}}, id="200 with no status"),
    pytest.param({"drop": True}, id="dropped connection"),
    pytest.param({"hang": 30.0}, id="no answer in time"),
]


@either_way
@pytest.mark.parametrize("fault", PERHAPS)
async def test_a_create_of_unknown_outcome_is_not_repeated_before_claim_and_grace_are_over(
    rigs: NewRig, fault: Fault
) -> None:
    first, rig = await rigs(**timeout("create_timeout", fault)), await rigs()
    await rig.model.script("s", turn("create", {**fault, "after_accept": True}))
    run_id = await first.start()
    for _ in range(2):  # whoever asks, and however often
        run = await rig.run(run_id)
        assert (run.status, run.token) == (RunStatus.QUEUED, None)
        assert claim_of(run) is not None
        soonest = next_time(run)
        assert soonest is not None
        left = await rig.wake(run_id)
        assert left.wake_in == pytest.approx((soonest.due - rig.clock.now).total_seconds())
    rig.clock.move(CLAIM_AND_GRACE - 0.01)
    await rig.wake(run_id)
    assert len(await rig.model.log("create")) == 1, "too early"
    run = await rig.follow(run_id)
    await assert_fine(rig, run)
    assert run.turn.unknown_outcomes == 1
    assert await rig.gaps() == [CLAIM_AND_GRACE]
    lost, found = await rig.model.creates(run=run_id)
    assert (lost.metadata["attempt"], found.metadata["attempt"]) == ("1", "2")
    assert lost.metadata["nonce"] != found.metadata["nonce"]


async def test_the_fifth_create_of_unknown_outcome_is_the_last(rig: Rig) -> None:
    await rig.model.script("s", turn("create", {"status": 500, "times": FOREVER}))
    run = await rig.run_to_end()
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "start_uncertain")
    assert "http_500" in (run.result.error_message or "")
    assert await rig.gaps() == [CLAIM_AND_GRACE + wait for wait in (0, 300, 1_200, 3_600)]
    assert (run.completed_at - run.request.created_at).total_seconds() == 5 * CLAIM_AND_GRACE + 5_100  # type: ignore[operator]


async def test_the_deadline_cuts_the_waits_between_creates_short(rig: Rig) -> None:
    await rig.model.script("s", turn("create", {"status": 500, "times": FOREVER}))
    run = await rig.run_to_end(deadline_seconds=200)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "deadline_exceeded")
    assert (run.completed_at - run.request.created_at).total_seconds() == 200  # type: ignore[operator]
    assert "http_500" in (run.result.error_message or "")


@either_way
async def test_a_claim_that_took_too_long_to_write_is_given_back_and_nothing_is_sent(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Fine."}])

    async def stall(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if any('"claim":' in str(change.values.get("phase")) for change in changes):
            rig.tables.after = None
            rig.clock.move(45)  # of the claim's 60 s, less is left than the create's own 30

    rig.tables.after = stall
    run = await rig.run(await rig.start())
    assert (run.turn.unknown_outcomes, claim_of(run), run.chain.provider_status) == (0, None, "not_sent")
    assert await rig.model.log("create") == []
    run = await rig.follow(run.id)
    assert (run.status, await rig.text(run.id)) == (RunStatus.COMPLETED, "Fine.")
    assert len(await rig.model.log("create")) == 1


@either_way
async def test_a_create_that_waits_too_long_for_its_turn_was_not_sent(rigs: NewRig) -> None:
    rig = await rigs(create_timeout=SOON, provider_concurrency=1)
    await rig.model.script("s", turn("create", {"status": 429}))
    async with rig.provider.create_slot("somebody else"):
        run = (await rig.submit()).run
    assert (run.chain.provider_status, claim_of(run), creating(run).not_accepted) == ("not_sent", None, 1)
    assert await rig.model.log("create") == []


# Polls


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 500}, id="500"),
        pytest.param({"status": 503, "headers": {"Retry-After": "7"}}, id="503"),
        pytest.param({"status": 429, "headers": {"Retry-After": "7"}}, id="429"),
        pytest.param({"status": 400}, id="400"),
        pytest.param({"status": 401}, id="401"),
        pytest.param({"status": 404}, id="404 soon after the create"),
        pytest.param({"html": True}, id="200 with HTML"),
        pytest.param({"status": 502, "html": True}, id="502 with HTML"),
        pytest.param({"body": '{"id": "resp_'}, id="half a JSON"),
        pytest.param({"body": {"id": "resp_another", "status": "failed"}}, id="another response"),
        pytest.param({"body": {"status": "completed"}}, id="no id"),
        # The transport asks once more by itself when a connection is lost (never for a POST).
        pytest.param({"drop": True, "times": 6}, id="dropped connection"),
        pytest.param({"hang": 30.0}, id="no answer in time"),
    ],
)
async def test_a_poll_without_news_keeps_the_token(rigs: NewRig, fault: Fault) -> None:
    rig, other = await rigs(**timeout("poll_timeout", fault)), await rigs()
    times = 1 if "hang" in fault else 3
    await rig.model.script("s", turn("retrieve", {"times": times, **fault}))
    run_id = await rig.start()
    token = (await rig.run(run_id)).token
    for failures in range(1, times + 1):
        rig.clock.move(outcome(await rig.run(run_id), rig.clock.now).wake_in or 0.0)
        await rig.wake(run_id)
        run = await rig.run(run_id)
        assert (run.status, run.token, pending(run).no_news) == (RunStatus.IN_PROGRESS, token, failures)
    await assert_fine(rig, await other.follow(run_id))
    assert len(await rig.model.log("create")) == 1
    if "drop" in fault:
        assert await rig.gaps("retrieve") == [0.0, 2.0, 0.0, 4.0, 0.0, 8.0]
    elif "headers" in fault:
        assert await rig.gaps("retrieve") == [7.0, 7.0, 8.0]
    else:
        assert await rig.gaps("retrieve") == [2.0, 4.0, 8.0][:times]


async def test_a_poll_of_a_provider_that_is_gone_keeps_the_token(rigs: NewRig) -> None:
    rig = await rigs()
    await rig.model.script("s", turn("retrieve"))
    run_id = await rig.start()
    token = (await rig.run(run_id)).token
    async with provider_down(rig):
        run = await rig.follow(run_id, lambda run: pending(run).no_news == 5)
    assert (run.status, run.token, run.chain.provider_status) == (RunStatus.IN_PROGRESS, token, "provider_unreachable")


async def test_a_response_that_the_provider_forgets_is_lost_after_three_looks_over_a_minute(rig: Rig) -> None:
    await rig.model.script("s", turn("retrieve", think=600, id_gone=100))
    run_id = await rig.start()
    first = await rig.follow(run_id, lambda run: missing(run) == 1)
    assert (first.status, first.chain.provider_status) == (RunStatus.IN_PROGRESS, "http_404")
    began = rig.clock.now
    run = await rig.follow(run_id)
    assert (run.status, run.result.error_code, run.token) == (RunStatus.FAILED, "response_lost", None)
    assert (rig.clock.now - began).total_seconds() == 60
    assert (await rig.gaps("retrieve"))[-2:] == [30.0, 30.0]
    run = await rig.finish(run_id)
    assert (run.is_done, run.outbox.entries) == (True, ())
    assert len(await rig.model.log("create")) == 1


async def test_a_404_that_passes_ends_nothing(rig: Rig) -> None:
    await rig.model.script("s", turn("retrieve", {"status": 404, "times": 2, "skip": 16}, think=600))
    run_id = await rig.start()
    seen = await rig.follow(run_id, lambda run: missing(run) == 2)
    assert pending(seen).missing_since is not None
    known = await rig.follow(run_id, lambda run: missing(run) == 0)
    assert (known.status, pending(known).missing_since) == (RunStatus.IN_PROGRESS, None)
    await assert_fine(rig, await rig.follow(run_id))


async def test_a_lost_response_that_turns_up_again_is_cancelled(rig: Rig) -> None:
    fault = {"status": 404, "times": FOREVER, "skip": 8}
    script = [{"faults": {"retrieve": [fault], "cancel": [{"status": 404, "times": 2}]}, "stuck": True}]
    await rig.model.script("s", script)
    run = await rig.run_to_end()
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "response_lost")
    assert (await rig.finish(run.id)).is_done
    assert [known.status for known in await rig.model.responses()] == ["cancelled"]


# Responses of somebody else


def of_another(response_id: str, **metadata: str) -> dict[str, Any]:
    """What a provider that mixes things up has under this id."""
    return {"id": response_id, "status": "completed", "output": [], "metadata": metadata}


@either_way
@pytest.mark.parametrize("name", ["app", "run", "turn", "attempt", "nonce"])
async def test_an_answer_that_names_another_is_not_adopted_and_not_cancelled(rig: Rig, name: str) -> None:
    fault = {"body": of_another("resp_of_another", **{name: "another"}), "after_accept": True}
    await rig.model.script("s", turn("create", fault))
    run_id = await rig.start()
    run = await rig.run(run_id)
    assert (run.status, run.chain.response_ids, run.chain.provider_status) == (RunStatus.QUEUED, (), "another_response")
    assert claim_of(run) is not None
    await assert_fine(rig, await rig.follow(run_id))
    assert await rig.gaps() == [CLAIM_AND_GRACE]
    assert await rig.model.log("cancel") == []


@either_way
async def test_an_answer_without_metadata_is_the_create_s_own(rig: Rig) -> None:
    await rig.model.script("s", turn("create", {"body": {"id": "resp_1", "status": "queued"}}))
    run = (await rig.submit()).run
    assert (run.status, run.chain.response_ids) == (RunStatus.IN_PROGRESS, ("resp_1",))
    assert pending(run).token.response_id == "resp_1"


@pytest.mark.parametrize("name", ["app", "run", "turn", "attempt", "nonce"])
async def test_a_poll_never_takes_in_what_was_created_for_another(rig: Rig, name: str) -> None:
    await rig.model.script("s", turn("retrieve", stuck=True))
    run_id = await rig.start()
    (response_id,) = (await rig.run(run_id)).chain.response_ids
    answer = {"body": of_another(response_id, **{name: "another"}), "times": FOREVER}
    await rig.model.switches(faults={"retrieve": [answer]})
    rig.clock.move(2)
    await rig.wake(run_id)
    run = await rig.run(run_id)
    assert (run.status, run.chain.provider_status) == (RunStatus.IN_PROGRESS, "another_response")
    assert pending(run).token.response_id == response_id
    run = await rig.finish(run_id)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "response_lost")
    assert run.chain.response_ids == (), "what is not the run's is not deleted with it"
    assert await rig.model.log("cancel") == []


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 404}])
async def test_the_deadline_ends_a_run_without_news_and_cancels_its_response(rig: Rig, fault: Fault) -> None:
    await rig.model.script("s", turn("retrieve", {**fault, "times": FOREVER}, stuck=True))
    run = await rig.run_to_end(deadline_seconds=50)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "deadline_exceeded")
    assert (run.completed_at - run.request.created_at).total_seconds() == 50  # type: ignore[operator]
    assert run.is_done
    assert [known.status for known in await rig.model.responses()] == ["cancelled"]


async def test_an_unknown_status_is_pending_until_the_deadline(rig: Rig) -> None:
    await rig.model.script("s", turn("retrieve"))
    run_id = await rig.start(deadline_seconds=300)
    (response_id,) = (await rig.run(run_id)).chain.response_ids
    answer = {"body": {"id": response_id, "status": "pondering"}, "times": FOREVER}
    await rig.model.switches(faults={"retrieve": [answer]})
    run = await rig.follow(run_id, lambda run: run.chain.provider_status == "pondering")
    assert (run.status, pending(run).no_news) == (RunStatus.IN_PROGRESS, 0)
    run = await rig.follow(run_id)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "deadline_exceeded")
    assert "pondering" in (run.result.error_message or "")


async def test_a_429_on_a_poll_holds_back_its_run_and_the_others_of_the_process_until_a_probe(rigs: NewRig) -> None:
    rig, other = await rigs(), await rigs()
    await rig.model.script("busy", turn("retrieve", {"status": 429, "headers": {"Retry-After": "60"}}))
    await rig.model.script("s", turn("retrieve"))
    busy, calm, elsewhere = [await rig.start(f"[script:{name}]") for name in ("busy", "s", "s")]
    rig.clock.move(2)
    for run_id, wait in ((busy, 60), (calm, 2)):
        assert (await rig.wake(run_id)).wake_in == pytest.approx(wait)
    assert len(await rig.model.log("retrieve")) == 1
    assert (await rig.run(calm)).chain.provider_status == "rate_limited"
    await other.wake(elsewhere)
    await assert_fine(rig, await rig.run(elsewhere))
    new = await rig.start("[script:s]")
    assert (await rig.run(new)).status is RunStatus.IN_PROGRESS, "a create is not a poll"
    for run_id in (busy, calm, new):
        await assert_fine(rig, await rig.follow(run_id))


# A version that does not know the agent


@pytest.mark.parametrize("known", ["no news", "tools"])
async def test_an_agent_that_was_known_meanwhile_is_waited_for_anew(rigs: NewRig, known: str) -> None:
    rig, stranger = await rigs(), await rigs()  # whoever runs the tools stands still: the lease is not renewed
    object.__setattr__(stranger.app.ports, "agents", {})
    call = {"name": "work", "arguments": {"label": "a", "seconds": 60}}
    faults = [{"status": 500}] if known == "no news" else []
    await rig.model.script("s", [{"calls": [call], "faults": {"retrieve": faults}}])
    run_id = await rig.start()
    if known == "tools":
        await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
    else:
        rig.clock.move(2)
    await stranger.wake(run_id)
    rig.clock.move(400)
    wake = asyncio.create_task(rig.wake(run_id))
    await eventually(lambda: known_again(rig, run_id))
    rig.clock.move(400)
    await stranger.wake(run_id)
    assert not (await rig.run(run_id)).terminal, "it was known 400 seconds ago"
    rig.clock.move(600)
    await stranger.wake(run_id)
    assert (await rig.run(run_id)).result.error_code == "agent_unknown"
    await wake


async def known_again(rig: Rig, run_id: str) -> bool:
    return (await rig.run(run_id)).schedule.agent_unknown_since is None
