#!/usr/bin/env python3
"""What one request may do to a worker: the longest that it holds the event loop, and the memory that it adds.

    .venv/bin/python bench/hostile_requests.py [--rounds 3] [--only WORD] [--after SECONDS]

Starts the local stack, and for each line a fresh host (one process with host and app). Sends requests that were made
to hurt, the largest well-formed request of every route, and asks for the largest answers. Meanwhile another process
asks for `/api/health` without a pause: its longest wait is the standstill, which the work that a request leaves behind
(for some seconds after the answer) adds to. The machine's own jitter is measured just as long beforehand, and stands
beside. Memory is the peak of the resident set over what it was after a warm-up. Medians of the rounds; the most for
memory. The aim is 100 ms and 64 MB.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import re
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from local.stack import Azurite, FunctionsHost, ScriptedModel  # noqa: E402
from local.stack.child import LOOPBACK  # noqa: E402

MIB = 1_048_576
KEY = "bench-secret-0123456789"
ACCOUNT = "bench"
JSON = "application/json"
LINES = "application/jsonl"
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"
RUNS = 40
"""Of the session that is read. The figures of before are of 100, whose answer had 105 MB; a page is the same."""

AIM = (100.0, 64.0)
"""Milliseconds, and MB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """Sends requests to one host, each over a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, method: str, path: str, body: bytes | None = None, kind: str = JSON) -> Answer:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=300)
        headers = {"Content-Type": kind, "Authorization": f"Bearer {KEY}"}
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        except (BrokenPipeError, ConnectionResetError):  # refused early, while we were sending
            return Answer(0, b"")
        finally:
            connection.close()

    def json(self, method: str, path: str, body: object = None) -> Answer:
        return self(method, path, None if body is None else json.dumps(body).encode())

    def eventually(self, path: str, holds: Callable[[Any], bool], seconds: float = 120.0) -> Any:
        """The answer once it is so."""
        until = time.monotonic() + seconds
        while not holds(seen := self("GET", path).json):
            if time.monotonic() > until:
                raise SystemExit(f"{path} stays {json.dumps(seen)[:500]}")
            time.sleep(0.2)
        return seen


Send = Callable[[Caller], Answer]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table. ``prepare`` makes what is to be sent, on the host itself; ``before``: of 0690fa6."""

    name: str
    prepare: Callable[[Caller], Send]
    before: tuple[float | None, float] | None = None
    at_once: int = 1


@dataclass(slots=True)
class Measured:
    """Of one case: each round's standstill and jitter in ms, the memory in MB, the last answer."""

    standstill: list[float] = field(default_factory=list)
    jitter: list[float] = field(default_factory=list)
    memory: float = 0.0
    status: int = 0
    answered: int = 0


def ask_for_health(port: int, longest: Synchronized[float], stop: Any) -> None:
    """Ask without a pause; the longest wait in ms, until somebody sets it back."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=300)
    while not stop.is_set():
        begun = time.perf_counter()
        try:
            connection.request("GET", "/api/health")
            connection.getresponse().read()
        except (http.client.HTTPException, OSError):
            connection.close()
            continue
        took = 1_000 * (time.perf_counter() - begun)
        with longest.get_lock():
            longest.value = max(longest.value, took)
        time.sleep(0.001)


def memory_of(pid: int, what: str) -> float:
    """``VmRSS`` or ``VmHWM`` of a process, in MB."""
    found = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1_024 / 1e6 if found else 0.0


@contextlib.contextmanager
def watched(port: int) -> Iterator[Synchronized[float]]:
    """The longest wait for the health of the host on this port."""
    context = multiprocessing.get_context("spawn")
    longest, stop = context.Value("d", 0.0), context.Event()
    process = context.Process(target=ask_for_health, args=(port, longest, stop), daemon=True)
    process.start()
    try:
        while longest.value == 0.0:
            time.sleep(0.05)
        yield longest
    finally:
        stop.set()
        process.join(10)


def wait(longest: Synchronized[float], work: Callable[[], None]) -> float:
    """The longest wait while that is done."""
    longest.value = 0.0
    work()
    return longest.value


def measure(case: Case, host: FunctionsHost, rounds: int, after: float) -> Measured:
    """Each round: as long without the request as with it."""
    call, found = Caller(host.port), Measured()
    send = case.prepare(call)
    with watched(host.port) as longest:
        time.sleep(1.0)
        quiet = memory_of(host.pid, "VmRSS")
        Path(f"/proc/{host.pid}/clear_refs").write_text("5")
        for _ in range(rounds):
            found.jitter.append(wait(longest, lambda: time.sleep(after + 0.5)))

            def work() -> None:
                found.status, found.answered = at_once(send, call, case.at_once)
                time.sleep(after)

            found.standstill.append(wait(longest, work))
        found.memory = memory_of(host.pid, "VmHWM") - quiet
    return found


def at_once(send: Send, call: Caller, count: int) -> tuple[int, int]:
    """Status and bytes of the last answer of so many equal requests side by side."""
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(send(call))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (answers[-1].status, len(answers[-1].body)) if answers else (0, 0)


def post(path: str, body: bytes, kind: str = JSON) -> Callable[[Caller], Send]:
    """Send just this."""
    return lambda _: lambda call: call("POST", path, body, kind)


def get(path: Callable[[Caller], str], method: str = "GET") -> Callable[[Caller], Send]:
    """Ask for what ``path`` has made."""

    def prepare(call: Caller) -> Send:
        address = path(call)
        return lambda call: call(method, address)

    return prepare


def fields(count: int, **more: object) -> bytes:
    """An object with so many fields that nobody knows."""
    rest = json.dumps(more)[1:-1]
    return ("{" + ",".join([*([rest] if rest else []), *(f'"{i:06}":0' for i in range(count))]) + "}").encode()


def stuck(text: str) -> str:
    """An input of so many bytes whose run goes on until it is cancelled."""
    return "[script:stuck]" + text[14:]


def messages(count: int, size: int) -> list[dict[str, Any]]:
    """Messages of user and assistant in turns, the user's last."""
    roles = ["assistant" if (count - i) % 2 == 0 else "user" for i in range(count)]
    return [{"role": role, "content": stuck("x" * size)} for role in roles]


