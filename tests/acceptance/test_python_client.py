"""The Python client as its users get it: the wheel in an environment of its own, against the whole local stack."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from local import ROOT
from local.packaging.package import find_python
from local.packaging.python_client import CLIENT, build_wheel
from local.packaging.uv import run_uv
from local.stack import machine_environment
from tests.acceptance.batches import counts
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, Target
from tests.parts.cutting_proxy import cutting_proxy
from tests.parts.receiver import SECRET, Receiver
from tests.parts.waiting import eventually

OLDEST = "3.10"
"""The oldest Python that the client promises to run on."""

HEAD = """
import asyncio, json, sys, time
from dormouse_client import *
url = sys.argv[1]
client = Dormouse(url)

def say(value):
    print(json.dumps(value))

def code(call):
    try:
        call()
    except DormouseError as error:
        return [type(error).__name__, error.code, error.status]

"""

Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


def oldest_python() -> str:
    """The oldest Python that the client runs on, if it is on this machine, else this one."""
    if found := find_python(OLDEST):
        return found
    if pyenv := shutil.which("pyenv"):
        known = subprocess.run([pyenv, "whence", "--path", f"python{OLDEST}"], capture_output=True, text=True)
        for each in known.stdout.split():
            return each
    return sys.executable


def clean_environment() -> dict[str, str]:
    """The machine's environment without anything that would let the checkout be found."""
    return {name: value for name, value in machine_environment().items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, and what it asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("client")
    wheel = build_wheel(Path(sys.executable), folder)
    subprocess.run([oldest_python(), "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run_uv(Path(sys.executable), ["pip", "install", "--quiet", "--python", python, wheel])
    return python


@pytest.fixture
def python(installed: Path, tmp_path: Path) -> Run:
    """Run a script with a client in it; what it gives to ``say``."""

    async def run(url: str, script: str, *more: str) -> Any:
        file = tmp_path / "script.py"
        file.write_text(HEAD + textwrap.dedent(script), "utf-8")
        process = await asyncio.create_subprocess_exec(
            installed,
            file,
            url,
            *more,
            cwd=tmp_path,
            env=clean_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            out, error = await process.communicate()
        assert process.returncode == 0, error.decode()
        return json.loads(out)

    return run


@pytest.fixture
def command(installed: Path, tmp_path: Path) -> Callable[..., Awaitable[asyncio.subprocess.Process]]:
    """Start the program with these arguments."""

    async def start(url: str, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            installed,
            "-m",
            "dormouse_client",
            *arguments,
            cwd=tmp_path,
            env={**clean_environment(), "DORMOUSE_URL": url, "PYTHONUNBUFFERED": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    return start


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """The exit code of a program, and what it wrote."""
    async with asyncio.timeout(90):
        out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


def test_the_wheel_is_the_same_for_the_same_files_and_holds_the_client_alone(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "dormouse_client-0.1.0-py3-none-any.whl").write_bytes(b"an earlier one")
    one, two = (build_wheel(Path(sys.executable), tmp_path / name) for name in ("1", "2"))
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as wheel:
        names = set(wheel.namelist())
        metadata = next(wheel.read(name).decode() for name in names if name.endswith("/METADATA"))
    source = CLIENT / "src"
    files = {file.relative_to(source).as_posix() for file in source.rglob("*") if "__pycache__" not in file.parts}
    assert {name for name in names if ".dist-info/" not in name} == files - {"dormouse_client"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"\nVersion: {version}\n" in metadata
    assert "\nRequires-Python: >=3.10\n" in metadata


def test_its_types_hold_for_those_who_use_it(installed: Path, tmp_path: Path) -> None:
    """A strict type check finds the mistakes in a script, and nothing else: the package says that it is typed."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """\
            from dormouse_client import AsyncDormouse, Dormouse, verify_callback
            client = Dormouse("http://localhost:7071", key="k")
            run = client.submit("x", stream=True, limits={"turns": 3})
            print(run["text"].upper(), run["txt"])
            client.submit(7)
            for view in client.watch(run):
                print(view.delta, view.run["tool_calls"][0]["state"], view.delay)
            for item in client.batch_items(client.batch(["a", {"input": "b", "id": "1"}])):
                print(item["text"], item["texts"])
            for each in client.runs(status=["failed", "lost"]):
                print(each["agent"])
            print(verify_callback({}, b"", "whsec_YQ==").data["id"])
            async def main() -> None:
                other = AsyncDormouse("http://localhost:7071")
                print((await other.wait(run, timeout=1))["text"], other.wait(run)["text"])
                async for seen in other.watch(run):
                    print(seen.text)
            """
        ),
        "utf-8",
    )
    check = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed), str(script)]
    answer = subprocess.run(
        [*check, "--cache-dir", str(tmp_path / "cache"), "--config-file", os.devnull],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(),
    )
    assert re.findall(r"script\.py:(\d+): error", answer.stdout) == ["4", "5", "7", "9", "10", "15"], answer.stdout


async def test_a_run_is_submitted_waited_for_and_listed(target: Target, python: Run) -> None:
    said = await python(
        target.api.url,
        """
        seen = []
        run = client.submit("Write a story about the moons of Jupiter.", metadata={"a": "ä"}, idempotency_key="once")
        same = client.submit("Write a story about the moons of Jupiter.", metadata={"a": "ä"}, idempotency_key="once")
        done = client.wait(run, on_progress=lambda now: seen.append(now["status"]))
        polled = client.wait(client.submit("Another story.")["id"], hold=0)
        for number in range(3):
            client.wait(client.submit(f"Story {number}."))
        listed = [each["id"] for each in client.runs(limit=2, status="completed")]
        session = client.session(done["session_id"])
        late = client.submit("Yet another.", wait=30)
        say({
            "done": done, "same": run["id"] == same["id"], "seen": seen, "polled": polled["status"], "listed": listed,
            "session": session["messages"][-1]["content"], "agents": [each["name"] for each in client.agents()],
            "late": late["status"],
        })
        """,
    )
    assert said["done"] == await target.api.run(said["done"]["id"])
    assert said["done"]["metadata"] == {"a": "ä"}
    assert (said["same"], said["polled"], said["late"], said["seen"][-1]) == (
        True,
        "completed",
        "completed",
        "completed",
    )
    assert said["session"] == said["done"]["text"]
    assert said["done"]["id"] in said["listed"]
    assert len(said["listed"]) == len(set(said["listed"])) >= 5, "over pages of two"
    assert "novelist" in said["agents"]


async def test_a_refusal_has_its_class_and_its_code(target: Target, python: Run) -> None:
    nobody = f"run_{'0' * 32}_1"
    said = await python(
        target.api.url,
        f"""
        run = client.submit("x")
        say([
            code(lambda: client.get("{nobody}")),
            code(lambda: client.submit("")),
            code(lambda: client.submit("x", agent="nobody")),
            code(lambda: client.submit("x", extra={{"colour": "red"}})),
            code(lambda: client.submit("y", idempotency_key="twice") and client.submit("z", idempotency_key="twice")),
            code(lambda: client.answer(run, {{"c": True}})),
            code(lambda: next(client.watch("{nobody}"))),
            code(lambda: next(client.runs(limit=0))),
            code(lambda: Dormouse("http://127.0.0.1:1", retries=0).get(run)),
            code(lambda: client.wait("{nobody}")),
        ])
        """,
    )
    assert [tuple(each) for each in said] == [
        ("NotFound", "run_not_found", 404),
        ("InvalidRequest", "invalid_request", 400),
        ("InvalidRequest", "unknown_agent", 400),
        ("InvalidRequest", "invalid_request", 400),
        ("InvalidRequest", "idempotency_key_reused", 422),
        ("Conflict", "not_waiting", 409),
        ("NotFound", "run_not_found", 404),
        ("InvalidRequest", "invalid_request", 400),
        ("NetworkError", "network_error", 0),
        ("NotFound", "run_not_found", 404),
    ]


async def test_a_function_key_opens_the_app_and_without_it_a_sentence_says_so(
    own_stack: Callable[..., Stack], python: Run
) -> None:
    host = await asyncio.to_thread(lambda: own_stack().host(args=["--function-key", "the-key"]))
    said = await python(
        host.url,
        """
        def refused(call):
            try:
                call()
            except NotAllowed as error:
                return str(error)

        known = Dormouse(url, key="the-key")
        run = known.submit("A story.")
        say([
            known.wait(run)["status"], [each["id"] for each in known.runs()] == [run["id"]],
            refused(lambda: client.get(run)), refused(lambda: next(client.watch(run))),
            refused(lambda: Dormouse(url, key="another").submit("x")),
        ])
        """,
    )
    assert said[:2] == ["completed", True]
    assert all("function key is missing or wrong" in each for each in said[2:])


WATCH = """
run = client.submit("[script:long]", agent="workshop", stream=True)
events, ids, printed = [], [], ""
for view in client.watch(run):
    events.append(view.event)
    printed = (printed if not view.replaced else "") + view.delta
    if view.event == "delta":
        ids.append(view.id)
say({"id": run["id"], "text": view.text, "printed": printed, "ids": ids, "events": events, "run": view.run})
"""
WATCH_ASYNC = """
async def main():
    async with AsyncDormouse(url) as client:
        run = await client.submit("[script:long]", agent="workshop", stream=True)
        events, ids, printed = [], [], ""
        async for view in client.watch(run):
            events.append(view.event)
            printed = (printed if not view.replaced else "") + view.delta
            if view.event == "delta":
                ids.append(view.id)
        say({"id": run["id"], "text": view.text, "printed": printed, "ids": ids, "events": events, "run": view.run})

asyncio.run(main())
"""


@pytest.mark.parametrize("events_seconds", ["220", "0.7"], ids=["cut", "cut_and_ended"])
@pytest.mark.parametrize("script", [WATCH, WATCH_ASYNC], ids=["sync", "async"])
async def test_a_watch_survives_every_cut(
    own_stack: Callable[..., Stack], python: Run, script: str, events_seconds: str
) -> None:
    """Each connection is cut in the middle of its third event with an id: nothing is lost, nothing comes twice."""
    stack = own_stack(DORMOUSE_EVENTS_SECONDS=events_seconds)
    host = await asyncio.to_thread(stack.host)
    text = "".join(f"Line {number} of the ätude 🐭.\n" for number in range(40))
    asks = {"calls": [{"name": "work", "arguments": {"label": "a"}}], "text": "Let me see."}
    await stack.model.script("long", [asks, {"text": text, "stuck": True}])
    async with cutting_proxy(host.url, cut_at=3) as proxy:

        async def second_turn() -> str | None:
            """Its response, once the client has come back often enough in the middle of it."""
            found = [each.id for each in await stack.model.responses() if each.turn == 1]
            return found[0] if found and proxy.streams > 3 else None

        async def go_on() -> None:
            await stack.model.finish(await eventually(second_turn))

        said, _ = await asyncio.gather(python(proxy.url, script), go_on())
        assert proxy.streams > 3
    assert said["text"] == said["printed"] == text
    assert said["events"][-1] == "end"
    assert len(said["ids"]) == len(set(said["ids"])) > 1
    async with Api(host.url) as api:
        assert said["run"] == await api.run(said["id"])


async def test_a_submit_and_a_wait_outlast_outages(target: Target, python: Run, tmp_path: Path) -> None:
    """The first comes before the submit is answered, and makes no second run; the other while the run is waited for."""
    await target.model.script("outage", [{"stuck": True, "text": "Still here."}])

    async def responses() -> list[str]:
        return [each.id for each in await target.model.responses() if each.script == "outage"]

    async with cutting_proxy(target.api.url) as proxy:

        async def outage(refusals: int) -> None:
            proxy.go_down()
            await eventually(lambda: proxy.refused >= refusals)

        async def break_it() -> None:
            await eventually(responses)
            await outage(2)
            proxy.down = False
            await eventually((tmp_path / "waits").exists)
            await outage(5)
            await target.model.finish((await responses())[0])
            proxy.down = False

        said, _ = await asyncio.gather(
            python(
                proxy.url,
                """
                run = client.submit("[script:outage]", agent="workshop")
                outages = []
                done = client.wait(
                    run,
                    on_progress=lambda now: open("waits", "w").close(),
                    on_outage=lambda error, pause: outages.append(error.code),
                )
                say([done["status"], done["text"], outages])
                """,
            ),
            break_it(),
        )
    status, text, outages = said
    assert (status, text) == ("completed", "Still here.")
    assert len(outages) >= 3
    assert set(outages) == {"network_error"}
    assert len(await responses()) == 1


async def test_a_person_approves_and_the_rest_is_cleared_away(target: Target, python: Run) -> None:
    said = await python(
        target.api.url,
        """
        run = client.submit("The payroll system", agent="compliance")
        asked = client.wait(run, until=lambda now: now["status"] == "requires_action")
        [call] = asked["required_action"]["calls"]
        client.answer(asked, {call["call_id"]: {"approve": False, "reason": "Not before the audit."}})
        client.answer(asked, {call["id"]: {"approve": False, "reason": "Not before the audit."}})
        other = code(lambda: client.answer(asked, {call["id"]: True}))
        done = client.wait(asked)
        following = client.submit("And the kitchen?", session_id=done["session_id"])
        cancelled = client.cancel(following["id"])
        client.delete(done)
        gone = code(lambda: client.get(done))
        client.delete_session(done["session_id"])
        say([asked["status"], done["status"], done["output"]["filed"], cancelled["status"], other, gone,
             code(lambda: client.session(done["session_id"]))])
        """,
    )
    assert said == [
        "requires_action",
        "completed",
        False,
        "cancelled",
        ["Conflict", "already_answered", 409],
        ["NotFound", "run_not_found", 404],
        ["NotFound", "session_not_found", 404],
    ]


async def test_a_batch_of_a_file_shows_how_far_it_is_and_is_read_in_pages(
    target: Target, python: Run, tmp_path: Path
) -> None:
    await target.model.script("s", [{"text": "You said:", "echo": True}])
    (tmp_path / "in.csv").write_text(
        "id,input,shelf\n" + "".join(f"{name},[script:s] item {name},7\n" for name in "abcde") + "bad,,7\n"
    )
    said = await python(
        target.api.url,
        """
        import contextlib, io
        shown, seen = io.StringIO(), []
        with contextlib.redirect_stderr(shown):
            note = lambda now: seen.append(now["status"])
            options = {"agent": "workshop", "idempotency_key": "the night's"}
            done = client.batch("in.csv", progress=True, on_progress=note, **options)
        same = client.submit_batch("in.csv", **options)
        items = list(client.batch_items(done, limit=4))
        failed = [item["id"] for item in client.batch_items(done["id"], status=["failed"])]
        newest = next(client.batches(limit=1))
        run = client.get(items[0]["run_id"])
        client.delete_batch(done)
        say({"done": done, "same": same["id"], "items": items, "failed": failed, "newest": newest["id"], "seen": seen,
             "shown": shown.getvalue(), "metadata": run["metadata"], "gone": code(lambda: client.get_batch(done))})
        """,
    )
    assert said["done"]["counts"] == counts(total=6, completed=5, failed=1)
    assert said["same"] == said["newest"] == said["done"]["id"]
    assert [item["id"] for item in said["items"]] == [*"abcde", "bad"]
    assert all(f"item {item['id']}" in item["text"] for item in said["items"][:5])
    assert (said["failed"], said["metadata"]) == (["bad"], {"shelf": "7"})
    assert said["seen"][-1] == "completed"
    assert "6/6, 1 failed" in said["shown"]
    assert said["gone"] == ["NotFound", "batch_not_found", 404]


async def test_a_run_token_alone_opens_its_run_and_no_more(own_stack: Callable[..., Stack], python: Run) -> None:
    stack = own_stack(DORMOUSE_RUN_TOKEN_SECRET="a-secret-of-the-tests-" * 2)
    host = await asyncio.to_thread(lambda: stack.host(args=["--function-key", "the-key"]))
    await stack.model.script("long", [{"text": "Fine.", "stuck": True}])
    said = await python(
        host.url,
        """
        known = Dormouse(url, key="the-key")
        asked = known.submit("The payroll system", agent="compliance", token={"rights": ["read"]})
        reader = Dormouse(url, token=asked["token"]["token"])
        seen = reader.wait(asked["id"], until=lambda now: now["status"] == "requires_action")
        answers = {seen["required_action"]["calls"][0]["id"]: {"approve": False, "reason": "Not today."}}
        may_not = code(lambda: reader.answer(seen, answers))
        person = Dormouse(url, token=known.create_token(asked, rights=["read", "answer"], label="Ada")["token"])
        person.answer(seen, answers)
        texts = [view.event for view in person.watch(asked["id"])]
        done = person.get(asked["id"])

        other = known.submit("[script:long]", agent="workshop")
        not_theirs = code(lambda: person.get(other))
        canceller = known.create_token(other, rights=["cancel"], seconds=60)
        batch = known.submit_batch(["A story."], token={"rights": ["read"]})
        onlooker = Dormouse(url, token=known.create_token(batch)["token"])
        another = Dormouse(url, token=batch["token"]["token"])

        async def cancel():
            async with AsyncDormouse(url, token=canceller["token"]) as client:
                return await client.cancel(other)

        say({
            "may_not": may_not, "events": texts[-1],
            "answered_by": [each["answered_by"] for each in done["tool_calls"] if each["approval"]],
            "same": done == known.get(asked), "not_theirs": not_theirs, "cancelled": asyncio.run(cancel())["status"],
            "batch": [onlooker.wait_batch(batch)["status"], another.get_batch(batch)["id"] == batch["id"]],
            "in_no_other_answer": "token" not in known.get(asked), "here": code(lambda: person.input(asked)),
        })
        """,
    )
    assert said == {
        "may_not": ["NotAllowed", "token_right_missing", 403],
        "events": "end",
        "answered_by": ["token:Ada"],
        "same": True,
        "not_theirs": ["NotFound", "run_not_found", 404],
        "cancelled": "cancelled",
        "batch": ["completed", True],
        "in_no_other_answer": True,
        "here": ["InvalidArgument", "invalid_argument", 0],
    }


async def test_what_a_run_does_not_show_is_read_whole(target: Target, python: Run) -> None:
    long = "a word " * 400
    await target.model.script("whole", [{"calls": [{"name": "work", "arguments": {"label": long}}]}, {"text": "Fine."}])
    said = await python(
        target.api.url,
        f"""
        long = {long!r}
        done = client.wait(client.submit("[script:whole] " + long, agent="workshop"))
        [call] = done["tool_calls"]
        whole = client.tool_call(done, call)

        given, line = client.input(done), client.timeline(done["id"])

        async def same():
            async with AsyncDormouse(url) as other:
                return [await other.input(done) == given, await other.timeline(done) == line,
                        await other.tool_call(done["id"], call["id"]) == whole]

        say({{
            "input": given == [{{"role": "user", "content": "[script:whole] " + long}}],
            "cut": [long in call["arguments"], call["truncated"]],
            "whole": json.loads(whole["whole_arguments"])["label"] == long,
            "kinds": [each["kind"] for each in line["data"]], "wakes": line["wakes"] == done["wakes"],
            "same": asyncio.run(same()), "none": code(lambda: client.tool_call(done, "9.9")),
        }})
        """,
    )
    assert {"created", "tool", "ended"} <= set(said.pop("kinds"))
    assert said == {
        "input": True,
        "cut": [False, True],
        "whole": True,
        "wakes": True,
        "same": [True, True, True],
        "none": ["NotFound", "tool_call_not_found", 404],
    }


async def test_the_failed_items_of_a_batch_are_run_again(target: Target, python: Run) -> None:
    await target.model.script("once", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    said = await python(
        target.api.url,
        """
        items = [{"id": "bad", "input": "[script:once]"}, {"id": "good", "input": "A story."}]
        before = client.batch(items, agent="workshop", progress=False)
        again = client.retry_batch(before, idempotency_key="again")
        same = client.retry_batch(before["id"], status="failed", idempotency_key="again")
        after = client.wait_batch(again)
        say({
            "before": before["counts"]["failed"],
            "of": again["retry_of"] == before["id"], "same": same["id"] == again["id"],
            "items": [[item["id"], item["retry_of_index"]] for item in client.batch_items(after)],
            "none": code(lambda: client.retry_batch(before, status=["cancelled"])),
            "early": code(lambda: client.retry_batch(client.submit_batch(["x"]))),
        })
        """,
    )
    assert said == {
        "before": 1,
        "of": True,
        "same": True,
        "items": [["bad", 0]],
        "none": ["Conflict", "nothing_to_retry", 409],
        "early": ["Conflict", "batch_not_ended", 409],
    }


async def test_a_real_callback_is_verified_and_another_is_not(
    own_stack: Callable[..., Stack], python: Run, tmp_path: Path
) -> None:
    async with Receiver() as receiver:
        stack = own_stack(DORMOUSE_CALLBACK_SECRET=SECRET, DORMOUSE_CALLBACK_ALLOW="127.0.0.1")
        host = await asyncio.to_thread(stack.host)
        await stack.model.script("s", [{"text": "Fine."}])
        ended_run = await python(
            host.url,
            """
            where = {"callback_url": sys.argv[2], "metadata": {"a": "ä"}}
            run = client.wait(client.submit("[script:s]", agent="workshop", **where))
            while client.deliveries(run)["callback_status"] == "pending":
                time.sleep(0.1)
            client.redeliver(run)
            say(run)
            """,
            receiver.url,
        )
        await eventually(lambda: len(receiver.received) >= 2)
        got = receiver.received[0]
        kept = [dict(got.headers), base64.b64encode(got.raw).decode(), SECRET]
        (tmp_path / "got.json").write_text(json.dumps(kept))
        said = await python(
            host.url,
            """
            import base64
            headers, body, secret = json.load(open("got.json"))
            body = base64.b64decode(body)
            event = verify_callback(headers, body, f"whsec_b3RoZXI= {secret}")
            run = client.get(event.data["id"])
            say([event.id, event.type, event.data, run["callback_status"],
                 code(lambda: verify_callback(headers, body + b" ", secret)),
                 code(lambda: verify_callback(headers, body, "whsec_b3RoZXI=")),
                 code(lambda: verify_callback(headers, body, secret, now=time.time() + 3600))])
            """,
        )
    name = ended_run["id"]
    assert said[:2] == [f"msg_{name}_completed", "run.completed"]
    assert said[2]["metadata"] == {"a": "ä"}
    assert said[3] == "delivered"
    assert [each[1] for each in said[4:]] == ["invalid_signature", "invalid_signature", "stale_timestamp"]
    assert {each.webhook_id for each in receiver.received} == {f"msg_{name}_completed"}


async def test_the_client_of_ordinary_code_works_in_a_notebook(target: Target, python: Run) -> None:
    """There an event loop runs in the thread whose code calls the client; the other client belongs to that loop."""
    said = await python(
        target.api.url,
        """
        async def cell():
            run = client.submit("A story.", stream=True)
            texts = [view.text for view in client.watch(run)]
            other = AsyncDormouse(url)
            runs = [each["id"] async for each in other.runs(limit=1)]
            both = await asyncio.gather(other.wait(run), other.get(run))
            batch = await other.batch(["A story."])
            items = [item async for item in other.batch_items(batch)]
            await other.aclose()
            return [texts[-1] == both[0]["text"], run["id"] in runs, both[1]["status"], items[0]["status"]]

        say(asyncio.run(cell()))
        """,
    )
    assert said == [True, True, "completed", "completed"]


async def test_what_its_readme_shows_works(target: Target, python: Run) -> None:
    text = (CLIENT / "README.md").read_text("utf-8").replace("http://localhost:7071", target.api.url)
    first, watch, approvals, batch, errors, asynchronous, callback = re.findall(r"```python\n(.*?)```", text, re.S)
    parts = [
        first.replace('"https://<app>.azurewebsites.net", key="<function key>"', "url"),
        watch,
        'run = dormouse.submit("The payroll system", agent="compliance")\n' + approvals,
        "end = dormouse.wait(asked)\n" + batch,
        errors,
        "async def main():\n" + textwrap.indent(asynchronous, "    ") + "asyncio.run(main())\n",
        "class request:\n    headers = {}\nbody = b''\n" + callback.replace("whsec_…", "whsec_YQ=="),
        'say([done["status"], end["output"]["filed"], batch["counts"]["completed"]])',
    ]
    script = "\n".join(parts)
    said = await python(
        target.api.url,
        "import io\nshown, sys.stdout = sys.stdout, io.StringIO()\n"
        + script.replace("say([", "sys.stdout = shown\nsay(["),
    )
    assert said == ["completed", False, 2]


async def test_the_command_line_watches_a_run(
    target: Target, command: Callable[..., Awaitable[asyncio.subprocess.Process]]
) -> None:
    code, out, error = await ended(await command(target.api.url, "submit", "A story about a mouse.", "--watch"))
    name = error.split("\n")[0]
    run = await target.api.run(name)
    assert (code, out) == (0, run["text"] + "\n")
    assert error.splitlines()[-1].startswith("[completed] ")
    code, out, _ = await ended(await command(target.api.url, "get", name))
    assert (code, json.loads(out)) == (0, run)
    code, out, _ = await ended(await command(target.api.url, "watch", name))
    assert (code, out) == (0, run["text"] + "\n")


async def test_the_command_line_ends_quietly_when_its_reader_has_enough(target: Target, installed: Path) -> None:
    run_id = await target.api.start("A story.")
    await target.api.finished(run_id)
    script = f"{installed} -m dormouse_client get {run_id} | head -n 1"
    process = await asyncio.create_subprocess_shell(
        script,
        env={**clean_environment(), "DORMOUSE_URL": target.api.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert await ended(process) == (0, "{\n", "")


async def test_ctrl_c_leaves_the_run_going(
    target: Target, command: Callable[..., Awaitable[asyncio.subprocess.Process]]
) -> None:
    await target.model.script("patient", [{"text": "A dormouse. " * 9, "stuck": True}])
    process = await command(target.api.url, "submit", "[script:patient]", "--agent", "workshop", "--watch")
    assert process.stdout is not None
    async with asyncio.timeout(60):
        begun = await process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    code, _, error = await ended(process)
    assert (code, "A dormouse".startswith(begun.decode())) == (130, True)
    name = error.split("\n")[0]
    assert f"{name} goes on. Come back with: python -m dormouse_client watch {name}" in error
    assert (await target.api.run(name))["status"] == "in_progress"
    (response,) = [each.id for each in await target.model.responses() if each.script == "patient"]
    await target.model.finish(response)
    code, out, _ = await ended(await command(target.api.url, "watch", name))
    assert (code, out) == (0, "A dormouse. " * 9 + "\n")
    code, out, _ = await ended(await command(target.api.url, "cancel", name))
    assert (code, json.loads(out)["status"]) == (0, "completed")


async def test_the_command_line_runs_a_batch(
    target: Target, command: Callable[..., Awaitable[asyncio.subprocess.Process]], tmp_path: Path
) -> None:
    await target.model.script("s", [{"text": "You said:", "echo": True}])
    (tmp_path / "in.jsonl").write_text('"[script:s] one"\n{"id": "b", "input": "[script:s] two"}\n')
    code, out, error = await ended(await command(target.api.url, "batch", "in.jsonl", "--agent", "workshop"))
    items = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(item["id"], item["status"]) for item in items] == [(None, "completed"), ("b", "completed")]
    assert "2/2" in error
