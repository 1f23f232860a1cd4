"""The JavaScript client, in Node.js, against the whole local stack."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from local import ROOT
from local.model.control import ModelControl
from local.stack import find_node
from tests.acceptance.conftest import Stack, Target
from tests.parts.waiting import eventually

HEAD = """
import { Dormouse, DormouseError, isFinal } from "./src/index.js";
const url = process.argv[2];
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const code = (promise) =>
  promise.then(() => null, (error) => [error instanceof DormouseError, error.code, error.status]);
const client = new Dormouse(url);
"""

Node = Callable[..., Awaitable[Any]]


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Run a script with a client in it; what it gives to ``say``."""
    tools = find_node(Path(sys.prefix))
    shutil.copytree(ROOT / "clients" / "js" / "src", tmp_path / "src")
    (tmp_path / "package.json").write_text('{"type": "module"}')

    async def run(url: str, script: str) -> Any:
        file = tmp_path / "script.mjs"
        file.write_text(f"{HEAD}\nconst say = (value) => console.log(JSON.stringify(value));\n{script}")
        process = await asyncio.create_subprocess_exec(
            tools.node, file, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(90):
            out, error = await process.communicate()
        assert process.returncode == 0, error.decode()
        return json.loads(out)

    return run


async def finish_when_followed(model: ModelControl, script: str, turn: int, times: int = 1) -> None:
    """Let a turn that hangs half-way go on, once its stream has been opened so many times: somebody watches it."""

    async def followed() -> str | None:
        mine = [each.id for each in await model.responses() if (each.script, each.turn) == (script, turn - 1)]
        streams = [each for each in await model.log("retrieve") if "starting_after" in each.query]
        return mine[0] if len([each for each in streams if each.response_id in mine]) >= times else None

    await model.finish(await eventually(followed))


async def test_a_run_is_submitted_and_waited_for(target: Target, node: Node) -> None:
    said = await node(
        target.api.url,
        """
        const run = await client.submit({ input: "Write a story about the moons of Jupiter.", metadata: { a: "ä" } });
        const seen = [];
        const done = await client.wait(run, { onChange: (now) => seen.push(now.status), hold: 10 });
        const same = (await client.get(done)) === done;
        const polled = await client.wait((await client.submit({ input: "Another story." })).id, { hold: 0 });
        const page = await client.list({ status: ["completed"], agent: "novelist", limit: 1 });
        const ids = [];
        for await (const { id } of client.runs({ agent: "novelist", limit: 1 })) if (ids.push(id) === 2) break;
        const session = await client.session(done.session_id);
        say({ run, done, seen, same, polled: polled.status, page, ids, session, final: isFinal(done) });
        """,
    )
    assert said["done"] == await target.api.run(said["run"]["id"])
    assert said["done"]["metadata"] == {"a": "ä"}
    assert (said["same"], said["final"], said["polled"]) == (True, True, "completed")
    assert said["seen"][-1] == "completed"
    assert len(said["page"]["data"]) == 1
    assert "next_cursor" in said["page"]
    assert len(set(said["ids"])) == 2
    assert said["session"]["messages"][-1]["content"] == said["done"]["text"]


async def test_a_refusal_has_its_code(target: Target, node: Node) -> None:
    nobody = f"run_{'0' * 32}_1"
    said = await node(
        target.api.url,
        f"""
        const run = await client.submit({{ input: "x" }});
        const other = new Dormouse("http://127.0.0.1:1", {{ retries: 0 }});
        const page = new Dormouse(url, {{ fetch: async () => new Response("<html>") }});
        say([
          await code(client.get("{nobody}")),
          await code(client.cancel("../agents")),
          await code(client.submit({{ input: "" }})),
          await code(client.submit({{ input: "x", agent: "nobody" }})),
          await code(client.submit({{ input: "x", colour: "red" }})),
          await code(client.answer(run, {{ c: {{ approve: true }} }})),
          await code(other.get("{nobody}")),
          await code(page.get("{nobody}")),
          await code(client.watch("{nobody}").next()),
        ]);
        """,
    )
    assert [tuple(each) for each in said] == [
        (True, "run_not_found", 404),
        (True, "not_found", 404),
        (True, "invalid_request", 400),
        (True, "unknown_agent", 400),
        (True, "invalid_request", 400),
        (True, "not_waiting", 409),
        (True, "network_error", 0),
        (True, "unexpected_response", 200),
        (True, "run_not_found", 404),
    ]


async def test_a_person_approves_and_the_rest_is_cleared_away(target: Target, node: Node) -> None:
    said = await node(
        target.api.url,
        """
        const run = await client.submit({ input: "The payroll system", agent: "compliance" });
        const asked = await client.wait(run, { until: (now) => now.status === "requires_action" });
        const [call] = asked.required_action.calls;
        const no = { approve: false, reason: "Not before the audit." };
        const sent = [];
        const spy = new Dormouse(url, { fetch: (to, options) => (sent.push(options.body), fetch(to, options)) });
        await spy.answer(asked, { [call.id]: no });
        await spy.answer(asked, { [call.call_id]: no });
        const done = await client.wait(asked);
        const next = await client.submit({ input: "And the kitchen?", session_id: done.session_id });
        const cancelled = await client.cancel(next.id);
        await client.delete(done);
        const gone = await code(client.get(done.id));
        await client.deleteSession(done.session_id);
        const names = (await client.agents()).data.map((agent) => agent.name);
        say([asked.status, sent[0] === sent[1], done.status, done.output.filed, cancelled.status, gone, names[0],
             await code(client.session(done.session_id))]);
        """,
    )
    assert said == [
        "requires_action",
        True,
        "completed",
        False,
        "cancelled",
        [True, "run_not_found", 404],
        "novelist",
        [True, "session_not_found", 404],
    ]


async def test_a_submit_whose_answer_is_lost_is_one_run(own_stack: Callable[..., Stack], node: Node) -> None:
    host = await asyncio.to_thread(own_stack().host)
    said = await node(
        host.url,
        """
        const keys = [];
        let lost = 2;
        const flaky = new Dormouse(url, { fetch: async (where, init) => {
          const reply = await fetch(where, init);
          keys.push(init.headers["Idempotency-Key"]);
          if (lost-- > 0) throw new TypeError("fetch failed");
          return reply;
        } });
        const run = await flaky.submit({ input: "Once." });
        await flaky.submit({ input: "Twice." });
        lost = 1;
        await flaky.delete(run);
        const runs = (await client.list()).data.length;
        lost = 1;
        await flaky.submitBatch({ items: [{ input: "Once, in a batch." }] });
        say([keys, runs, (await client.batches()).data.length]);
        """,
    )
    keys, runs, batches = said
    assert len(keys) == 8
    assert len(set(keys[:3])) == 1
    assert keys[3] not in keys[:3]
    assert len(set(keys[6:])) == 1
    assert (runs, batches) == (1, 1)


async def test_who_is_told_to_come_later_does(own_stack: Callable[..., Stack], node: Node) -> None:
    stack = own_stack(DORMOUSE_MAX_ACTIVE_RUNS="1")
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("long", [{"think": 600.0, "text": "done"}])
    said = await node(
        host.url,
        """
        const first = await client.submit({ input: "[script:long]", agent: "workshop" });
        const statuses = [];
        const headers = async () => ({ "X-Request-Id": "mine" });
        const counting = new Dormouse(url, { headers, fetch: async (...all) => {
          const reply = await fetch(...all);
          statuses.push([reply.status, reply.headers.get("X-Request-Id")]);
          if (statuses.length === 1) await client.cancel(first);
          return reply;
        } });
        await counting.submit({ input: "[script:long]", agent: "workshop" });
        const never = new Dormouse(url, { retries: 0 });
        say([statuses, await code(never.submit({ input: "x" }))]);
        """,
    )
    assert said == [[[429, "mine"], [202, "mine"]], [True, "too_many_active_runs", 429]]


async def test_a_run_is_watched_to_its_end(target: Target, node: Node) -> None:
    calls = [{"name": name, "arguments": {"label": "w"}} for name in ("work", "work_in_a_thread")]
    await target.model.script("watched", [{"calls": calls, "stuck": True}, {"text": "A dormouse. " * 9, "stuck": True}])

    async def let_go_on() -> None:
        for turn in (1, 2):
            await finish_when_followed(target.model, "watched", turn)

    watching = node(
        target.api.url,
        """
        const run = await client.submit({ input: "[script:watched]", agent: "workshop", stream: true });
        const [ids, events, calls] = [[], [], []];
        let last;
        for await (const view of client.watch(run)) {
          if (view.event === "delta") ids.push(view.id);
          if (view.call) calls.push(view.call.name);
          events.push(view.event);
          last = view;
        }
        const again = [];
        for await (const view of client.watch(run.id)) again.push([view.event, view.text]);
        let after = 0;
        for await (const view of client.watch(run, { after: "end" })) after++;
        say({ id: run.id, ids, events, calls, text: last.text, status: last.run.status, again, after });
        """,
    )
    said, _ = await asyncio.gather(watching, let_go_on())
    run = await target.api.run(said["id"])
    assert run["status"] == said["status"] == "completed"
    assert said["text"] == run["text"]
    assert said["events"][0] == "state"
    assert said["events"][-1] == "end"
    assert len(said["ids"]) == len(set(said["ids"])) > 1
    assert set(said["calls"]) == {"work", "work_in_a_thread"}
    assert said["again"][0][0] == "state"
    assert said["again"][-1] == ["end", run["text"]]
    assert said["after"] == 0


@pytest.mark.parametrize("events_seconds", ["220", "0.7"], ids=["cut", "cut_and_ended"])
async def test_a_watch_survives_every_cut(own_stack: Callable[..., Stack], node: Node, events_seconds: str) -> None:
    """Each connection is cut in the middle of its third event with an id: nothing is lost, nothing comes twice."""
    stack = own_stack(DORMOUSE_EVENTS_SECONDS=events_seconds)
    host = await asyncio.to_thread(stack.host)
    text = "".join(f"Line {number} of the ätude.\n" for number in range(40))
    asks = {"calls": [{"name": "work", "arguments": {"label": "a"}}], "text": "Let me see."}
    await stack.model.script("long", [asks, {"text": text, "stuck": True}])
    watching = node(
        host.url,
        """
        let connections = 0;
        async function* eventsOf(body) {
          let rest = "";
          for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
            rest += chunk;
            for (let at; (at = rest.indexOf("\\n\\n")) >= 0; rest = rest.slice(at + 2)) yield rest.slice(0, at + 2);
          }
        }
        const cut = async (where, init) => {
          const reply = await fetch(where, init);
          if (!where.endsWith("/events") || reply.status !== 200) return reply;
          connections++;
          const events = eventsOf(reply.body);
          let named = 0;
          const torn = new ReadableStream({ async pull(out) {
            if (named > 2) return out.error(new TypeError("terminated"));
            const { done, value } = await events.next();
            if (done) return out.close();
            named += value.startsWith("id: ");
            out.enqueue(named > 2 ? value.slice(0, value.length / 2) : value);
          } }, { highWaterMark: 0 });
          const bytes = torn.pipeThrough(new TextEncoderStream());
          return new Response(bytes, { status: 200, headers: reply.headers });
        };
        const torn = new Dormouse(url, { fetch: cut });
        const run = await torn.submit({ input: "[script:long]", agent: "workshop", stream: true });
        const ids = [];
        let last;
        for await (const view of torn.watch(run)) {
          if (view.event === "delta") ids.push(view.id);
          last = view;
        }
        say({ text: last.text, ids, connections, event: last.event });
        """,
    )
    said, _ = await asyncio.gather(watching, finish_when_followed(stack.model, "long", 2, times=4))
    assert said["text"] == text
    assert said["event"] == "end"
    assert said["connections"] > 3
    assert len(said["ids"]) == len(set(said["ids"]))


async def test_a_watch_goes_on_after_a_reload(target: Target, node: Node) -> None:
    await target.model.script("reloaded", [{"text": "A dormouse. " * 9, "stuck": True}])
    watching = node(
        target.api.url,
        """
        const run = await client.submit({ input: "[script:reloaded]", agent: "workshop", stream: true });
        let kept;
        for await (const view of client.watch(run)) {
          kept = view;
          if (view.event === "delta") break;
        }
        let last;
        for await (const view of client.watch(run.id, { after: kept.id, text: kept.text })) last = view;
        say([kept.text.length > 0, last.text === (await client.get(run.id)).text]);
        """,
    )
    said, _ = await asyncio.gather(watching, finish_when_followed(target.model, "reloaded", 1, times=2))
    assert said == [True, True]


async def test_a_signal_ends_whatever_waits(own_stack: Callable[..., Stack], node: Node) -> None:
    stack = own_stack()
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("long", [{"think": 600.0, "text": "done"}])
    said = await node(
        host.url,
        """
        const run = await client.submit({ input: "[script:long]", agent: "workshop", stream: true });
        const name = async (work) => {
          const stop = new AbortController();
          setTimeout(() => stop.abort(), 300);
          return work(stop.signal).then(() => null, (error) => error.name);
        };
        const watch = async (signal) => { for await (const view of client.watch(run, { signal })); };
        const later = { status: 503, headers: { "Retry-After": "60" } };
        const busy = new Dormouse(url, { fetch: async () => new Response("", later) });
        say([
          await name((signal) => client.wait(run, { signal })),
          await name((signal) => client.wait(run, { signal, hold: 0 })),
          await name(watch),
          await name((signal) => busy.get(run, { signal })),
          await name((signal) => client.get(run, { signal: AbortSignal.abort() })),
        ]);
        """,
    )
    assert said == ["AbortError"] * 5