def batch(count: int, size: int, script: str = "s") -> list[dict[str, Any]]:
    """Items of so many bytes each."""
    marker = f"[script:{script}]"
    return [{"id": f"item-{i}", "input": marker + "x" * (size - len(marker))} for i in range(count)]


def lines_of(items: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(each) for each in items).encode()


def a_run(text: str, **more: object) -> Callable[[Caller], str]:
    """The address of a run that has ended."""

    def make(call: Caller) -> str:
        run = call.json("POST", "/api/runs", {"agent": "novelist", "input": text, **more}).json
        address = f"/api/runs/{run['id']}"
        call.eventually(address, lambda seen: seen["status"] == "completed")
        return address

    return make


def a_session(count: int, size: int) -> Callable[[Caller], str]:
    """The address of a session with so many cancelled runs."""

    def make(call: Caller) -> str:
        session: dict[str, str] = {}
        for _ in range(count):
            run = call.json("POST", "/api/runs", {"input": stuck("x" * size), **session}).json
            session = {"session_id": run["session_id"]}
            call.json("POST", f"/api/runs/{run['id']}/cancel")
        return f"/api/sessions/{session['session_id']}"

    return make


def a_batch(items: list[dict[str, Any]], query: str, *, ended: bool = True) -> Callable[[Caller], str]:
    """The address of a batch's items."""

    def make(call: Caller) -> str:
        made = call.json("POST", "/api/batches", {"agent": "novelist", "items": items}).json
        if ended:
            call.eventually(f"/api/batches/{made['id']}", lambda seen: seen["status"] == "completed", 600)
        return f"/api/batches/{made['id']}/items{query}"

    return make


def a_response(given: object, *, ended: bool = False) -> Callable[[Caller], str]:
    """The address of a response for an OpenAI client."""

    def make(call: Caller) -> str:
        body = {"model": "novelist", "background": True, "input": given}
        address = f"/api/v1/responses/{call.json('POST', '/api/v1/responses', body).json['id']}"
        if ended:
            call.eventually(address, lambda seen: seen["status"] == "completed")
        return address

    return make


def answers(call: Caller) -> Send:
    """The longest answers to a run that waits for none: they are read all the same."""
    run = call.json("POST", "/api/runs", {"input": stuck("x" * 20)}).json["id"]
    call.json("POST", f"/api/runs/{run}/cancel")
    given = {f"call-{i}": {"approve": True, "reason": "r" * 4_000} for i in range(90)}
    body = json.dumps({"answers": given}).encode()
    return lambda call: call("POST", f"/api/runs/{run}/answers", body)


def many_runs(call: Caller) -> str:
    """A list of runs that have much to show."""
    metadata = {f"{i:02}" + "k" * 60: "v" * 512 for i in range(16)}
    for _ in range(100):
        call.json("POST", "/api/runs", {"input": "[script:s]", "agent": "novelist", "metadata": metadata})
    return "/api/runs?limit=100"


