"""Submit over the whole stack: one run a key, and every byte of input and text."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import pytest

from tests.acceptance.client import TERMINAL, Api
from tests.acceptance.conftest import Stack, Target, both_drivers, move_clock
from tests.acceptance.launch import COLD_VARIABLE

MEGABYTE = 1_048_576


@pytest.mark.main
@pytest.mark.http_only
async def test_the_same_key_at_once_and_after_the_end_is_one_run(driver: str, target: Target) -> None:
    key = f"key {secrets.token_hex(8)}"
    replies = await asyncio.gather(*(target.api.submit("A story, please.", key=key) for _ in range(8)))
    assert 202 in {reply.status for reply in replies}
    assert all(reply.status == (200 if reply["status"] in TERMINAL else 202) for reply in replies)
    (run_id,) = {reply["id"] for reply in replies}
    quoted = await target.api.submit("A story, please.", key=f'"{key}"')
    assert quoted["id"] == run_id
    other = await target.api.submit("Another story, please.", key=key)
    assert (other.status, other["code"]) == (422, "idempotency_key_reused")
    run = await target.api.finished(run_id)
    assert run["status"] == "completed", run["error"]
    again = await target.api.submit("A story, please.", key=key)
    assert again.status == 200
    assert again.body == run
    assert "Retry-After" not in again.headers
    assert again.headers["Location"] == run["url"]


@pytest.mark.main
async def test_the_same_key_at_once_is_one_create(driver: str, target: Target) -> None:
    await target.model.script("one", [{"text": "done"}])
    replies = await asyncio.gather(
        *(target.api.submit("[script:one]", agent="workshop", key=f"one-{driver}") for _ in range(8))
    )
    (run_id,) = {reply["id"] for reply in replies}
    assert (await target.api.finished(run_id))["status"] == "completed"
    assert len(await target.model.creates(run=run_id)) == 1


@pytest.mark.main
@both_drivers
async def test_the_first_submit_of_a_new_worker_leaves_its_create_to_a_wake(
    own_stack: Callable[..., Stack], driver: str
) -> None:
    stack = own_stack(driver)
    host = stack.host(**{COLD_VARIABLE: "1"})
    await stack.model.script("s", [{"text": "done"}])
    async with Api(host.url) as api:
        first = await api.submit("[script:s]", agent="workshop")
        assert (first.status, first["status"]) == (202, "queued")
        assert (await api.finished(str(first["id"])))["text"] == "done"
        assert len(await stack.model.creates(run=str(first["id"]))) == 1
        second = await api.submit("[script:s]", agent="workshop")
        assert (second.status, second["status"]) == (202, "in_progress")


async def test_a_key_is_known_for_a_day(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack("timer")
    host = stack.host()
    await stack.model.script("s", [{"text": "done"}])
    async with Api(host.url) as api:
        first = await api.start("[script:s]", agent="workshop", key="k")
        assert (await api.finished(first))["status"] == "completed"
        await move_clock(host, 86_000)
        assert await api.start("[script:s]", agent="workshop", key="k") == first
        await move_clock(host, 500)
        second = await api.submit("[script:s] anew", agent="workshop", key="k")
        assert second.status == 202
        assert second["id"] != first


@pytest.mark.parametrize("driver", ["timer"])
@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("0123456789abcde\n", MEGABYTE // 8),
        ("\U0001f42d\u0301\u200d\ufeff\u2028\r\n\"\\'</script>\t\u00e4\uffff", 2 * MEGABYTE // 38),
        ("\0\x01\x1f\x7f\x85", MEGABYTE // 2),
    ],
    ids=["lines", "unicode", "controls"],
)
async def test_two_megabytes_of_text_come_back_as_they_are(driver: str, target: Target, text: str, times: int) -> None:
    name = f"long-{secrets.token_hex(4)}"
    await target.model.script(name, [{"repeat_text": {"text": text, "times": times}}])
    run = await target.api.finished(await target.api.start(f"[script:{name}]", agent="workshop"))
    assert run["status"] == "completed", run["error"]
    assert run["text"] == text * times


@pytest.mark.main
@pytest.mark.parametrize("driver", ["timer"])
@pytest.mark.parametrize("text", ["\0", "a\0b\x01\ufffe", "\U0001f42d" * 12_000, " \n", "é" * 24_001])
async def test_a_short_text_comes_back_as_it_is(driver: str, target: Target, text: str) -> None:
    name = f"short-{secrets.token_hex(4)}"
    await target.model.script(name, [{"text": text}])
    run = await target.api.finished(await target.api.start(f"[script:{name}]", agent="workshop"))
    assert (run["status"], run["text"]) == ("completed", text)


@pytest.mark.parametrize("driver", ["timer"])
@pytest.mark.parametrize("unit", ["x", "é", "\U0001f42d", "\n"], ids=["ascii", "two_bytes", "four_bytes", "escaped"])
async def test_the_longest_input_reaches_the_model_byte_for_byte(driver: str, target: Target, unit: str) -> None:
    await target.model.script("s", [{"text": "done"}])
    begin = f"[script:s]{secrets.token_hex(3)}"
    text = begin + unit * ((MEGABYTE - len(begin)) // len(unit.encode()))
    assert len(text.encode()) == MEGABYTE
    run_id = await target.api.start(text, agent="workshop")
    run = await target.api.finished(run_id)
    assert run["status"] == "completed", run["error"]
    (create,) = await target.model.creates(run=run_id)
    assert create.body["input"] == [{"type": "message", "role": "user", "content": text}]


@pytest.mark.main
async def test_an_outage_of_the_provider_is_a_202_and_a_run_that_goes_on(driver: str, target: Target) -> None:
    await target.model.script("s", [{"text": "done"}])
    await target.model.switches(down=True)
    try:
        reply = await target.api.submit("[script:s]", agent="workshop")
    finally:
        await target.model.switches(down=False)
    assert reply.status == 202
    assert reply["id"] == reply["url"].rsplit("/", 1)[1]
    await target.api.cancel(reply["id"])  # an outcome that nobody knows is waited out, which is not this test's
