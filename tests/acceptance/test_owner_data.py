"""A person asks for their data, or its deletion: the commands of docs/operations.md, typed as they are printed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local import ROOT
from local.stack import FunctionsHost
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, both_drivers, move_clock
from tests.acceptance.test_deletion import HOUR, fire
from tests.acceptance.test_purge import MARK, TURNS, everything
from tests.parts.waiting import eventually
from tests.unit.docs.pages import blocks_below, typed_in

NewStack = Callable[..., Stack]

KEY = "operator-key-0123456789-of-the-tests"
FUNCTION_KEY = "function-key-of-the-tests"
ANN, BOB = {"Dormouse-On-Behalf-Of": "ann"}, {"Dormouse-On-Behalf-Of": "bob"}
PAGE, HEADING = ROOT / "docs/operations.md", "A person asks for their data, or its deletion"
EXPORT, ERASE = (command.text for block in blocks_below(PAGE, HEADING, "console") for command in typed_in(block))


async def begin(command: str, folder: Path, host: FunctionsHost) -> asyncio.subprocess.Process:
    """Type a command in this folder."""
    (folder / "bin").mkdir(exist_ok=True)
    python = folder / "bin" / "python"
    if not python.exists():
        python.symlink_to(sys.executable)
    env = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'clients/python/src'}:{':'.join(each for each in sys.path if 'site-packages' in each)}",
        "DORMOUSE_URL": host.url,
        "DORMOUSE_KEY": FUNCTION_KEY,
        "DORMOUSE_OPERATOR_KEY": KEY,
    }
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *("bash", "-c", f"exec {command}"),
        cwd=folder,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
    )


async def typed(command: str, folder: Path, host: FunctionsHost, code: int = 0) -> tuple[dict[str, Any], str]:
    """The object that a command prints, and what it says beside that."""
    process = await begin(command, folder, host)
    out, error = await process.communicate()
    assert process.returncode == code, error.decode()
    return (json.loads(out) if out else {}), error.decode()


def pieces(folder: Path) -> list[dict[str, Any]]:
    """All that was exported, of all files."""
    return [json.loads(line) for file in folder.glob("**/*.ndjson") for line in file.read_text("utf-8").splitlines()]


async def hers(api: Api, stack: Stack) -> dict[str, str]:
    """One of everything of Ann's, and a run of Bob's; the ids."""
    await stack.model.script("s", TURNS)
    await stack.model.script("long", [{"stuck": True, "text": "never"}])
    text = f"[script:s] {MARK}-prompt "

    async def post(path: str, body: Mapping[str, Any], who: Mapping[str, str] = ANN) -> Any:
        reply = await api.call("POST", path, json={"agent": "workshop", **body}, headers={**who})
        assert reply.status in (200, 202), reply
        return reply.body

    async def ended(run: Any, who: Mapping[str, str] = ANN) -> None:
        async def has_ended() -> bool:
            status = (await api.call("GET", f"/api/runs/{run['id']}", headers=who))["status"]
            return status in ("completed", "failed")

        await eventually(has_ended)

    keyed = {**ANN, "Idempotency-Key": f"{MARK}-key"}
    first = await post("/api/runs", {"input": text, "title": f"{MARK}-title", "metadata": {"m": MARK}}, keyed)
    await ended(first)
    second = (
        await api.call("POST", "/api/runs", json={"input": text, "session_id": first["session_id"]}, headers=ANN)
    ).body
    await ended(second)
    # More than one page of an export.
    for _ in range(4):
        await ended(await post("/api/runs", {"input": text + "long " * 150_000}))
    active = await post("/api/runs", {"input": f"[script:long] {MARK}"})
    later = await post("/api/runs", {"input": text, "start_at": "2027-06-01T00:00:00Z"})
    batch = await post("/api/batches", {"items": [{"input": text, "id": f"{MARK}-{n}"} for n in range(3)]})
    deleted = await post("/api/runs", {"input": text})
    await ended(deleted)
    assert (await api.call("DELETE", f"/api/sessions/{deleted['session_id']}", headers=ANN)).status == 204
    bobs = await post("/api/runs", {"input": "[script:s] of somebody else"}, BOB)
    await ended(bobs, BOB)
    return {
        "first": first["id"],
        "second": second["id"],
        "active": active["id"],
        "later": later["id"],
        "batch": batch["id"],
        "deleted": deleted["session_id"],
        "bob": bobs["id"],
    }


@both_drivers
async def test_a_person_gets_their_data_and_its_deletion_as_the_page_says(
    own_stack: NewStack, driver: str, tmp_path: Path
) -> None:
    secret = f"local:{base64.b64encode(b'k' * 32).decode()}"
    stack = own_stack(driver, DORMOUSE_OPERATOR_KEY=KEY, DORMOUSE_DELEGATION="1", DORMOUSE_ENCRYPTION_KEY=secret)
    host = await asyncio.to_thread(stack.host, args=["--function-key", FUNCTION_KEY])
    folder = tmp_path / "ann"
    async with Api(host.url, FUNCTION_KEY) as api:
        ids = await hers(api, stack)

        # Cut off by a kill once a page is kept.
        process = await begin(EXPORT, tmp_path, host)
        await eventually(lambda: (folder / "progress.json").exists())
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        assert not (folder / "manifest.json").exists()
        shown, said = await typed(EXPORT, tmp_path, host)
        assert "goes on" in said
        found = pieces(folder)
        assert len({json.dumps(each) for each in found}) == len(found), "nothing is doubled"
        kinds = Counter(each["kind"] for each in found)
        assert (kinds["batch"], kinds["batch_item"]) == (1, 3)
        assert {name: shown["counts"][name] for name in kinds} == kinds
        runs = {each["id"]: each for each in found if each["kind"] == "run"}
        assert runs.keys() >= {ids[name] for name in ("first", "second", "active", "later")}
        assert ids["bob"] not in json.dumps(found)
        assert runs[ids["first"]]["run"]["text"].count(MARK) == 4_000
        assert [each["id"] for each in shown["being_deleted"]] == [ids["deleted"]]
        assert (shown["owner"], shown["unreadable"]) == ("user:ann", [])
        assert "user:ann" in (folder / "manifest.json").read_text("utf-8")

        done, said = await typed(ERASE, tmp_path, host)
        assert done["failed"] == []
        assert done["erased"]["batches"] == 1
        assert done["erased"]["sessions"] >= 7
        assert "The same again says what is left." in said
        for path in (f"/api/runs/{ids['first']}", f"/api/runs/{ids['active']}", f"/api/batches/{ids['batch']}"):
            assert (await api.call("GET", path, headers=ANN)).status == 404, path
        assert (await api.call("GET", "/api/runs", headers=ANN))["data"] == []
        assert (await api.call("GET", f"/api/runs/{ids['bob']}", headers=BOB))["status"] == "completed"

        async def no_copy() -> bool:
            await move_clock(host, 60)
            return (await typed(ERASE, tmp_path, host))[0]["remaining"]["provider_copies"] == 0

        await eventually(no_copy)
        copies = [each for each in await stack.model.responses() if not each.deleted]
        assert {each.metadata["run"] for each in copies} == {ids["bob"]}

        async def nothing_left() -> bool:
            await move_clock(host, 25 * HOUR)
            await fire(host, "retain")
            return "Nothing is left." in (await typed(ERASE, tmp_path, host))[1]

        await eventually(nothing_left)
        rows = (await everything(stack.azurite, stack.prefix)).splitlines()
        assert [row for row in rows if MARK in row or "user:ann" in row] == []
    log = host.log_path.read_text("utf-8")
    assert "audit: an operator called from 127.0.0.1: erase what is stored of the owner with SHA-256" in log
    assert "user:ann" not in log


async def test_without_a_terminal_the_page_s_command_needs_its_yes_and_a_typing_error_deletes_nothing(
    own_stack: NewStack, tmp_path: Path
) -> None:
    stack = own_stack("timer", DORMOUSE_OPERATOR_KEY=KEY, DORMOUSE_DELEGATION="1")
    host = await asyncio.to_thread(stack.host, args=["--function-key", FUNCTION_KEY])
    async with Api(host.url, FUNCTION_KEY) as api:
        reply = await api.call("POST", "/api/runs", json={"input": "x"}, headers=ANN)
        assert "say --yes" in (await typed(ERASE.replace(" --yes", ""), tmp_path, host, code=2))[1]
        assert "Nothing is left." in (await typed(ERASE.replace("user:ann", "user:an"), tmp_path, host))[1]
        assert "owner" in (await typed(ERASE.replace("user:ann", "ann"), tmp_path, host, code=3))[1]
        assert (await api.call("GET", f"/api/runs/{reply['id']}", headers=ANN)).status == 200


async def test_an_owner_with_a_name_that_addresses_cannot_hold_has_five_hundred_runs(
    own_stack: NewStack, tmp_path: Path
) -> None:
    stack = own_stack("timer", DORMOUSE_AUTH="appservice", WEBSITE_AUTH_ENABLED="True", DORMOUSE_OPERATOR_KEY=KEY)
    host = await asyncio.to_thread(stack.host)
    me = {"Prefer": "wait=30", "X-MS-CLIENT-PRINCIPAL-ID": "ann/#?%2F&'", "X-MS-CLIENT-PRINCIPAL-IDP": "aad"}
    command = EXPORT.replace("user:ann", '"principal:aad:ann/#?%2F&\'"')
    await stack.model.script("soon", [{"think": 0, "text": "Soon."}])
    slots = asyncio.Semaphore(8)
    async with Api(host.url) as api:

        async def conversation() -> None:
            async with slots:
                session: dict[str, Any] = {"agent": "workshop"}
                for _ in range(5):
                    reply = await api.call("POST", "/api/runs", json={"input": "[script:soon]", **session}, headers=me)
                    assert reply["status"] == "completed", reply
                    session = {"session_id": reply["session_id"]}

        await asyncio.gather(*(conversation() for _ in range(100)))
        shown, _ = await typed(command, tmp_path, host)
        assert (shown["counts"]["session"], shown["counts"]["run"], shown["counts"]["items"]) == (100, 500, 1_000)
        assert len(list((tmp_path / "ann" / "sessions").iterdir())) == 100
        done, _ = await typed(ERASE.replace("user:ann", '"principal:aad:ann/#?%2F&\'"'), tmp_path, host)
        assert done["erased"] | {"keys": 0} == {"sessions": 100, "runs": 500, "batches": 0, "schedules": 0, "keys": 0}
        assert done["remaining"]["tombstones"] == 600
        assert (await api.call("GET", "/api/runs", headers=me))["data"] == []
