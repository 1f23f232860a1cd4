"""The npm package of the JavaScript client, installed from its tarball in a folder that knows nothing else."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from local.packaging.javascript import build_javascript, ensure_javascript
from local.stack import NodeTools, find_node, npm_environment
from tests.acceptance.conftest import Target

LIMIT = 6_000
"""Bytes of the client, minified and gzipped."""

OPTIONS = {
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "noPropertyAccessFromIndexSignature": True,
    "verbatimModuleSyntax": True,
    "isolatedModules": True,
    "skipLibCheck": False,
    "module": "nodenext",
    "moduleResolution": "nodenext",
    "target": "es2022",
    "lib": ["es2022", "dom", "dom.iterable"],
    "types": [],
}
PROGRAM = """
import { Dormouse, DormouseError, isFinal } from "dormouse-client";
import type { Batch, Connection, Run, RunBody, RunToken, TimelineEntry, View, WaitOptions } from "dormouse-client";
import type { Agent } from "dormouse-client/contract";

declare const process: { argv: string[] };
const client: Dormouse = new Dormouse({ url: process.argv[2], retries: 2 });
const maybe: string | undefined = process.argv[9];
const body: RunBody = { input: "A story about types.", agent: maybe, metadata: { a: "1" } };
const run: Run = await client.submit(body, { key: maybe, signal: undefined });
const told: Connection["state"][] = [];
const events: View["event"][] = [];
for await (const view of client.watch(run, { onConnection: ({ state }) => told.push(state) })) events.push(view.event);
const options: WaitOptions = { hold: 10, onChange: (now) => now.status };
const done = await client.wait(run, options);
const first = await client.list({ limit: 1 });
const rest = await client.list({ limit: 1, cursor: first.next_cursor });
const names: string[] = (await client.agents()).data.map((agent: Agent) => agent.name);
const code: string = await client.get("run_").then(() => "", (error: unknown) => {
  if (error instanceof DormouseError) return error.code;
  throw error;
});
const known = done.text.length > 0 && done.tool_calls.every((call) => call.name) && isFinal(done);
const input: string | object = (await client.input(run)).input[0]?.content ?? "";
const entries: TimelineEntry[] = (await client.timeline(done)).data;
const whole = async (): Promise<string[]> =>
  Promise.all(done.tool_calls.map(async (call) => (await client.toolCall(done, call)).whole_arguments));
const tokens = async (batch: Batch): Promise<(RunToken | undefined)[]> => [
  await client.createToken(run, { rights: ["read", "answer", "cancel"], seconds: 60, label: maybe ?? null }),
  await client.createToken(batch, { rights: ["read"] }),
  await client.createToken(batch.id, { rights: ["read"] }),
  (await client.submit({ input: "x", token: { rights: ["read"] } })).token,
];
const again = async (batch: Batch): Promise<string | null> =>
  (await client.waitBatch(await client.retryBatch(batch, { status: ["failed"], key: maybe }))).retry_of;
const wholes = (await whole()).length === done.tool_calls.length;
const details = [input !== "", entries.at(0)?.kind, wholes, typeof tokens, typeof again];
const shown = [done.status, events.at(0), events.at(-1), told, known, code];
console.log(JSON.stringify([...shown, ...details, names.length > 0, first.data.length, rest.data.length <= 1]));
"""
COMPONENT = """
import { createElement } from "react";
import type { ReactElement } from "react";
import { Dormouse } from "dormouse-client";
import { useRun } from "dormouse-client/react";
const client = new Dormouse();
export function Story({ id }: { id: string | undefined }): ReactElement {
  const { run, text, error, connection, ended } = useRun(client, id);
  return createElement("p", {}, run?.status, text, error?.code, connection.state, String(ended));
}
"""
MISTAKES = """
import { Dormouse } from "dormouse-client";
import { useRun } from "dormouse-client/react";
const client = new Dormouse({ link: "https://app.test" });
const run = await client.submit({ inputs: "x" });
console.log(run.txt);
for await (const view of client.watch(run)) view.event === "done";
await client.batchItems("batch_", { status: ["queued"] });
await client.createToken(run, { rights: ["delete"] });
await client.submitBatch({ items: ["x"] });
const text: number = useRun(client, run).text;
const name: string = (await client.list()).next_cursor;
await client.answer(run, { a: { approve: "yes" } });
await client.createToken(await client.batch("batch_"), { rights: ["cancel"] });
await client.retryBatch("batch_", { status: ["completed"] });
await client.toolCall(run);
await client.submitBatch({ items: [], token: { rights: ["answer"] } });
"""


@pytest.fixture
def driver() -> str:
    """None of this is the driver's."""
    return "durable"


