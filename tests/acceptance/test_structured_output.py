"""Structured output: an agent that promises an object gives one, or fails and says why."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from tests.acceptance.conftest import Target

GOOD = {"guilty": True, "months": 3}

one_driver = pytest.mark.parametrize("driver", ["durable"])


async def script(target: Target, *turns: dict[str, Any]) -> str:
    """Set a script of these turns; the input that plays it."""
    name = f"s{secrets.token_hex(4)}"
    await target.model.script(name, [{"continues": True, **turn} for turn in turns])
    return f"[script:{name}]"


async def judged(target: Target, text: str, **fields: Any) -> dict[str, Any]:
    """The judge's run, once it is over."""
    if "session_id" not in fields:
        fields["agent"] = "judge"
    return await target.api.finished(await target.api.start(text, **fields))


@pytest.mark.main
async def test_the_object_stands_beside_the_text(driver: str, target: Target) -> None:
    told = '  {"months": 3,\n "guilty": true} '
    run = await judged(target, await script(target, {"text": told}))
    assert (run["status"], run["turn"]) == ("completed", 1)
    assert (run["output"], run["text"]) == (GOOD, told)
    (create,) = await target.model.creates(run=run["id"])
    assert create.body is not None
    asked = create.body["text"]["format"]
    assert (asked["type"], asked["name"], asked["strict"]) == ("json_schema", "Verdict", True)
    assert asked["schema"]["required"] == ["guilty", "months"]
    plain = await target.api.finished(await target.api.start("Hello.", agent="workshop"))
    assert plain["output"] is None


@one_driver
@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ({"text": "Guilty!"}, "not JSON"),
        ({"text": '{"guilty": true}'}, "months: Field required"),
        ({"text": '{"guilty": true, "months": -1}'}, "months: Input should be greater than or equal to 0"),
        ({"text": "[]"}, "Input should be"),
        ({"refusal": "I would rather not."}, "not JSON"),
        ({"repeat_text": {"text": "[", "times": 50_000}}, "not JSON"),
    ],
    ids=["words", "missing", "wrong", "list", "refusal", "deep"],
)
async def test_text_that_does_not_fit_is_corrected_in_one_more_turn(
    driver: str, target: Target, bad: dict[str, Any], problem: str
) -> None:
    run = await judged(target, await script(target, bad, {"text": json.dumps(GOOD)}))
    assert (run["status"], run["turn"], run["error"]) == ("completed", 2, None), run
    assert (run["output"], json.loads(run["text"])) == (GOOD, GOOD)
    first, second = await target.model.creates(run=run["id"])
    assert second.body is not None
    assert second.body["previous_response_id"] == first.response_id
    assert second.body["text"]["format"]["name"] == "Verdict"
    (told,) = second.body["input"]
    assert told["role"] == "user"
    assert problem in told["content"]


@pytest.mark.main
async def test_twice_unfit_fails_and_keeps_the_raw_text(driver: str, target: Target) -> None:
    good = await judged(target, await script(target, {"text": json.dumps(GOOD)}))
    session = {"session_id": good["session_id"]}
    run = await judged(target, await script(target, {"text": "Guilty!"}, {"text": '{"guilty": "very"}'}), **session)
    assert (run["status"], run["error"]["code"], run["turn"]) == ("failed", "invalid_output", 2)
    assert (run["output"], run["text"]) == (None, '{"guilty": "very"}')
    assert "guilty" in run["error"]["message"]
    assert len(await target.model.creates(run=run["id"])) == 2
    following = await judged(target, await script(target, {"text": json.dumps(GOOD)}), **session)
    assert following["output"] == GOOD
    ((before,), (after,)) = (
        await target.model.creates(run=good["id"]),
        await target.model.creates(run=following["id"]),
    )
    assert after.body is not None
    assert after.body["previous_response_id"] == before.response_id  # what failed is no part of the conversation


@one_driver
async def test_a_correction_may_be_replayed_and_comes_after_tools_too(driver: str, target: Target) -> None:
    asking = {"calls": [{"name": "work", "arguments": {"label": "a"}}]}
    await target.model.switches(azure_tool_outputs=True)
    try:
        run = await judged(target, await script(target, asking, {"text": "Guilty!"}, {"text": json.dumps(GOOD)}))
    finally:
        await target.model.switches(azure_tool_outputs=False)
    assert (run["status"], run["turn"], run["output"]) == ("completed", 3, GOOD), run
    assert [call["starts"] for call in run["tool_calls"]] == [1]


@one_driver
@pytest.mark.parametrize("limits", [{"turns": 1}, {"total_tokens": 500}])
async def test_there_is_no_correction_beyond_the_limits(driver: str, target: Target, limits: dict[str, int]) -> None:
    bad = {"text": "Guilty!", "usage": {"input_tokens": 400, "output_tokens": 200, "total_tokens": 600}}
    run = await judged(target, await script(target, bad, {"text": json.dumps(GOOD)}), limits=limits)
    assert (run["status"], run["error"]["code"], run["turn"]) == ("failed", "invalid_output", 1)
    assert (run["text"], len(await target.model.creates(run=run["id"]))) == ("Guilty!", 1)


@one_driver
async def test_an_unfinished_object_is_not_corrected(driver: str, target: Target) -> None:
    run = await judged(target, await script(target, {"text": '{"guilty": tr', "status": "incomplete"}))
    assert (run["status"], run["output"], run["text"], run["turn"]) == ("incomplete", None, '{"guilty": tr', 1)
