"""A person at night: types what docs/operations.md has below a heading, command by command, as it is printed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local import ROOT
from local.stack import FunctionsHost, machine_environment
from tests.acceptance.conftest import Stack
from tests.acceptance.nights_cloud import PATH, Cloud, cloud
from tests.acceptance.test_crashes import SHORT_WAITS
from tests.unit.docs.pages import Found, blocks_below, typed_in

NewStack = Callable[..., Stack]

PAGE = ROOT / "docs/operations.md"
AT_HAND = "At hand"
"""The heading below whose first block is what everything else begins with."""

AZURE = "https://<app>.azurewebsites.net"
"""The address of an app there; here it is a host's."""

KEY = "operator-key-0123456789-of-the-tests"
FUNCTION_KEY = "function-key-of-the-tests"
KEYED = ("--function-key", FUNCTION_KEY)

PROGRAMS = ("bash", "curl", "openssl", "xargs")
"""What the page's commands take besides."""

PLACE = re.compile(r"<[a-z][a-z :]*>")
"""What stands for something that a person puts in."""


async def started(stack: Stack, **env: str) -> FunctionsHost:
    """A host that asks for keys, as in Azure."""
    return await asyncio.to_thread(lambda: stack.host(args=KEYED, **env))


def a_stack(new_stack: NewStack, driver: str = "durable", **env: str) -> Stack:
    """A stack with an operator."""
    return new_stack(driver, DORMOUSE_OPERATOR_KEY=KEY, **(SHORT_WAITS | env))


@dataclass
class Night:
    """The blocks of one heading, and the shell that they are typed into. Every block is to be typed."""

    heading: str
    host: FunctionsHost
    cloud: Cloud
    shell: asyncio.subprocess.Process
    places: dict[str, str]
    blocks: list[list[Found]] = field(init=False)
    instead: Mapping[str, str] = field(default_factory=dict)
    """What is typed in place of words that have no meaning here."""

    count: int = 0
    """How many of them are typed."""

    def __post_init__(self) -> None:
        found = blocks_below(PAGE, self.heading, "console")
        assert found, f"{PAGE} has nothing to type below {self.heading}"
        self.blocks = [list(typed_in(block)) for block in found]

    async def types(self, **places: str) -> list[str]:
        """Type the next block; what each of its commands prints. One that fails fails the test."""
        block = self.blocks[self.count]
        self.count += 1
        return [await self.command(each.text, str(each), **places) for each in block]

    async def command(self, text: str, where: str = "", **places: str) -> str:
        """Type one command; what it prints."""
        known = self.places | {name.replace("_", " "): value for name, value in places.items()}
        put_in = {AZURE: self.host.url, **self.instead, **{f"<{place}>": value for place, value in known.items()}}
        for words, value in put_in.items():
            text = text.replace(words, value)
        assert PLACE.search(text) is None, f"{where}: nothing is known to put in: {text}"
        mark = secrets.token_hex(8)
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f"{text}\nprintf '%s %s\\n' {mark} $?\n".encode())
        await self.shell.stdin.drain()
        async with asyncio.timeout(60):
            said = (await self.shell.stdout.readuntil(f"{mark} ".encode())).decode().removesuffix(f"{mark} ")
            status = int(await self.shell.stdout.readline())
        assert status == 0, f"{where}: {text}: {status}: {said}"
        return said


@contextlib.asynccontextmanager
async def night(
    heading: str, stack: Stack, host: FunctionsHost, place: Path, *, other: FunctionsHost | None = None, **places: str
) -> AsyncIterator[Night]:
    """Someone who has typed what is to be at hand, and has the page open at that heading.

    ``places``: what to put in, by the words between the brackets (``run_id`` for `<run id>`).
    """
    if missing := [each for each in PROGRAMS if shutil.which(each) is None]:
        pytest.skip(f"there is no {missing[0]}")
    apps = {"the_app": host} if other is None else {"the_app": host, "new_app": other}
    async with cloud(place, **apps) as its:
        env = machine_environment() | {
            "PATH": f"{its.bin}:{PATH}",
            "PYTHONPATH": str(ROOT / "clients/python/src"),
            "AzureWebJobsStorage": stack.azurite.connection_string,
            "DORMOUSE_TABLE_PREFIX": stack.prefix,
        }
        # A checkout, so that what is written beside it is gone with the test.
        (checkout := place / "checkout").mkdir()
        (checkout / "dev.py").symlink_to(ROOT / "dev.py")
        shell = await asyncio.create_subprocess_exec(
            "bash",
            cwd=checkout,
            env=env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        known = {
            "app": "the-app",
            "group": "the-group",
            "workspace": "the-workspace",
            "storage account id": "/subscriptions/1/the-account",
            "address": "203.0.113.7",
            "function key": FUNCTION_KEY,
            "operator key": KEY,
            **{name.replace("_", " "): value for name, value in places.items()},
        }
        try:
            someone = Night(heading, host, its, shell, known)
            exports = typed_in(blocks_below(PAGE, AT_HAND, "console")[0])
            for command in exports:
                await someone.command(command.text, str(command))
            yield someone
            assert someone.count == len(someone.blocks), f"{heading}: {len(someone.blocks) - someone.count} not typed"
        finally:
            shell.kill()
            await shell.wait()