@pytest.fixture(scope="module")
def tools() -> NodeTools:
    return find_node(Path(sys.prefix))


@pytest.fixture(scope="module")
def tarball(tools: NodeTools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_javascript(tools, tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def project(tools: NodeTools, tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of somebody else, with the package and nothing of this checkout."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{"name": "theirs", "version": "1.0.0", "type": "module"}')
    command = [*tools.npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--offline", str(tarball)]
    subprocess.run(command, cwd=folder, env=npm_environment(tools), check=True, capture_output=True)
    return folder


def compiled(tools: NodeTools, project: Path, *files: str) -> list[str]:
    """What the compiler has against these files, as `file:line`."""
    (project / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS, "files": files}))
    tsc = ensure_javascript(tools) / "node_modules" / "typescript" / "bin" / "tsc"
    answer = subprocess.run([tools.node, tsc, "--project", project], capture_output=True, text=True, check=False)
    found = re.findall(r"^(\S+?)\((\d+),\d+\): error", answer.stdout, re.MULTILINE)
    assert bool(found) == bool(answer.returncode), answer.stdout
    return [f"{Path(file).name}:{line}" for file, line in found]


def test_it_needs_nothing_and_holds_only_what_its_users_need(tools: NodeTools, tarball: Path, project: Path) -> None:
    installed = [each.name for each in (project / "node_modules").iterdir() if not each.name.startswith(".")]
    assert installed == ["dormouse-client"]
    with tarfile.open(tarball) as pack:
        names = {name.removeprefix("package/") for name in pack.getnames()}
    assert {"README.md", "LICENSE", "package.json", "src/index.js", "src/react.js", "types/contract.d.ts"} <= names
    assert {name.partition("/")[0] for name in names} == {
        "README.md",
        "LICENSE",
        "package.json",
        "src",
        "types",
        "dist",
    }
    manifest = json.loads((project / "node_modules" / "dormouse-client" / "package.json").read_text())
    assert "dependencies" not in manifest
    for entry in manifest["exports"].values():
        for file in [entry] if isinstance(entry, str) else entry.values():
            assert file.removeprefix("./") in names, file


def test_it_is_small(project: Path) -> None:
    whole = project / "node_modules" / "dormouse-client" / "dist" / "dormouse-client.min.js"
    assert len(gzip.compress(whole.read_bytes(), 9)) < LIMIT


async def test_a_strict_typescript_project_compiles_and_runs(tools: NodeTools, project: Path, target: Target) -> None:
    (project / "program.ts").write_text(PROGRAM)
    assert compiled(tools, project, "program.ts") == []
    command = [tools.node, "program.js", target.api.url]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=project, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(90):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    said = json.loads(out)
    details = [True, "created", True, "function", "function"]
    assert said == ["completed", "state", "end", ["open"], True, "not_found", *details, True, 1, True]


def test_the_file_for_pages_without_a_build_step_is_the_same_client(tools: NodeTools, project: Path) -> None:
    script = (
        'import * as whole from "dormouse-client"; import * as one from "dormouse-client/min";'
        "const of = (module) => Object.getOwnPropertyNames(module.Dormouse.prototype).sort().join();"
        "console.log(Object.keys(whole).sort().join() === Object.keys(one).sort().join() && of(whole) === of(one));"
    )
    command = [tools.node, "--input-type=module", "--eval", script]
    said = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "true"


def test_the_hook_has_types_and_react_is_asked_for_only_by_who_uses_it(
    tools: NodeTools, project: Path, tmp_path: Path
) -> None:
    home = ensure_javascript(tools)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules" / "@types").mkdir(parents=True)
    for name in ("react", "@types/react", "csstype"):
        os.symlink(home / "node_modules" / name, tmp_path / "node_modules" / name)
    os.symlink(project / "node_modules" / "dormouse-client", tmp_path / "node_modules" / "dormouse-client")
    (tmp_path / "story.ts").write_text(COMPONENT)
    assert compiled(tools, tmp_path, "story.ts") == []


def test_mistakes_do_not_compile(tools: NodeTools, project: Path) -> None:
    (project / "mistakes.ts").write_text(MISTAKES)
    assert compiled(tools, project, "mistakes.ts") == [f"mistakes.ts:{line}" for line in range(4, 18)]
