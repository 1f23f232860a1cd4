"""What an agent over the Responses API relies on, held against every server."""

from __future__ import annotations

import pytest

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentSession, ContinuationToken, ResponseStatus, RunOptions
from tests.contract.agents.conftest import Ask


async def test_a_create_answers_at_once_with_a_token(ask: Ask, ended: Ask) -> None:
    created = await ask("[script:say]")
    assert created.status is ResponseStatus.PENDING
    assert created.continuation_token == ContinuationToken(response_id=str(created.response_id))
    done = await ended(created)
    assert (done.status, done.text, done.continuation_token) == (ResponseStatus.COMPLETED, "Hello there.", None)
    assert done.response_id == created.response_id
    assert await ended(created) == done, "asked again, it says the same"


async def test_a_tool_round_trip(ask: Ask, ended: Ask) -> None:
    asked = await ended(await ask("[script:ask]"))
    assert asked.status is ResponseStatus.COMPLETED
    (call,) = asked.calls
    assert (call.name, call.arguments.replace(" ", "")) == ("add", '{"a":2,"b":3}')
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "5"}
    answered = await ended(await ask([output], asked.response_id))
    assert (answered.status, answered.calls) == (ResponseStatus.COMPLETED, ())
    assert answered.text.startswith("It is")
    assert answered.text.endswith("add: 5")


async def test_a_failure_has_code_and_message(ask: Ask, ended: Ask) -> None:
    failed = await ended(await ask("[script:fail]"))
    assert (failed.status, failed.error_message) == (ResponseStatus.FAILED, "Not this one.")
    assert failed.error_code == "invalid_prompt"


async def test_a_text_that_was_cut_short_has_the_reason(ask: Ask, ended: Ask) -> None:
    cut = await ended(await ask("[script:cut]"))
    assert (cut.status, cut.text, cut.incomplete_reason) == (ResponseStatus.INCOMPLETE, "Hello", "max_output_tokens")


async def test_a_response_is_cancelled_and_again(agent: Agent, ask: Ask, ended: Ask) -> None:
    created = await ask("[script:think]")
    assert created.response_id is not None
    for _ in range(2):
        answer = await agent.cancel(created.response_id, timeout=10)
        assert answer is not None
        assert (await ended(answer)).status is ResponseStatus.CANCELLED


async def test_cancelling_what_has_completed_tells_so(agent: Agent, ask: Ask, ended: Ask) -> None:
    done = await ended(await ask("[script:say]"))
    assert await agent.cancel(str(done.response_id), timeout=10) == done


async def test_a_response_that_the_server_does_not_know(agent: Agent, ask: Ask) -> None:
    """The id has the server's own shape: one server answers 400 to any other."""
    known = str((await ask("[script:say]")).response_id)
    unknown = known[:-12] + "0123456789ab"
    token = ContinuationToken(response_id=unknown)
    with pytest.raises(faults.ResponseMissing):
        await agent.run(
            None, session=AgentSession(session_id="s"), options=RunOptions(timeout=10, continuation_token=token)
        )
    assert await agent.cancel(unknown, timeout=10) is None
