"""A command whose signal never reaches a driver: the rows say what is to be done, and the sweep reads them."""

from __future__ import annotations

import pytest

from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.delete import delete_batch
from shared.runs.commands.adopt import adopt
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.redeliver import redeliver
from shared.runs.model.batch import BatchStatus
from shared.runs.model.facts import Approve
from shared.runs.model.phases import RunStatus, WaitingForAnswers
from tests.parts.receiver import SECRET, Receiver
from tests.unit.runs import batches
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver

MINUTES = 10 * 60
ENDLESS = [{"text": "Never.", "stuck": True}]
ASKS = [{"calls": [{"name": "send", "arguments": {"label": "a"}}]}, {"text": "Sent."}]


@pytest.fixture(params=["durable", "timer"])
async def either(rigs: NewRig, request: pytest.FixtureRequest) -> Rig:
    """A process under each driver in turn, which sends callbacks."""
    return await rigs(
        driver=request.param,
        callback_secret=SECRET,
        callback_allow="127.0.0.1",
        public_base_url="https://app.example",
    )


async def started(rig: Rig, host: Driver, **fields: str) -> str:
    submitted = await rig.submit(**fields)
    await host.start_run(submitted)
    return submitted.run.id


async def test_a_cancel_reaches_the_provider(either: Rig) -> None:
    await either.model.script("s", ENDLESS)
    host = Driver(either)
    run_id = await started(either, host)
    await cancel(either.app.ports, run_id)
    await Driver(either).pass_time(MINUTES)
    assert (await either.run(run_id)).is_done
    assert [known.status for known in await either.model.responses()] == ["cancelled"]


async def test_an_answer_resumes_the_run(either: Rig) -> None:
    await either.model.script("s", ASKS)
    host = Driver(either)
    run_id = await started(either, host)
    await host.pass_time(120)
    (call,) = await either.calls(run_id)
    assert isinstance((await either.run(run_id)).phase, WaitingForAnswers)
    await answer(either.app.ports, run_id, {call.call_id: Approve(approve=True)})
    await Driver(either).pass_time(MINUTES)
    assert (await either.run(run_id)).status is RunStatus.COMPLETED


async def test_an_adopted_response_is_followed_to_its_end(either: Rig) -> None:
    lost = {"create": [{"drop": True, "after_accept": True}]}
    await either.model.script("s", [{"text": "Found.", "think": 100, "faults": lost}])
    run_id = await either.start()
    (response,) = await either.model.responses()
    assert await adopt(either.app.ports, response.id) == run_id
    await Driver(either).pass_time(MINUTES)
    assert await either.text(run_id) == "Found."
    assert len(await either.model.creates()) == 1


async def test_a_redelivery_is_sent(either: Rig, receiver: Receiver) -> None:
    await either.model.script("s", [{"text": "Done."}])
    host = Driver(either)
    run_id = await started(either, host, callback_url=receiver.url)
    await host.pass_time(MINUTES)
    before = len(receiver.received)
    await redeliver(either.app.ports, run_id)
    await Driver(either).pass_time(MINUTES)
    assert len(receiver.received) == before + 1


async def test_the_cancel_of_a_batch_stops_its_runs(either: Rig) -> None:
    await either.model.script("s", ENDLESS)
    host = Driver(either)
    submitted = await batches.submit(either, "[script:s]", "[script:s]")
    await host.start_batch(submitted)
    await host.pass_time(60)
    await cancel_batch(either.app.ports, submitted.batch.id)
    await Driver(either).pass_time(2 * MINUTES)
    assert (await batches.load(either, submitted.batch.id)).status is BatchStatus.CANCELLED
    assert {known.status for known in await either.model.responses()} == {"cancelled"}


async def test_a_deleted_batch_goes_with_its_runs(either: Rig) -> None:
    await either.model.script("s", [{"text": "Done."}])
    host = Driver(either)
    submitted = await batches.submit(either, "[script:s]")
    await host.start_batch(submitted)
    await host.pass_time(MINUTES)
    assert (await batches.load(either, submitted.batch.id)).status.terminal
    await delete_batch(either.app.ports, submitted.batch.id)
    await Driver(either).pass_time(2 * MINUTES)
    assert all(response.deleted for response in await either.model.responses())
