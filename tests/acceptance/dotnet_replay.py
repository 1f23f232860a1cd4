"""Replays what clients on .NET have sent: each recorded case, request by request, against an app that runs.

`openai_dotnet/README.md` says what was recorded, by which rules it is replayed, and what such a client needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.acceptance.conftest import CLIENT_KEYS
from tests.parts.openai_shapes import DONE, events_of, problems_of
from tests.parts.strict_reader import unreadable

FILE = Path(__file__).parent / "openai_dotnet" / "dotnet.jsonl"
KEYS = {"<key>": CLIENT_KEYS["ada"], "<key-2>": CLIENT_KEYS["bob"], "<key-wrong>": "nobody"}
PENDING = ("queued", "in_progress")
STATUSES = {*PENDING, "completed", "failed", "cancelled", "incomplete"}
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")
EARLY = 8
"""A number of an event up to here counts from the start of a stream, a later one from its end: deltas are chance."""

PATIENCE = 1.0
"""Seconds until a client gives up where the recording has its timeout."""

ANNOTATIONS = {"file_citation", "url_citation", "container_file_citation", "file_path"}
OUR_OWN = re.compile(r"<(resp|msg|chatcmpl)-\d+>")

Exchange = dict[str, Any]


def recorded() -> dict[str, list[Exchange]]:
    """The exchanges of each case that reached the app, or would have."""
    return {name: each for name, each in all_recorded().items() if any(map(reaches, each))}


def all_recorded() -> dict[str, list[Exchange]]:
    """The exchanges of each case."""
    cases: dict[str, list[Exchange]] = {}
    for line in FILE.read_text("utf-8").splitlines():
        exchange = json.loads(line)
        cases.setdefault(exchange["case"], []).append(exchange)
    return cases


def reaches(exchange: Exchange) -> bool:
    """Whether the proxy of the recording let this request through."""
    return "not passed on" not in (exchange.get("proxy") or "")


def gives_up(exchange: Exchange) -> bool:
    """Whether the client left while it waited for its answer, which came too late for it."""
    return bool(exchange.get("client_left")) and not exchange.get("proxy") and isinstance(exchange["answer"], dict)


@dataclass
class Replay:
    """One case against the app at ``url``."""

    session: aiohttp.ClientSession
    url: str
    model: str | None = None
    """The agent to ask, in place of the recorded one."""

    names: dict[str, str] = field(default_factory=dict)
    """What stands for each placeholder."""

    streams: dict[int, tuple[list[Any], int]] = field(default_factory=dict)
    """By the number of the exchange: the events of a stream, and how many there were in the recording."""

    problems: list[str] = field(default_factory=list)
    answers: list[tuple[int, str | None]] = field(default_factory=list)
    """Status and code of each answer of the app."""

    refusal: dict[str, str | None] | None = None
    """The last error that it answered with."""

    left: int = 0
    """Creates that the client gave up before they were answered."""

    started: set[str] = field(default_factory=set)
    """The ids that creates were answered with."""

    async def play(self, exchanges: list[Exchange]) -> None:
        """The case, in order."""
        for index, exchange in enumerate(exchanges):
            if not reaches(exchange):
                continue
            until = self._left_at(exchange, exchanges[index + 1 :])
            try:
                async with asyncio.timeout(PATIENCE if gives_up(exchange) else None):
                    status, headers, body = await self._send(exchange, until)
            except TimeoutError:
                self.left += 1
                continue
            self._check(exchange, status, headers, body, is_cut=until is not None)

    async def _send(self, exchange: Exchange, until: int | None) -> tuple[int, Mapping[str, str], bytes]:
        """The answer; of a stream that is left only so many events. A response that is polled is polled to its end."""
        wants_end = exchange["method"] == "GET" and isinstance(exchange["answer"], dict)
        wants_end = wants_end and exchange["answer"].get("status") not in (None, *PENDING)
        while True:
            status, headers, body = await self._request(exchange, until)
            if not (wants_end and status == 200 and json.loads(body).get("status") in PENDING):
                return status, headers, body
            await asyncio.sleep(0.1)

    async def _request(self, exchange: Exchange, until: int | None) -> tuple[int, Mapping[str, str], bytes]:
        given = exchange["headers"]
        headers = {name: self._filled(value) for name, value in given.items()}
        if "Authorization" in headers:
            headers["Authorization"] = f"Bearer {headers['Authorization']}"
        body = exchange["body"]
        if self.model is not None and body is not None:
            body = {**body, "model": self.model}
        data = None if body is None else self._filled(json.dumps(body)).encode()
        address = self.url + self._filled(exchange["path"])
        async with self.session.request(exchange["method"], address, data=data, headers=headers) as response:
            raw = b""
            with contextlib.closing(response):
                async for chunk in response.content.iter_any():
                    raw += chunk
                    if until is not None and len(events_of(raw)) >= until:
                        break
            return response.status, response.headers.copy(), raw

    def _filled(self, text: str) -> str:
        def name(match: re.Match[str]) -> str:
            found = match[0]
            if found.startswith("<uuid-"):
                return self.names.setdefault(found, str(uuid.uuid4()))
            if found.startswith("<seq-"):
                number, event = map(int, found[5:-1].split("-"))
                events, before = self.streams[number]
                return str(events[event - 1 if event <= EARLY else event - 1 - before]["sequence_number"])
            return KEYS.get(found) or self.names.get(found, f"resp_{'0' * 32}_1")

        return re.sub(r"<(?:key|uuid|seq|resp|msg)[\w-]*>", name, text)

    def _left_at(self, exchange: Exchange, later: list[Exchange]) -> int | None:
        if exchange["case"].endswith("-dies"):
            return None  # that is mended: it must be read to its end
        cut = exchange.get("client_left") or "of the stream" in (exchange.get("proxy") or "")
        if not cut or not isinstance(exchange["answer"], list):
            return None
        named = re.search(rf"<seq-{exchange['n']}-(\d+)>", json.dumps(later))
        return 2 if named is None else int(named[1])

    def _check(self, exchange: Exchange, status: int, headers: Mapping[str, str], body: bytes, *, is_cut: bool) -> None:
        where = f"{exchange['case']} {exchange['n']}"
        found: list[str] = []
        in_face = exchange["path"].startswith("/api/v1")
        if in_face:
            found += problems_of(exchange["method"], self.url + exchange["path"], status, headers, body)
        kind = headers.get("content-type", "")
        if kind.startswith("text/event-stream"):
            events = events_of(body)
            was = exchange["answer"] if isinstance(exchange["answer"], list) else []
            self.streams[exchange["n"]] = events, len(was)
            found += [each for event in events for each in needs(event)]
            if not is_cut and not (events[-1] == DONE or events[-1]["type"] in ENDS):
                found.append(f"it ends with {events[-1]}")
            self._learn(ids_in(events), exchange.get("answer_ids", []), found)
            self._note_start(exchange, ids_in(events)[:1])
            self.answers.append((status, None))
        else:
            answer = json.loads(body) if kind.startswith("application/json") else None
            code = answer["error"]["code"] if status >= 400 and answer else None
            self.answers.append((status, code))
            if code is not None:
                self.refusal = {name: answer["error"][name] for name in ("code", "param", "message")}
            found += needs(answer)
            self._note_start(exchange, [answer["id"]] if status == 200 and "id" in answer else [])
            self._compare(exchange, status, answer, found)
        self.problems += [f"{where}: {each}" for each in found]

    def _compare(self, exchange: Exchange, status: int, answer: Any, found: list[str]) -> None:
        was = exchange.get("app_answer") or exchange
        if was["status"] != status or answer is None:
            return
        if status >= 400:
            if answer["error"]["code"] != was["answer"]["error"]["code"]:
                found.append(f"{answer['error']} and not {was['answer']['error']}")
            return
        pairs = list(pairs_of(was["answer"], answer, found))
        self._learn([new for _, new in pairs], [old for old, _ in pairs], found)

    def _note_start(self, exchange: Exchange, ids: list[str]) -> None:
        if exchange["method"] == "POST" and not exchange["path"].partition("?")[0].endswith("/cancel"):
            self.started.update(ids)

    def _learn(self, ids: list[str], placeholders: list[str], found: list[str]) -> None:
        for placeholder, name in zip(placeholders, ids, strict=False):
            if self.names.setdefault(placeholder, name) != name:
                found.append(f"{placeholder} is {name} and was {self.names[placeholder]}")
        if len(set(self.names.values())) < len(self.names):
            found.append(f"one id in place of two: {self.names}")


def pairs_of(was: Any, now: Any, found: list[str], place: str = "") -> Iterator[tuple[str, str]]:
    """The placeholders in a recorded answer with what stands there now; a field that is no longer there is found."""
    if isinstance(was, dict) and isinstance(now, dict):
        if less := was.keys() - now.keys():
            found.append(f"{place} lacks {sorted(less)}")
        for name in was.keys() & now.keys():
            yield from pairs_of(was[name], now[name], found, f"{place}/{name}")
    elif isinstance(was, list) and isinstance(now, list):
        for old, new in zip(was, now, strict=False):
            yield from pairs_of(old, new, found, place)
    elif isinstance(was, str) and OUR_OWN.fullmatch(was) and isinstance(now, str):
        yield was, now


def ids_in(events: list[Any]) -> list[str]:
    """The ids in a stream, in order of appearance."""
    seen: dict[str, None] = {}
    for event in events:
        if event != DONE:
            places = (event.get("response"), event.get("item"), {"id": event.get("item_id")}, event)
            seen.update({each["id"]: None for each in places if each and each.get("id")})
    return list(seen)


def needs(answer: Any) -> list[str]:
    """What a client on .NET lacks of an answer, or of an event, and would throw at."""
    found = [*_not_int32(answer), *(f"half a surrogate pair: {each!r}" for each in unreadable(answer))]
    if not isinstance(answer, dict):
        return found
    if str(answer.get("type", "")).startswith("response."):
        if not is_int(answer.get("sequence_number")):
            found.append(f"sequence_number: {answer.get('sequence_number')!r}")
        return found + needs(answer.get("response"))
    if answer.get("object") != "response":
        return found
    if not is_int(answer.get("created_at")):
        found.append(f"created_at: {answer.get('created_at')!r}")
    if answer.get("status") not in STATUSES:
        found.append(f"status: {answer.get('status')!r}")
    if answer.get("parallel_tool_calls") is None:
        found.append("parallel_tool_calls")
    if not all(isinstance(value, str) for value in (answer.get("metadata") or {}).values()):
        found.append("metadata")
    output = answer.get("output")
    if not isinstance(output, list):
        return [*found, "output"]
    if answer.get("status") == "failed" and not any(item.get("type") == "message" for item in output):
        found.append("a failure without a message, which Microsoft.Extensions.AI hangs the error on")
    for item in (each for each in output if each.get("type") == "message"):
        if not isinstance(item["content"], list):
            found.append("content")
            continue
        for part in item["content"]:
            notes = part.get("annotations", [])
            if not isinstance(notes, list) or any(note["type"] not in ANNOTATIONS for note in notes):
                found.append(f"annotations: {notes}")
    return found


def is_int(value: Any) -> bool:
    """Whether it is read as int32: a whole number, written as one."""
    return type(value) is int and -(2**31) <= value < 2**31


def _not_int32(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _not_int32(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from _not_int32(each, name)
    elif type(value) is int and not is_int(value):
        yield f"{name} is {value}, above int32"
    elif name.endswith("_tokens") and not (value is None or is_int(value)):
        yield f"{name} is {value!r}, no whole number"
