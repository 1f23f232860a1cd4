"""The requests that README and docs/http.md tell people to type, typed as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from local import ROOT
from tests.acceptance.client import Api
from tests.acceptance.conftest import CLIENT_KEYS, Stack
from tests.parts.receiver import SECRET as CALLBACK_SECRET
from tests.unit.docs.pages import Found, commands

PLACES = {
    r"run_[0-9a-f]+…?_1": "run",
    r"batch_[0-9a-f]+…": "batch",
    r"apr_[0-9a-f]+…": "approval",
    r"eyJ\w+…": "token",
}
"""What stands for something that an earlier answer held."""

ANOTHERS = r"<app>|/retry "
"""What is not for this machine, and what wants a batch of which items have failed."""

TYPED = [
    command
    for command in commands()
    if command.text.startswith("curl ")
    and command.page in (ROOT / "README.md", ROOT / "docs/http.md")
    and not re.search(ANOTHERS, command.text)
]


async def typed(command: str) -> tuple[int, str]:
    """The status and the body that a shell shows. A stream is left after two seconds."""
    more = " --max-time 2" if "/events" in command else ""
    command = command.replace("curl ", f"curl{more} -w '\\n%{{http_code}}' ", 1)
    shell = await asyncio.create_subprocess_exec("bash", "-c", command, stdout=asyncio.subprocess.PIPE)
    body, _, status = (await shell.communicate())[0].decode().rpartition("\n")
    return int(status), body


def learn(seen: dict[str, str], answer: Any) -> None:
    """Keep what later commands need."""
    made = str(answer.get("id", ""))
    if re.match(r"(run|batch)_", made):
        seen[made.partition("_")[0]] = made
    if "token" in answer:
        seen["token"] = answer["token"]


async def prepared(command: Found, seen: dict[str, str], api: Api) -> str:
    """The command with what earlier answers held in place of what the page shows."""
    if "/answers" in command.text:
        run = await api.until(seen["run"], lambda run: run["status"] == "requires_action")
        seen["approval"] = run["required_action"]["calls"][0]["id"]
    text = command.text.replace("http://localhost:7071", api.url).replace("<the secret>", CLIENT_KEYS["ada"])
    for pattern, name in PLACES.items():
        text = re.sub(pattern, lambda _, name=name: seen[name], text)  # type: ignore[misc]
    return text


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_what_the_pages_tell_to_type_is_answered(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack(
        DORMOUSE_RUN_TOKEN_SECRET="secret-of-run-tokens-in-this-test",
        DORMOUSE_CALLBACK_SECRET=CALLBACK_SECRET,
        DORMOUSE_CALLBACK_ALLOW="localhost:9000",
    )
    host = await asyncio.to_thread(stack.host)
    assert len(TYPED) > 10
    seen: dict[str, str] = {}
    async with Api(host.url) as api:
        for command in TYPED:
            text = await prepared(command, seen, api)
            status, body = await typed(text)
            assert status in (200, 201, 202), f"{command}: {text}: {status} {body}"
            if "/events" in text:
                assert body.startswith("retry: "), body
            else:
                learn(seen, json.loads(body))
    assert seen.keys() == {"run", "batch", "approval", "token"}
