"""Whatever a provider answers: it is read, kept and shown without an exception, and nothing outgrows its most."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import secrets
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import wiring
from shared.agentkit import faults, lenient
from shared.agentkit.agent import Agent, AgentResponse
from shared.agentkit.chat import read_completion, to_messages
from shared.agentkit.provider import Provider, ProviderConfig
from shared.agentkit.responses import ResponsesAgent, read_response
from shared.api.native.events import sse
from shared.api.native.run_bodies import AnswersBody
from shared.api.native.runs import body_of
from shared.api.openai.chat import chat_completion
from shared.api.openai.events import EventWriter
from shared.api.openai.objects import response_object
from shared.runs.actions import conversation
from shared.runs.actions.create import answer_of
from shared.runs.commit import commit
from shared.runs.model.calls import CallState
from shared.runs.model.facts import Attempt, ResponseCreated
from shared.runs.model.phases import Claim, Creating, Ended
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.queries.conversation import turn_texts
from shared.runs.rules.agenda import next_time
from shared.runs.store.runs import SessionChange
from shared.runs.watching.views import ClientText, Delta, EventId
from shared.settings import Settings
from shared.wiring import App
from tests.parts import workshop
from tests.parts.memory import MemoryTables
from tests.unit.runs.conftest import Clock
from tests.unit.runs.records import a_run, at

ODD = settings(
    max_examples=int(os.environ.get("ODD_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "error": {"code": "server_error", "message": "It broke."},
    "incomplete_details": {"reason": "max_output_tokens"},
    "metadata": {"of_the_caller": "x"},
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "q"}},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "Once.", "annotations": [{"type": "url_citation", "start_index": 0}]},
                {"type": "refusal", "refusal": "No."},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "work", "arguments": '{"label": "a"}'},
        {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "crm", "name": "delete", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_0", "output": "x"},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_0", "approve": True},
    ],
    "usage": {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 3,
    },
}
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "choices": [
        {
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "Well.",
                "refusal": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "work", "arguments": '{"label": "a"}'}}
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
}
EVENT: dict[str, Any] = {
    "type": "response.output_text.delta",
    "sequence_number": 4,
    "delta": "Once.",
    "message": "x",
    "response": RESPONSE,
}

TEXTS = st.one_of(
    st.text(max_size=8),
    st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=8),
    st.sampled_from(
        ["completed", "failed", "function_call", "message", "mcp_approval_request", "\ud83d", "x" * 70_000]
    ),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([-1, 2**53, 2**64, -(2**64), 10**400, 10**4_000, 1e308, float("nan"), float("inf")]),
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
JUNK = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


def nested(levels: int) -> Any:
    value: Any = "deep"
    for level in range(levels):
        value = [value] if level % 2 else {"content": value}
    return value


VALUES = JUNK | st.sampled_from([nested(50), nested(200), nested(400)])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in it, by the keys that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in places(each, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, body: dict[str, Any], *kept: str) -> dict[str, Any]:
    """The body with a few of its parts, but for those ``kept``, put in another's place, or taken away."""
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 4))):
        found = [path for path in places(body) if path and path[0] not in kept]
        if not found:
            return body
        *way, last = draw(st.sampled_from(found))
        holder: Any = body
        for key in way:
            holder = holder[key]
        if draw(st.integers(0, 4)) == 0:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(draw(VALUES))
    return body


def an_app() -> tuple[App, Mapping[str, Agent]]:
    given = Settings(openai_api_key="k", app_name="unit")
    provider = Provider(ProviderConfig(credential="k"))
    agents = {each.name: each for each in (workshop.build(given, provider), workshop.build_judge(given, provider))}
    return wiring.build(given, agents, MemoryTables(), Clock()), agents


APP, AGENTS = an_app()


