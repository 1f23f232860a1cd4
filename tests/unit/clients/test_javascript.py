"""The JavaScript client by itself: its own tests in Node.js, and its addresses against the contract."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from local import ROOT
from local.openapi import document
from local.stack import find_node

SOURCE = ROOT / "clients" / "js"
RUN, BATCH, SESSION = f"run_{'0a' * 16}_1", f"batch_{'0b' * 16}", "0c" * 16
SCHEDULE = f"schedule_{'0d' * 16}"
CALL_ALL = """
import { Dormouse } from "./src/index.js";
const [run, batch, session, schedule] = process.argv.slice(1);
const asked = [];
const fetch = async (path, { method }) => {
  asked.push(`${method} ${path.split("?")[0]}`);
  const isEvents = path.endsWith("/events");
  return new Response(isEvents ? null : '{"status": "completed", "data": []}', { status: isEvents ? 204 : 200 });
};
const client = new Dormouse({ fetch });
const given = {
  submit: [{}], submitBatch: [{}], answer: [run, {}], session: [session], deleteSession: [session],
  createSchedule: [{}], schedules: [], schedule: [schedule], changeSchedule: [schedule, {}], deleteSchedule: [schedule],
  list: [], runs: [], batches: [], agents: [], createToken: [run, {}], toolCall: [run, "1.0"],
};
for (const name of Object.getOwnPropertyNames(Dormouse.prototype).filter((name) => name !== "constructor")) {
  const made = client[name](...(given[name] ?? [/batch|items/i.test(name) ? batch : run]));
  await (made.next ? made.next() : made);
}
await client.redeliver(batch);
await client.createToken(batch, {});
console.log(JSON.stringify(asked));
"""


def test_it_has_the_version_of_the_app() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    manifest = json.loads((SOURCE / "package.json").read_text("utf-8"))
    assert (manifest["version"], manifest["license"]) == (project["version"], project["license"])


def test_its_own_tests_pass() -> None:
    tests = sorted((SOURCE / "test").glob("*.test.js"))
    assert len(tests) >= 3
    node = find_node(Path(sys.prefix)).node
    answer = subprocess.run([node, "--test", *tests], capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stdout


def test_it_calls_every_address_of_a_caller_and_no_other() -> None:
    node = find_node(Path(sys.prefix)).node
    command = [node, "--input-type=module", "--eval", CALL_ALL, RUN, BATCH, SESSION, SCHEDULE]
    answer = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    asked = set(json.loads(answer.stdout))
    known = {
        f"{method.upper()} {re.sub(r'{[^}]*}', '[0-9a-z_.]+', path)}"
        for path, methods in document.document()["paths"].items()
        if path.split("/")[2] in ("agents", "batches", "runs", "schedules", "sessions")
        for method in methods.keys() - {"head"}
    }
    assert {each for each in asked if not any(re.fullmatch(pattern, each) for pattern in known)} == set()
    assert {pattern for pattern in known if not any(re.fullmatch(pattern, each) for each in asked)} == set()
