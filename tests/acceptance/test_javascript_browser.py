"""The JavaScript client in a real browser: tabs, outages, hidden pages, origins, React."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local import ROOT
from local.packaging.javascript import ensure_javascript
from local.stack import NodeTools, free_port
from tests.acceptance import test_browser
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack
from tests.acceptance.test_browser import HOME, unpacked

pytestmark = test_browser.pytestmark
node = test_browser.node

CLIENT = ROOT / "clients" / "js" / "src"
TEXT = "A dormouse sleeps. " * 9
STORY = f"""
import {{ createElement, StrictMode }} from "react";
import {{ createRoot }} from "react-dom/client";
import {{ Dormouse }} from "{CLIENT}/index.js";
import {{ useRun }} from "{CLIENT}/react.js";
const client = new Dormouse();
const id = location.search.slice(1);
const Story = () => {{
  const {{ run, text, ended }} = useRun(client, id);
  return `${{run?.status}} ${{ended}} ${{text}}`;
}};
let root;
window.mount = () => {{
  root = createRoot(document.querySelector("#story"));
  root.render(createElement(StrictMode, null, createElement(Story)));
}};
window.unmount = () => root.unmount();
window.mount();
"""


def bundled(tools: NodeTools, folder: Path) -> Path:
    """A page's script with a component that watches a run."""
    home = ensure_javascript(tools)
    (folder / "story.js").write_text(STORY)
    command = [str(home / "node_modules" / ".bin" / "esbuild"), "story.js", "--bundle", "--format=esm"]
    command += ["--outfile=bundle.js", '--define:process.env.NODE_ENV="development"']
    env = {**os.environ, "NODE_PATH": str(home / "node_modules")}
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return folder / "bundle.js"


async def test_pages_share_a_stream_and_live_through_everything(
    node: NodeTools, own_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    port, secret = free_port(), "a-secret-of-the-tests-" * 2
    settings = {"DORMOUSE_ALLOWED_ORIGINS": f"http://127.0.0.1:{port}", "DORMOUSE_RUN_TOKEN_SECRET": secret}
    stack = own_stack("durable", **settings)
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("long", [{"text": TEXT, "stuck": True}])
    async with Api(host.url) as api:
        run = await api.submit("[script:long]", agent="workshop", stream=True, token={"rights": ["read"]})
        run_id = str(run["id"])
        given = {
            "unpacked": unpacked(),
            "app": host.url,
            "client": str(CLIENT),
            "story": str(await asyncio.to_thread(bundled, node, tmp_path)),
            "run": run_id,
            "token": run["token"]["token"],
            "port": port,
        }
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            node.node, HOME / "client.mjs", json.dumps(given), stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert process.stdin
        assert process.stdout
        assert process.stderr
        said: dict[str, Any] = {}
        try:
            async with asyncio.timeout(240):
                while line := await process.stdout.readline():
                    part = json.loads(line)
                    said[part.pop("part")] = part
                    if "react" in said and "end" not in said:
                        (response,) = await stack.model.responses()
                        await stack.model.finish(response.id)
                        process.stdin.write(b"\n")
                errors = (await process.stderr.read()).decode()
                assert await process.wait() == 0, errors
        finally:
            if process.returncode is None:
                process.kill()
        text = (await api.run(run_id))["text"]
    assert text == TEXT
    assert said["tabs"] == {"most": 1, "streams": 1}
    assert said["closed"] == {"streams": 1}
    assert said["outage"] == {"lost": [["lost", None]] * 7, "most": 1}
    assert said["hidden"] == {"left": 0, "states": ["open", "polling", "open"]}
    assert said["foreign"].pop("seconds") < 5
    assert said["foreign"] == {"codes": ["origin_not_allowed"] * 3, "nobody": "network_error"}
    assert said["token"] == {"status": "in_progress", "unchanged": True, "cancel": "token_right_missing", "streams": 1}
    assert said["end"] == {
        "over": ["ended"] * 9,
        "texts": [TEXT] * 9,
        "twice": False,
        "story": f"completed true {TEXT}",
    }
