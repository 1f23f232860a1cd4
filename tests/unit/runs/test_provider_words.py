"""What a provider says in an error, and what of it a caller reads: no key, no internal address, nothing endless."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from shared.agentkit.faults import CREDENTIALS_REFUSED
from shared.api.native import health
from shared.api.native.run_shapes import run_on_the_wire
from shared.api.openai.objects import response_object
from shared.runs.model.batch import run_of
from shared.runs.model.phases import Pending, RunStatus
from shared.runs.model.run import Run
from shared.runs.queries.runs import FullRun
from shared.runs.store.tables import Table
from tests.unit.api.conftest import content
from tests.unit.runs.batches import load, submit
from tests.unit.runs.conftest import Rig

KEY = "sk-proj-Qm7xKp2vLw9zRt4n"
BEARER = "Bearer opaque-0123456789"
SIGNATURE = "sig=Zk3%2Bq9%3D"
HOST = "model-gw.prod.internal"
PLANTED = (
    f"Refused: key {KEY} ({BEARER}) at https://{HOST}:8443/v1, for 10.20.30.40, "
    f"file https://a.blob.core.windows.net/c?sv=2024-01-01&{SIGNATURE}. The rest helps. " + "x" * 9_000
)
HIDDEN = [KEY, "opaque-0123456789", "Zk3%2Bq9", HOST, "10.20.30.40"]
SECRET = HIDDEN[:3]


def assert_clean(*told: object) -> None:
    """No caller reads what was planted, nor more than a page."""
    text = json.dumps(told, ensure_ascii=False, default=str)
    assert [each for each in HIDDEN if each in text] == []
    assert len(text) < 8_000


def told_of(run: Run) -> list[Any]:
    """The run as all faces of the app show it."""
    return [run_on_the_wire(FullRun(run=run), url=""), response_object(run, [])]


def failing(code: str) -> dict[str, Any]:
    return {"status": "failed", "error": {"code": code, "message": PLANTED}}


@pytest.mark.parametrize("code", ["invalid_prompt", KEY, PLANTED, ""])
async def test_what_a_failed_response_says_is_redacted_and_cut(
    rig: Rig, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    await rig.model.script("s", [failing(code)])
    run = await rig.run_to_end()
    assert run.status is RunStatus.FAILED
    assert run.result.error_code == ("invalid_prompt" if code == "invalid_prompt" else "provider_failed")
    assert "The rest helps." in (run.result.error_message or "")
    assert_clean(*told_of(run))
    assert "failed by the provider: " in caplog.text
    assert "The rest helps." not in caplog.text, "a provider may quote the prompt: its words are in the run alone"
    assert [each for each in HIDDEN if each in caplog.text] == []


async def test_a_transient_failure_says_no_more_of_it(rig: Rig) -> None:
    await rig.model.script("s", [failing("server_error")])
    run_id = await rig.start()
    run = await rig.follow(run_id, lambda run: run.turn.restarts == 1)
    assert run.chain.provider_status == "failed: server_error"
    assert_clean(*told_of(await rig.follow(run_id)))


@pytest.mark.parametrize("status", [400, 404, 413, 422])
@pytest.mark.parametrize("code", ["no_good", KEY])
async def test_what_a_refusal_says_is_redacted_and_cut(rig: Rig, status: int, code: str) -> None:
    fault = {"status": status, "json_error": {"code": code, "message": PLANTED}}
    await rig.model.script("s", [{"faults": {"create": [fault]}}])
    run = (await rig.submit()).run
    assert (run.status, run.result.error_code) == (
        RunStatus.FAILED,
        "no_good" if code == "no_good" else f"http_{status}",
    )
    assert "The rest helps." in (run.result.error_message or "")
    assert_clean(*told_of(run))


@pytest.mark.parametrize("status", [401, 403])
async def test_a_credential_that_is_refused_is_told_in_a_sentence_of_ours(
    rig: Rig, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    fault = {"status": status, "json_error": {"code": KEY, "message": PLANTED}, "times": -1}
    await rig.model.script("s", [{"faults": {"create": [fault]}}])
    run_id = await rig.start()
    assert_clean(*told_of(await rig.run(run_id)))
    run = await rig.follow(run_id)
    assert (run.result.error_code, run.result.error_message) == ("access_denied", CREDENTIALS_REFUSED)
    assert_clean(*told_of(run))
    assert "The rest helps." in caplog.text


async def test_a_response_that_is_lost_is_told_without_the_provider_s_secrets(rig: Rig) -> None:
    fault = {"status": 404, "json_error": {"code": KEY, "message": PLANTED}, "times": -1}
    await rig.model.script("s", [{"stuck": True, "faults": {"retrieve": [fault]}}])
    run_id = await rig.start()
    run = await rig.follow(run_id)
    assert run.result.error_code == "response_lost"
    assert_clean(*told_of(run))


@pytest.mark.parametrize("status", [401, 500, 429])
async def test_what_a_poll_meets_shows_as_a_plain_word(rig: Rig, status: int) -> None:
    fault = {"status": status, "json_error": {"code": KEY, "message": PLANTED}}
    await rig.model.script("s", [{"text": "Fine.", "faults": {"retrieve": [fault]}}])
    run_id = await rig.start()
    run = await rig.follow(run_id, lambda run: isinstance(run.phase, Pending) and run.phase.no_news)
    assert run.chain.provider_status == f"http_{status}"
    assert_clean(*told_of(run))


async def test_a_status_that_is_no_plain_word_is_unknown(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Fine."}])
    run_id = await rig.start()
    (response,) = (await rig.run(run_id)).chain.response_ids
    await rig.model.switches(faults={"retrieve": [{"body": {"id": response, "status": PLANTED}}]})
    run = await rig.follow(run_id, lambda run: run.counters.wakes > 1)
    assert run.chain.provider_status == "unknown"
    assert_clean(*told_of(run))


async def test_an_item_of_a_batch_says_no_more_than_a_run(rig: Rig) -> None:
    await rig.model.script("s", [failing(KEY)])
    batch_id = (await submit(rig, "[script:s]")).batch.id
    await rig.run_activity(batch_id)
    await rig.finish(run_of(batch_id, 0))
    rig.clock.move(120)
    await rig.run_activity(batch_id)
    assert (await load(rig, batch_id)).status.terminal
    rows = [json.dumps(row.values, default=str) for table in Table for row in rig.tables.rows(table)]
    assert any("The rest helps." in row for row in rows)
    assert [each for each in HIDDEN if any(each in row for row in rows)] == []


@pytest.mark.parametrize(("status", "detail"), [(401, CREDENTIALS_REFUSED), (400, None), (500, None)])
async def test_the_deep_check_says_no_more_than_that(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int, detail: str | None
) -> None:
    caplog.set_level(logging.INFO)

    async def refused(*_: object, **__: object) -> object:
        import httpx2
        import openai

        from shared.agentkit.provider_errors import of_a_query

        response = httpx2.Response(status, request=httpx2.Request("GET", "https://x"))
        raise of_a_query(openai.APIStatusError("no", response=response, body={"message": PLANTED}))

    monkeypatch.setattr(rig.provider, "_limited", refused)
    found = content(await health.get_health_deep(rig.app))
    assert found["checks"]["provider"]["status"] == "unwell"
    assert detail in (None, found["checks"]["provider"]["detail"])
    assert_clean(found)
    assert "The rest helps." in caplog.text
