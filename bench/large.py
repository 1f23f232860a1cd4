#!/usr/bin/env python3
"""Large things, each to its end: whether all of it is there, and what it takes.

    .venv/bin/python bench/large.py [--quick] [THING ...]

Each thing has hosts of its own (the app, the host and its task hub are one process), over one emulator and one scripted
model, which answers at once. A thing that is not whole (an id, a count, a byte or an order is not as it must be) fails
the command. Processor time and memory are the hosts', read from /proc (Linux); transactions are those of the tables.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.counting_proxy import counting_proxy  # noqa: E402
from bench.crowded import crowd  # noqa: E402
from bench.measured_hosts import CLIENT_KEY, LONGEST_SECONDS, App, Line, World, events_of  # noqa: E402
from local.stack import Azurite, ScriptedModel  # noqa: E402
from tests.parts.waiting import eventually  # noqa: E402
from tests.parts.workshop import traces  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large the things are."""

    turns: int
    """Of a run, the last of which writes the text."""

    calls: int
    """Of each other turn."""

    runs: int
    """Of a session."""

    items: int
    """Of a batch."""

    batch_bytes: int
    """Of its body, about."""

    result: int
    """Bytes of an item's text, about."""

    text: int
    """Characters of a run's text."""

    viewers: int
    """Of one run, over two hosts."""

    think: float
    """Seconds that the model takes before what is watched."""

    watched: float
    """Seconds for which these viewers are measured while nothing happens."""

    owned: int
    """Runs of one owner, a tenth of which sleep."""

    in_memory: bool = False
    """Whether the tables of these are in memory."""


FULL = Sizes(
    turns=100,
    calls=90,
    runs=1_000,
    items=1_000,
    batch_bytes=16 * 2**20,
    result=100_000,
    text=10_000_000,
    viewers=2_000,
    think=5,
    watched=20,
    owned=30_000,
)
QUICK = Sizes(
    turns=4,
    calls=20,
    runs=12,
    items=20,
    batch_bytes=2**18,
    result=50_000,
    text=1_000_000,
    viewers=40,
    think=1,
    watched=2,
    owned=1_000,
)
WORDS = "Once upon a time there was a dormouse, and it slept. "
PROVIDER = {"DORMOUSE_POLL_FIRST_SECONDS": "0.5", "DORMOUSE_PROVIDER_CONCURRENCY": "64"}


async def long_run(world: World, sizes: Sizes) -> list[Line]:
    """A run with many turns, and many calls in each but the last."""
    turns, calls = sizes.turns, sizes.calls
    wanted = [f"{turn}.{call}" for turn in range(1, turns) for call in range(calls)]
    asking = [
        {"think": 0, "calls": [{"name": "work", "arguments": {"label": f"{turn}.{call}"}} for call in range(calls)]}
        for turn in range(1, turns)
    ]
    limits = {"DORMOUSE_MAX_TURNS": str(turns), "DORMOUSE_MAX_TOOL_CALLS": str(turns * calls)}
    async with world.app({**limits, **PROVIDER}) as app:
        await app.model.script("s", [*asking, {"think": 0, "text": WORDS}])
        async with app.measured(f"a run of {turns} turns, {calls} calls in each but the last, to its end") as line:
            run_id = (await app.submit(input="[script:s]"))["id"]
            run = await app.ended(run_id, quietly=True)
            line.found = f"{len(run['tool_calls']):,} calls, {run['wakes']} wakes"
        assert (run["status"], run["turn"], run["text"]) == ("completed", turns, WORDS), run["status"]
        assert Counter(each.label for each in traces(app.tool_log, what="end")) == Counter(wanted)
        async with app.measured("its status") as line:
            run = await app.call("GET", f"/api/runs/{run_id}")
            line.found = f"{len(json.dumps(run)) / 1e6:.1f} MB"
        assert [json.loads(each["arguments"])["label"] for each in run["tool_calls"]] == wanted
        assert [each["result"] for each in run["tool_calls"]] == [f"worked on {each}" for each in wanted]
        async with app.measured("its events") as line, app.http.get(f"{app.url}/api/runs/{run_id}/events") as answer:
            seen = [(name, data) async for _, name, data in events_of(answer)]
            line.found = f"{len(seen)} events"
        assert seen[-1] == ("end", run), seen[-1][0]
        async with app.measured("its timeline") as line:
            timeline = await app.call("GET", f"/api/runs/{run_id}/timeline")
            line.found = f"{len(timeline['data'])} entries"
        assert sum(each.get("wakes") or 0 for each in timeline["data"]) == run["wakes"]
        assert len(await app.model.creates()) == turns
        async with app.measured("another while somebody watches its events") as line:
            run_id = (await app.submit(input="[script:s]"))["id"]
            end, size, after = None, 0, ""
            while end is None:
                async with app.http.get(f"{app.url}/api/runs/{run_id}/events{after}") as answer:
                    async for place, name, data in events_of(answer):
                        size += len(json.dumps(data))
                        after = f"?after={place}" if place else after
                        end = data if name == "end" else None
            line.found = f"{size / 1e6:.0f} MB of events"
        assert [json.loads(each["arguments"])["label"] for each in end["tool_calls"]] == wanted
        return app.lines


