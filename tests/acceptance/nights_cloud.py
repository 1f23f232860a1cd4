"""What stands for Azure when the commands of docs/operations.md are typed: `az` and `azd` as small programs.

A command that the app would notice does here what it does there: sets and restarts, stops, starts, publishes. One that
the app would not notice does nothing. Any other, and any option that these do not have, is an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from local import ROOT
from local.packaging.profiles import find_profile, host_json_of
from local.stack import FunctionsHost

APP = ("-g", "-n")
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "az functionapp config appsettings set": (*APP, "--settings"),
    "az functionapp keys set": (*APP, "--key-type", "--key-name", "--key-value"),
    "az functionapp keys delete": (*APP, "--key-type", "--key-name"),
    "az functionapp stop": APP,
    "az functionapp start": APP,
    "az functionapp deployment source config-zip": (*APP, "--src"),
    "azd env new": (),
    "azd env set": (),
    "azd up": (),
}
"""Commands that the app notices, with the options that they have."""

UNNOTICED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "az monitor metrics list": (
        ("--resource", "--metrics", "--dimension", "--interval"),
        "it reads figures of a storage account, which Azurite does not have",
    ),
    "az monitor log-analytics workspace update": (
        ("-g", "-n", "--quota"),
        "it is about logs, which no test here keeps in a workspace",
    ),
    "az functionapp config access-restriction add": (
        (*APP, "--rule-name", "--action", "--ip-address", "--priority"),
        "the platform refuses before any code of the app",
    ),
}
"""Commands that cannot do here what they do, with their options and the reason."""

PROGRAM = """#!{python}
import http.client, json, os, sys
link = http.client.HTTPConnection("127.0.0.1", {port}, timeout=60)
link.request("POST", "/", json.dumps([os.getcwd(), os.path.basename(sys.argv[0]), *sys.argv[1:]]))
answer = link.getresponse()
sys.stderr.write(answer.read().decode())
sys.exit(answer.status != 200)
"""


@dataclass
class Cloud:
    """The resources: the app in whichever group, one host for each name."""

    apps: dict[str, FunctionsHost]
    folder: Path
    typed: list[list[str]] = field(default_factory=list)
    """Every command, as its words."""

    values: dict[str, str] = field(default_factory=dict)
    """What `azd env set` has set."""

    made: str | None = None
    """The app that `azd up` makes, when the environment is new; it then has the values as settings."""

    bin: Path = Path()

    async def take(self, place: Path, words: list[str]) -> None:
        """One command, typed in a folder. Raises ``ValueError`` for what there is not."""
        self.typed.append(words)
        command, given = split(words)
        match command, given:
            case "azd env new", _:
                self.values = {}
            case "azd env set", {"": [name, value]}:
                self.values[name] = value
            case "azd up", _:
                await self._up()
            case "az functionapp config appsettings set", {"--settings": settings}:
                host = self._app(given)
                host.env.update(each.split("=", 1) for each in settings)  # type: ignore[misc]
                await self._restart(host)
            case "az functionapp keys set", {"--key-value": [value]}:
                await self._keys(self._app(given), "--master-key", value)
            case "az functionapp keys delete", _:
                host = self._app(given)
                await self._keys(host, "--function-key", option_of(host, "--master-key"))
            case "az functionapp stop", _:
                await asyncio.to_thread(self._app(given).stop)
            case "az functionapp start", _:
                await self._start(self._app(given))
            case "az functionapp deployment source config-zip", {"--src": [package]}:
                host = self._app(given)
                with zipfile.ZipFile(place / package) as pack:
                    pack.extractall(folder := self.folder / f"published-{len(self.typed)}")
                set_option(host, "--app", str(folder))
                await self._restart(host)

    def _app(self, given: Mapping[str, Sequence[str]]) -> FunctionsHost:
        assert given["-g"], "it names no group"
        (name,) = given["-n"]
        return self.apps[name]

    async def _up(self) -> None:
        if self.made is not None:
            host = self.apps[self.made]
            host.env |= {name: value for name, value in self.values.items() if name.startswith("DORMOUSE_")}
            await self._start(host)
            return
        (host,) = self.apps.values()
        profile = self.folder / self.values["DORMOUSE_PROFILE"]
        profile.mkdir()
        (profile / "function_app.py").write_text((ROOT / "function_app.py").read_text("utf-8"), "utf-8")
        made = host_json_of(ROOT, find_profile(self.values["DORMOUSE_PROFILE"]))
        (profile / "host.json").write_text(made, "utf-8")
        set_option(host, "--app", str(profile))
        await self._restart(host)

    async def _keys(self, host: FunctionsHost, option: str, value: str) -> None:
        # The local host has two keys that open a function; in Azure there is no restart.
        set_option(host, option, value)
        await self._restart(host)

    async def _restart(self, host: FunctionsHost) -> None:
        await asyncio.to_thread(host.stop)
        await self._start(host)

    async def _start(self, host: FunctionsHost) -> None:
        await asyncio.to_thread(lambda: host.start().wait_ready())


def split(words: list[str]) -> tuple[str, dict[str, list[str]]]:
    """The command, and what is given to it by option; under an empty name what is given without one.

    Raises ``ValueError``: there is no such command, or it has no such option.
    """
    line = " ".join(words)
    known = {**OPTIONS, **{name: options for name, (options, _) in UNNOTICED.items()}}
    command = next((each for each in known if f"{line} ".startswith(f"{each} ")), None)
    if command is None:
        raise ValueError(f"nobody has said what this does here: {line}")
    given: dict[str, list[str]] = {}
    option = ""
    for word in words[len(command.split()) :]:
        if word.startswith("-"):
            option = word
            if option not in known[command]:
                raise ValueError(f"{command} has no {option}")
            given[option] = []
        else:
            given.setdefault(option, []).append(word)
    if missing := {*APP} & {*known[command]} - given.keys():
        raise ValueError(f"{command} needs {missing}")
    return command, given


def option_of(host: FunctionsHost, option: str) -> str:
    """What a host was started with."""
    return host.command[host.command.index(option) + 1]


def set_option(host: FunctionsHost, option: str, value: str) -> None:
    """What a host is started with from now on."""
    if option in host.command:
        host.command[host.command.index(option) + 1] = value
    else:
        host.command += [option, value]


@contextlib.asynccontextmanager
async def cloud(folder: Path, **apps: FunctionsHost) -> AsyncIterator[Cloud]:
    """The programs in a folder of their own (`bin`), and who does what they say."""
    its = Cloud({name.replace("_", "-"): host for name, host in apps.items()}, folder)

    async def take(request: web.Request) -> web.Response:
        try:
            place, *words = await request.json()
            await its.take(Path(place), words)
        except (ValueError, KeyError, AssertionError, OSError) as error:
            return web.Response(status=400, text=f"{type(error).__name__}: {error}\n")
        return web.Response()

    server = web.Application()
    server.router.add_post("/", take)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    its.bin = folder / "bin"
    its.bin.mkdir()
    for name in ("az", "azd"):
        (its.bin / name).write_text(PROGRAM.format(python=sys.executable, port=runner.addresses[0][1]), "utf-8")
        (its.bin / name).chmod(0o755)
    try:
        yield its
    finally:
        await runner.cleanup()


def is_here(command: str) -> bool:
    """Whether a command is played here, or is one of those that the list above excuses."""
    try:
        split(re.findall(r"'[^']*'|\"[^\"]*\"|<[^>]*>|\S+", command))
    except ValueError:
        return False
    return True


PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
"""Where the interpreter of the tests is `python` and `python3`."""