def check_small(value: Any) -> None:
    """Every text of it is well-formed and within the most; every number can be written."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()
    assert len(text) < 20_000_000


async def taken_in(agent: Agent, response: AgentResponse) -> Run:
    """The run as its row has it after this answer, read back."""
    store = APP.ports.runs
    claimed = Creating(nonce="n", claim=Claim(until=at(60), unknown_at=at(90)))
    run = a_run(agent=agent.name, session_id=secrets.token_hex(16), attempt=1, phase=claimed)
    session = Session(
        session_id=run.request.session_id,
        agent=run.request.agent,
        owner="app",
        created_at=run.request.created_at,
        last_activity=run.request.created_at,
    )
    stored = await store.create(run, SessionChange(before=None, after=replace(session, active_run=1)), "[]")
    attempt = Attempt(turn=1, number=1, nonce="n")
    created = ResponseCreated(attempt=attempt, answer=answer_of(agent, response), jitter=0.0)
    assert (await commit(APP.ports, stored, created)).refused is None
    found = await store.load(run.id)
    assert found is not None
    return found.value


async def check_shown(run: Run, agent: Agent) -> None:
    """Everybody who looks at the run is answered; the model can be sent it again; each question can be answered."""
    store = APP.ports.runs
    calls = [each.value for each in await store.calls(run)]
    turns = await turn_texts(APP.ports, run)
    ended = run if run.terminal else replace(run, phase=Ended(status=run.status, completed_at=run.updated_at))
    shown = [await body_of(APP, run, calls), response_object(run, turns, agent=agent), chat_completion(ended, turns)]
    shown.append({"items": await store.items(run)})
    for body in shown:
        check_small(body)
        sse("state", body).decode()
    for call in calls:
        assert 0 < len(call.call_id) <= 256
        assert len(call.name) <= 256
        if call.state is CallState.WAITING:
            AnswersBody.model_validate({"answers": {call.call_id: {"approve": True}}})
    for text in (run.result.error_code, run.chain.provider_status, run.result.incomplete_reason):
        assert len(text or "") <= 120
    assert len(run.result.error_message or "") <= 4_000
    usage = run.counters.usage
    assert all(0 <= each <= 10**12 for each in (usage.input_tokens, usage.output_tokens, usage.total_tokens))
    again = await conversation.messages(APP.ports, replace(run, chain=replace(run.chain, replay=True)), agent)
    check_small(again)
    check_small(to_messages(again))


@ODD
@given(body=mutated(RESPONSE), agent=st.sampled_from(sorted(AGENTS)))
def test_any_response_is_read_kept_and_shown(body: dict[str, Any], agent: str) -> None:
    parsed = lenient.parse_json(json.dumps(body))
    if lenient.response_id(parsed.get("id")) is None or lenient.word(parsed.get("status")) is None:
        with pytest.raises(faults.NoNews):
            read_response(parsed)
        return
    response = read_response(parsed)

    async def story() -> None:
        await check_shown(await taken_in(AGENTS[agent], response), AGENTS[agent])

    asyncio.run(story())


@ODD
@given(body=mutated(COMPLETION))
def test_any_completion_is_read_kept_and_shown_or_is_none(body: dict[str, Any]) -> None:
    try:
        response = read_completion(lenient.parse_json(json.dumps(body)))
    except faults.PerhapsAccepted:
        return

    async def story() -> None:
        await check_shown(await taken_in(AGENTS["workshop"], response), AGENTS["workshop"])

    asyncio.run(story())


@ODD
@given(bodies=st.lists(mutated(EVENT), min_size=1, max_size=3))
def test_any_event_of_a_stream_reaches_its_viewers(bodies: list[dict[str, Any]]) -> None:
    async def events(*_: object, **__: object) -> AsyncGenerator[dict[str, Any], None]:
        for body in bodies:
            yield lenient.parse_json(json.dumps(body))

    async def story() -> None:
        given = Settings(openai_api_key="k")
        agent = workshop.build(given, provider := Provider(ProviderConfig(credential="k")))
        assert isinstance(agent, ResponsesAgent)
        provider.follow = events  # type: ignore[method-assign]
        shown, writer = ClientText(EventId(1, 1, 0)), EventWriter(a_run(attempt=1), None, agent)
        with contextlib.suppress(faults.NoNews):  # an error in the stream, or an end that has no id
            async for update in agent.follow("resp_1", after=0, timeout=1.0):
                event = shown.apply(update)
                if event is None:
                    continue
                assert EventId.parse(str(event.event_id)) == event.event_id, "who comes back with it is understood"
                write = writer.append if isinstance(event, Delta) else writer.replace
                for each in write(event.event_id, event.text):
                    assert 0 <= each["sequence_number"] < 2**53
                    sse("x", each).decode()
                sse("x", {"text": event.text}, str(event.event_id)).decode()

    asyncio.run(story())


@pytest.mark.parametrize("levels", [10, 900, 1_100, 100_000])
def test_a_response_of_any_depth_keeps_its_text(levels: int) -> None:
    deep = "[" * levels + '"]"' + "]" * levels
    body = json.dumps({**RESPONSE, "output": [RESPONSE["output"][2]], "tools": 0}).replace('"tools": 0', f'"x": {deep}')
    response = read_response(lenient.parse_json(body))
    assert response.text == "Once.No."


def test_numbers_without_end_and_bytes_that_are_no_text_lose_no_result() -> None:
    body = json.dumps(RESPONSE).replace('"total_tokens": 3', f'"total_tokens": {"9" * 10_000}').encode()
    response = read_response(lenient.parse_json(body.replace(b"Once.", b"On\xffce.")))
    assert response.text == "On\ufffdce.No."
    assert response.usage.total_tokens == lenient.MAX_TOKENS


def test_two_long_ids_stay_apart_and_short_ones_stay_as_they_are() -> None:
    one, two = (lenient.identifier("c" * 5_000 + end) for end in "12")
    assert one != two
    assert (len(one), lenient.identifier("c" * 256), lenient.identifier(7)) == (256, "c" * 256, "7")


def test_arguments_that_a_server_sends_as_an_object_are_those_of_the_call() -> None:
    call = {**RESPONSE["output"][3], "arguments": {"label": "a"}}
    (read,) = read_response({**RESPONSE, "output": [call]}).calls
    assert json.loads(read.arguments) == {"label": "a"}


def test_a_result_with_tokens_in_words_is_not_lost() -> None:
    async def story() -> Run:
        body = {**RESPONSE, "output": [RESPONSE["output"][2]], "usage": "many"}
        return await taken_in(AGENTS["workshop"], read_response(body))

    run = asyncio.run(story())
    assert (run.status.value, next_time(run), run.result.text) == ("completed", None, "Once.No.")