async def long_session(world: World, sizes: Sizes) -> list[Line]:
    """A session of many runs, and one more."""
    async with world.app({**PROVIDER, "DORMOUSE_POLL_FIRST_SECONDS": "0.05"}) as app:
        await app.model.script("s", [{"think": 0, "text": "You said:", "echo": True}])
        ids: list[str] = []
        session_id = None

        async def one_more() -> None:
            nonlocal session_id
            body = {"input": f"[script:s] <{len(ids)}>", **({"session_id": session_id} if session_id else {})}
            submitted = await app.submit(**body)
            ids.append(submitted["id"])
            session_id = submitted["session_id"]
            run = await app.ended(submitted["id"])
            assert (run["status"], f"<{len(ids) - 1}>" in run["text"]) == ("completed", True), run

        async with app.measured("a session's first run, submit and end"):
            await one_more()
        async with app.measured(f"its runs up to the {sizes.runs:,}th"):
            while len(ids) < sizes.runs:
                await one_more()
        async with app.measured("the run after that, submit and end"):
            await one_more()
        async with app.measured("the first page of the session (100 runs)"):
            await app.call("GET", f"/api/sessions/{session_id}?limit=100")
        async with app.measured("all its pages") as line:
            found = [each["id"] for each in await session_runs(app, str(session_id))]
            line.found = f"{len(found):,} runs"
        assert found == ids[::-1]
        async with app.measured("its deletion, until the answer"):
            await app.call("DELETE", f"/api/sessions/{session_id}", status=(204,))
        async with app.measured("until nothing of it is left here or at the provider") as line:
            for path in (f"/api/sessions/{session_id}", f"/api/runs/{ids[0]}", f"/api/runs/{ids[-1]}"):
                await app.call("GET", path, status=(404,))

            async def gone() -> bool:
                listed = await app.call("GET", "/api/runs?limit=1")
                kept = [each.id for each in await app.model.responses() if not each.deleted]
                return not listed["data"] and not kept

            await eventually(gone, timeout=LONGEST_SECONDS)
            line.found = f"{len(await app.model.log('delete')):,} responses deleted there"
        return app.lines


