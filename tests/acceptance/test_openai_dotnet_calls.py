"""Functions of callers on .NET: what Agent Framework and Extensions.AI sent after calls, sent again after real ones.

In the recording the answers with calls were made by hand, since the app took no functions then. Here the model plays
what those answers say, the app answers, and the client's next request follows as it was recorded. `dotnet_replay.py`
has what such a client needs of each answer; `openai_dotnet/README.md` tells how it was recorded.
"""

from __future__ import annotations

import asyncio
import copy
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from tests.acceptance.conftest import CLIENT_KEYS, Target
from tests.acceptance.dotnet_replay import PENDING, Exchange, all_recorded, needs
from tests.acceptance.test_openai_requests import sent
from tests.parts.openai_shapes import DONE, events_of, problems_of
from tests.parts.strict_reader import StrictReader

CASES = (
    *("agents-novel-calls", "agents-novel-calls-background", "agents-novel-calls-stream"),
    *("agents-novel-calls-stream-background", "agents-novel-call-of-one", "agents-novel-call-fails"),
    *("meai-function-calls",),
)
Json = dict[str, Any]


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


@pytest.mark.parametrize("name", CASES)
async def test_what_a_client_on_dotnet_sends_after_calls_goes_on(target: Target, name: str) -> None:
    exchanges = all_recorded()[name]
    creates, answers = [each for each in exchanges if each["method"] == "POST"], recorded_answers(exchanges)
    script = f"net{secrets.token_hex(6)}"
    await target.model.script(script, [turn_of(answer) for answer in answers])
    async with aiohttp.ClientSession() as session:
        caller = Caller(session, target.api.url, f"[script:{script}]")
        for create, answer in zip(creates, answers, strict=True):
            await caller.create(create, answer)
    assert caller.problems == []
    bodies = [each.body for each in await target.model.log("create") if each.body and each.script == script]
    assert len(bodies) == len(creates), "one run for each request, and one turn for each run"
    for create, request, body in zip(creates, caller.requests, bodies, strict=True):
        # Of a function that nobody has, the app itself has told the model.
        assert set(outputs_of(request["input"])) <= set(outputs_of(body["input"]))
        assert len(outputs_of(body["input"])) == len(outputs_of(create["body"]["input"]))
        assert create["body"].get("instructions", "") in body["instructions"]
        assert [tool["name"] for tool in body["tools"]] == [tool["name"] for tool in create["body"]["tools"]]
    assert len(await sent(target, script)) == 1, "the conversation is not sent again"


def recorded_answers(exchanges: list[Exchange]) -> list[Json]:
    """What each create came to: where it was polled, the last answer; of a stream, its last event's response."""
    found: list[Json] = []
    for exchange in exchanges:
        raw = exchange.get("answer_raw")
        answer = exchange["answer"] if raw is None else events_of(raw.encode())[-1]["response"]
        if exchange["method"] == "POST":
            found.append(answer)
        else:
            found[-1] = answer
    return found


def turn_of(answer: Json) -> Json:
    """A turn in which the model says the same."""
    calls = [
        {"name": item["name"], "arguments": item["arguments"]}
        for item in answer["output"]
        if item["type"] == "function_call"
    ]
    if calls:
        return {"think": 0.2, "calls": calls}
    return {"think": 0.2, "text": words_of(answer), "continues": True}


def words_of(answer: Json) -> str:
    """The text of a response."""
    parts = [part for item in answer["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)


def calls_of(answer: Json) -> list[Json]:
    """The calls of a response: id, name and arguments."""
    return [item for item in answer["output"] if item["type"] == "function_call"]


def outputs_of(items: list[Json]) -> list[str]:
    """What is said of calls in an input."""
    return [item["output"] for item in items if item.get("type") == "function_call_output"]


@dataclass
class Caller:
    """The client's requests as they were recorded, with the ids that the app has given."""

    session: aiohttp.ClientSession
    url: str
    marker: str
    """What lets the model play the case."""

    names: dict[str, str] = field(default_factory=dict)
    """By what stands in the recording: responses, and ids of calls."""

    requests: list[Json] = field(default_factory=list)
    """The bodies of its creates, as they were sent."""

    problems: list[str] = field(default_factory=list)

    async def create(self, exchange: Exchange, wanted: Json) -> None:
        """One request, and its answer to the end; the answer must say what was recorded."""
        body = self._body(exchange)
        self.requests.append(body)
        status, headers, raw = await self._send("POST", exchange["path"], exchange["headers"], body)
        answer = self._read(headers, raw) if status == 200 else None
        if answer is None:
            self.problems.append(f"{status}: {raw!r}")
            return
        assert (answer["status"] in PENDING) <= bool(body.get("background"))
        while answer["status"] in PENDING:
            await asyncio.sleep(0.1)
            path = f"/api/v1/responses/{answer['id']}"
            _, headers, raw = await self._send("GET", path, exchange["headers"], None)
            answer = self._read(headers, raw)
        self._compare(answer, wanted, {tool["name"] for tool in body["tools"]})

    def _body(self, exchange: Exchange) -> Json:
        body: Json = {**copy.deepcopy(exchange["body"]), "model": "assistant"}
        previous = body.get("previous_response_id")
        if previous is None:
            body["input"][0]["content"][0]["text"] += self.marker
        else:
            body["previous_response_id"] = self.names[previous]
        # A call of a function that it has not brought does not reach it.
        body["input"] = [item for item in body["input"] if "call_id" not in item or item["call_id"] in self.names]
        for item in body["input"]:
            if "call_id" in item:
                item["call_id"] = self.names[item["call_id"]]
        return body

    async def _send(self, method: str, path: str, given: Json, body: Json | None) -> tuple[int, Any, bytes]:
        headers = {**given, "Authorization": f"Bearer {CLIENT_KEYS['ada']}"}
        async with self.session.request(method, self.url + path, headers=headers, json=body) as response:
            raw = await response.read()
        self.problems += problems_of(method, self.url + path, response.status, response.headers, raw)
        return response.status, response.headers, raw

    def _read(self, headers: Any, raw: bytes) -> Json:
        if not headers["content-type"].startswith("text/event-stream"):
            answer = json.loads(raw)
        else:
            reader = StrictReader()
            for event in (each for each in events_of(raw) if each != DONE):
                self.problems += needs(event)
                reader.hear(event)
            assert reader.response is not None, "a stream without an end"
            answer = reader.response
        self.problems += needs(answer)
        return answer

    def _compare(self, answer: Json, wanted: Json, functions: set[str]) -> None:
        assert (answer["status"], words_of(answer)) == (wanted["status"], words_of(wanted))
        was, now = [call for call in calls_of(wanted) if call["name"] in functions], calls_of(answer)
        assert [(each["name"], each["arguments"]) for each in now] == [(e["name"], e["arguments"]) for e in was]
        self.names[wanted["id"]] = answer["id"]
        self.names |= {old["call_id"]: new["call_id"] for old, new in zip(was, now, strict=True)}