def hostile() -> tuple[Case, ...]:
    """Requests that were made to hurt."""
    metadata = {str(i): "0" for i in range(500_000)}
    tools = b'{"model":"novelist","input":"x","tools":[' + b",".join([b'{"":0}'] * 900_000) + b"]}"
    return (
        Case("POST /api/batches, lines of `x`", post("/api/batches", b"x\n" * (8 * MIB), LINES), (54_700, 1_850)),
        Case("POST /api/batches, lines of `{}`", post("/api/batches", b"{}\n" * (16 * MIB // 3), LINES), (13_000, 900)),
        Case("POST /api/batches, 1.5 million fields", post("/api/batches", fields(1_400_000)), (9_600, 1_800)),
        Case("POST /api/runs, 600,000 fields", post("/api/runs", fields(560_000, input="x")), (4_400, 760)),
        Case(
            "POST /api/runs, 500,000 metadata pairs",
            post(
                "/api/runs", json.dumps({"input": "x", "metadata": metadata}, separators=(",", ":")).encode()[: 6 * MIB]
            ),
            (2_700, 660),
        ),
        Case("POST /api/v1/responses, tools of {}", post("/api/v1/responses", tools), (700, 500)),
        Case("POST /api/runs, 6 MB of [", post("/api/runs", b"[" * (6 * MIB))),
        Case("POST /api/runs, a number of 6 MB", post("/api/runs", b'{"input":' + b"1" * (6 * MIB) + b"}")),
        Case("POST /api/runs, 30,000 fields", post("/api/runs", fields(30_000, input="x"))),
        Case(
            "POST /api/runs, 100 messages of 300 unknown fields",
            post("/api/runs", json.dumps({"input": [{str(i): 0 for i in range(99)}] * 100}).encode()),
        ),
        Case("POST /api/batches, an item of 16 MB", post("/api/batches", lines_of(batch(1, 16 * MIB - 99)), LINES)),
        Case(
            "POST /api/batches, 160 items of 9,000 texts",
            post("/api/batches", json.dumps({"items": [{"input": [{"content": ["x"] * 900}] * 2}] * 160}).encode()),
        ),
    )


def well_formed() -> tuple[Case, ...]:
    """The largest that is taken, of every route."""
    parts = [{"content": [{"type": "input_text", "text": "xy"}] * 100}] * 100
    return (
        Case("POST /api/runs, 1 MiB", post("/api/runs", json.dumps({"input": stuck("x" * MIB)}).encode())),
        Case(
            "POST /api/runs, 1 MiB, all escaped",
            post("/api/runs", b'{"input":"[script:stuck]' + b"\\u0078" * (MIB - 14) + b'"}'),
        ),
        Case(
            "POST /api/runs, 1 MiB, escaped, and an emoji",
            post("/api/runs", '{"input":"[script:stuck]\U0001f42d'.encode() + b"\\u0078" * (MIB - 18) + b'"}'),
        ),
        Case("POST /api/runs, 100 messages of 100 parts", post("/api/runs", json.dumps({"input": parts}).encode())),
        Case(
            "POST /api/batches, 1,000 items, 16 MiB",
            post("/api/batches", json.dumps({"agent": "novelist", "items": batch(1_000, 16_700)}).encode()),
        ),
        Case(
            "POST /api/batches, 1,000 lines, 16 MiB",
            post("/api/batches?agent=novelist", lines_of(batch(1_000, 16_700)), LINES),
        ),
        Case(
            "POST /api/batches, 15 items of 1 MiB",
            post("/api/batches", json.dumps({"agent": "novelist", "items": batch(15, MIB)}).encode()),
        ),
        Case(
            "POST /api/v1/responses, 1,000 messages, 1 MiB",
            post(
                "/api/v1/responses",
                json.dumps({"model": "novelist", "background": True, "input": messages(999, 1_040)}).encode(),
            ),
        ),
        Case(
            "POST /api/v1/chat/completions, 1 MiB",
            post(
                "/api/v1/chat/completions",
                json.dumps(
                    {"model": "novelist", "messages": [{"role": "user", "content": "[script:s]" + "x" * 1_048_000}]}
                ).encode(),
            ),
        ),
        Case("POST /api/runs/{id}/answers, 360 KB", answers),
        Case("POST /api/webhooks/openai, 64 KB", post("/api/webhooks/openai", b'{"a":[' + b"0," * 32_000 + b"0]}")),
    )


def answering() -> tuple[Case, ...]:
    """The largest answers."""
    return (
        Case("GET /api/sessions/{id}, runs of 1 MiB", get(a_session(RUNS, MIB)), (None, 350)),
        Case("the same, three at once", get(a_session(RUNS, MIB)), (None, 1_100), at_once=3),
        Case("DELETE /api/sessions/{id}", get(a_session(RUNS, 100), "DELETE")),
        Case("GET /api/runs/{id}, text of 1 MiB", get(a_run("[script:echo]" + "x" * (MIB - 13)))),
        Case(
            "GET /api/runs/{id}/events, the same",
            get(lambda call: a_run("[script:echo]" + "x" * 900_000)(call) + "/events"),
        ),
        Case("GET /api/runs?limit=100, all metadata", get(many_runs)),
        Case("GET /api/batches/{id}/items, 15 texts of 1 MiB", get(a_batch(batch(15, MIB, "echo"), "?limit=100"))),
        Case(
            "GET …/items?status=pending of 1,000",
            get(a_batch(batch(1_000, 100, "stuck"), "?limit=100&status=pending", ended=False)),
        ),
        Case(
            "GET /api/v1/responses/{id}/input_items",
            get(lambda call: a_response(messages(999, 1_040))(call) + "/input_items?limit=100"),
        ),
        Case(
            "GET /api/v1/responses/{id}, text of 1 MiB", get(a_response("[script:echo]" + "x" * (MIB - 13), ended=True))
        ),
    )


def main() -> None:
    """Start, measure, print."""
    parser = argparse.ArgumentParser(description="What one request may do to a worker.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each request is sent (default: 3)")
    parser.add_argument("--only", default="", help="only the lines with this in their name")
    parser.add_argument("--after", type=float, default=2.0, help="seconds watched after each answer (default: 2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        azurite = Azurite(Path(scratch) / "azurite", log=Path(scratch) / "azurite.log")
        model = ScriptedModel(think=0.2, log=Path(scratch) / "model.log")
        for part in (azurite, model):
            stack.callback(part.stop)
            part.start().wait_ready()
        print(f"{'':52}{'before':>20}{'now':>20}{'jitter':>12}  answer")
        print(f"{'':52}" + f"{'ms':>10}{'MB':>10}" * 2 + f"{'ms':>12}")
        for case in (*hostile(), *well_formed(), *answering()):
            if options.only.lower() in case.name.lower():
                show(case, one(case, azurite, model, Path(scratch), options))


def one(case: Case, azurite: Azurite, model: ScriptedModel, scratch: Path, options: argparse.Namespace) -> Measured:
    """The case on a host, tables and a model's account of its own."""
    account = f"{ACCOUNT}-{secrets.token_hex(4)}"
    host = FunctionsHost(
        env={
            "AzureWebJobsStorage": azurite.connection_string,
            "OPENAI_API_KEY": account,
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "OPENAI_WEBHOOK_SECRET": SECRET,
            "DORMOUSE_TABLE_PREFIX": f"b{secrets.token_hex(6)}",
            "DORMOUSE_API_KEYS": f"bench:{KEY}",
            "PYTHON_ENABLE_INIT_INDEXING": "1",
        },
        log=scratch / "host.log",
    )
    script(model, account, "stuck", [{"stuck": True}])
    script(model, account, "s", [{"text": "done"}])
    script(model, account, "echo", [{"echo": True, "text": ""}])
    try:
        host.start().wait_ready()
        a_run("[script:s]")(Caller(host.port))
        return measure(case, host, options.rounds, options.after)
    finally:
        host.stop()


def script(model: ScriptedModel, account: str, name: str, turns: list[dict[str, Any]]) -> None:
    """Teach the model a script."""
    import asyncio

    from local.model.control import ModelControl

    asyncio.run(ModelControl(model.url, account).script(name, turns))


def show(case: Case, found: Measured) -> None:
    """One line of the table."""
    before = ["" if each is None else f"{each:,.0f}" for each in case.before or (None, None)]
    standstill, jitter = statistics.median(found.standstill), statistics.median(found.jitter)
    missed = " <--" if standstill - jitter > AIM[0] or found.memory > AIM[1] else ""
    print(
        f"{case.name:52}{before[0]:>10}{before[1]:>10}{standstill:>10.0f}{found.memory:>10.0f}{jitter:>12.0f}"
        f"  {found.status}, {found.answered:,} bytes{missed}",
        flush=True,
    )


if __name__ == "__main__":
    main()