async def session_runs(app: App, session_id: str) -> list[Any]:
    """All runs of the session's pages, newest first."""
    found, cursor = [], ""
    while True:
        page = await app.call("GET", f"/api/sessions/{session_id}?limit=100{cursor}")
        found += page["runs"]
        if not page.get("next_cursor"):
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def large_batch(world: World, sizes: Sizes) -> list[Line]:
    """A batch as large as one may be, each of whose results is long."""
    async with world.app(PROVIDER) as app:
        own = sizes.batch_bytes // sizes.items - 100
        filling, times = "x" * 1_000, max(1, (sizes.result - own) // 1_000)
        repeated = {"text": filling, "times": times}
        await app.model.script("s", [{"think": 0, "repeat_text": repeated, "echo": True}])
        given = [f"[script:s] <{number}> ".ljust(own, "y") + "." for number in range(sizes.items)]
        lines = [json.dumps({"id": f"n-{number}", "input": each}) for number, each in enumerate(given)]
        body = "\n".join(lines).encode()
        assert len(body) <= sizes.batch_bytes, len(body)
        path = "/api/batches?agent=workshop"
        async with app.measured(f"submit of a batch of {sizes.items:,} items, as JSON lines") as line:
            headers = {"Content-Type": "application/jsonl"}
            batch = await app.call("POST", path, data=body, headers=headers, status=(202,))
            line.found = f"{len(body) / 2**20:.1f} MiB"
        async with app.measured("from there to its end"), asyncio.timeout(LONGEST_SECONDS):
            while batch["completed_at"] is None:
                await asyncio.sleep(1)
                batch = await app.call("GET", f"/api/batches/{batch['id']}")
        assert (batch["status"], batch["counts"]["completed"]) == ("completed", sizes.items), batch["counts"]
        async with app.measured("its items, page by page") as line:
            items = await app.pages(f"/api/batches/{batch['id']}/items?")
            size = sum(len(each["text"]) for each in items)
            line.found = f"{size / 1e6:.0f} MB of texts, {size / len(items) / 1e3:.0f} KB each"
        assert [each["id"] for each in items] == [f"n-{number}" for number in range(sizes.items)]
        for number, (item, sent) in enumerate(zip(items, given, strict=True)):
            assert item["text"].startswith(filling * times), number
            assert item["text"].count(sent) == 1, number
        assert len(await app.model.creates()) == sizes.items
        return app.lines


async def long_text(world: World, sizes: Sizes) -> list[Line]:
    """A final text of megabytes: as it is written, as it stands, and by OpenAI's client."""
    times = sizes.text // len(WORDS)
    text = WORDS * times
    async with world.app(PROVIDER) as app:
        await app.model.script("s", [{"think": min(3, sizes.think), "repeat_text": {"text": WORDS, "times": times}}])
        async with app.measured(f"a text of {len(text) / 1e6:.0f} MB, streamed to its end") as line:
            run_id = (await app.submit(input="[script:s]", stream=True))["id"]
            streamed, events, end = "", 0, None
            async with app.http.get(f"{app.url}/api/runs/{run_id}/events") as answer:
                async for _, name, data in events_of(answer):
                    events += 1
                    if name in ("snapshot", "delta"):
                        streamed = data["text"] if name == "snapshot" else streamed + data["text"]
                    end = data if name == "end" else end
            line.found = f"{events} events"
        assert end is not None
        assert (end["status"], streamed == text, end["text"] == text) == ("completed", True, True), end["status"]
        async with app.measured("its status") as line, app.http.get(f"{app.url}/api/runs/{run_id}") as answer:
            run, etag = await answer.json(), answer.headers["ETag"]
            line.found = f"{len(run['text']) / 1e6:.1f} MB"
        assert run == end
        async with app.measured("its status, unchanged"):
            await app.call("GET", f"/api/runs/{run_id}", status=(304,), headers={"If-None-Match": etag})
        async with AsyncOpenAI(base_url=f"{app.url}/api/v1", api_key=CLIENT_KEY, timeout=LONGEST_SECONDS) as client:
            async with app.measured("another by OpenAI's client, polled") as line:
                response = await client.responses.create(model="workshop", input="[script:s]", background=True)
                while response.status in ("queued", "in_progress"):
                    await asyncio.sleep(1)
                    response = await client.responses.retrieve(response.id)
                line.found = f"{len(response.output_text) / 1e6:.1f} MB"
            assert (response.status, response.output_text == text) == ("completed", True), response.status
            async with app.measured("another by OpenAI's client, streamed") as line:
                deltas, done = [], None
                async for event in await client.responses.create(model="workshop", input="[script:s]", stream=True):
                    if event.type == "response.output_text.delta":
                        deltas.append(event.delta)
                    done = event.response if event.type == "response.completed" else done
                line.found = f"{len(deltas)} deltas"
            assert done is not None, "it did not end with response.completed"
            assert ("".join(deltas) == text, done.output_text == text) == (True, True)
        return app.lines


async def many_viewers(world: World, sizes: Sizes) -> list[Line]:
    """Viewers of one run over two hosts, while it is written and while it waits for a person."""
    each = sizes.viewers // 2
    text = WORDS * 40
    call = {"name": "send", "arguments": {"label": "a"}}
    script = [{"think": sizes.think, "text": "Wait.", "calls": [call]}, {"think": sizes.think, "text": text}]
    async with world.app({"DORMOUSE_MAX_VIEWERS": str(each), **PROVIDER}, hosts=2) as app:
        await app.model.script("s", script)
        run_id = (await app.submit(input="[script:s]", stream=True))["id"]
        waiting: set[int] = set()

        async def watch(number: int) -> tuple[str, Any]:
            """What this viewer has in the end: the text that it put together, and the run."""
            put_together, last = "", ""
            while True:
                url = f"{app.hosts[number % 2].url}/api/runs/{run_id}/events"
                async with app.http.get(url, params={"after": last} if last else {}) as answer:
                    assert answer.status == 200, await answer.text()
                    async for place, name, data in events_of(answer):
                        last = place or last
                        if name in ("snapshot", "delta"):
                            put_together = data["text"] if name == "snapshot" else put_together + data["text"]
                        if name == "end":
                            return put_together, data
                        if data.get("status") == "requires_action":
                            waiting.add(number)

        async with asyncio.TaskGroup() as group:
            async with app.measured(f"{each * 2:,} viewers over two hosts come, until all see the question"):
                tasks = [group.create_task(watch(number)) for number in range(each * 2)]
                await eventually(lambda: len(waiting) == each * 2, timeout=LONGEST_SECONDS)
            async with app.measured("all of them while the run waits for a person") as line:
                await asyncio.sleep(sizes.watched)
            line.found = f"{(line.cpu or 0) / line.seconds / 2:.0%} of a core, each host"
            run = await app.call("GET", f"/api/runs/{run_id}")
            asked = run["required_action"]["calls"][0]["id"]
            async with app.measured("from the answer to the end, which all have seen") as line:
                await app.call("POST", f"/api/runs/{run_id}/answers", json={"answers": {asked: {"approve": True}}})
                ends = await asyncio.gather(*tasks)
                opened = [entry for entry in await app.model.log("retrieve") if "starting_after" in entry.query]
                line.found = f"{len(opened)} streams of the provider"
        assert all(end == (text, ends[0][1]) for end in ends)
        assert ends[0][1]["status"] == "completed", ends[0][1]["status"]
        assert len(opened) <= 2 * len(script), len(opened)
        return app.lines


async def many_owners(world: World, sizes: Sizes) -> list[Line]:
    """Another owner's list, submits and sweeps beside an owner of very many runs, and without."""
    return await crowd(world, sizes.owned, in_memory=sizes.in_memory)


Thing = Callable[[World, Sizes], Awaitable[list[Line]]]
THINGS: dict[str, Thing] = {
    each.__name__: each for each in (long_run, long_session, large_batch, long_text, many_viewers, many_owners)
}


def table(lines: list[Line]) -> str:
    """The lines, as they are printed."""

    def row(line: Line) -> str:
        cpu = "" if line.cpu is None else f"{line.cpu:.2f}"
        peak = "" if line.peak is None else f"{line.peak:.0f}"
        asked = "" if line.transactions is None else f"{line.transactions:,}"
        return f"{line.what:70} {line.seconds:8.2f} {cpu:>8} {peak:>8} {asked:>8}  {line.found}"

    head = f"{'':70} {'s':>8} {'CPU s':>8} {'peak MB':>8} {'trans.':>8}"
    return "\n".join([head, *map(row, lines)])


async def bench(names: list[str], sizes: Sizes) -> int:
    """Each thing after the other; 1 when one of them is not whole."""
    lines: list[Line] = []
    failed = 0
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Azurite(Path(folder) / "azurite", log=Path(folder) / "azurite.log", in_memory=True) as azurite,
        ScriptedModel(log=Path(folder) / "model.log") as model,
    ):
        async with counting_proxy(f"http://127.0.0.1:{azurite.ports[2]}") as proxy:
            world = World(azurite=azurite, model=model, proxy=proxy, folder=Path(folder))
            for name in names:
                try:
                    found = await THINGS[name](world, sizes)
                except Exception as error:
                    traceback.print_exc()
                    found, failed = [Line(f"{name}: not whole", found=str(error)[:200])], 1
                lines += found
                print(f"\n{name}\n{table(found)}", flush=True)
    print(f"\n{table(lines)}")
    return failed


def main() -> int:
    """Read the command line, and measure."""
    command = argparse.ArgumentParser(description="Large things, each to its end, and what it takes.")
    command.add_argument("things", nargs="*", metavar="THING", help=f"any of {', '.join(THINGS)}; default: all")
    command.add_argument("--quick", action="store_true", help="small sizes: shows that all of it works")
    command.add_argument("--owned", type=int, help="runs of the owner of very many")
    kept = "many_owners: each app keeps its tables itself, where the emulator has no answer within ten seconds"
    command.add_argument("--in-memory", action="store_true", help=kept)
    options = command.parse_args()
    if unknown := [name for name in options.things if name not in THINGS]:
        command.error(f"there is no {unknown[0]}: there are {', '.join(THINGS)}")
    sizes = QUICK if options.quick else FULL
    sizes = replace(sizes, owned=options.owned or sizes.owned, in_memory=options.in_memory)
    return asyncio.run(bench(options.things or [*THINGS], sizes))


if __name__ == "__main__":
    sys.exit(main())
