#!/usr/bin/env python3
"""Everything a developer's machine does with Dormouse: run, test, check, lock, package. Needs only Python."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType

if sys.version_info < (3, 11):  # noqa: UP036 - the system's Python may be older than the project's
    sys.exit(f"Dormouse needs Python 3.11 or newer; this is {sys.version.split()[0]}.")

from local import stack
from local.packaging.lock import update_locks
from local.packaging.package import PYTHON_VERSION, build_package, report
from local.stack import StackError
from local.stack.child import LOGS, ROOT
from local.stack.setup import ensure_azurite, ensure_peer, ensure_venv, say, shown

LOCAL_HOSTS = {"localhost", "127.0.0.1"}


def on_signals(action: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """Do this on Ctrl-C, SIGTERM and the end of the terminal (a shell may have turned the first off)."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if number := getattr(signal, name, None):
            signal.signal(number, action)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# --- run ----------------------------------------------------------------------------------------------


def local_settings(root: Path = ROOT) -> tuple[dict[str, str], str]:
    """The app settings of this machine, and the name of the file that they are from."""
    for name in ("local.settings.json", "local.settings.sample.json"):
        file = root / name
        if file.is_file():
            try:
                values = json.loads(file.read_text("utf-8-sig")).get("Values", {})
                return {key: str(value) for key, value in values.items()}, name
            except (ValueError, AttributeError) as error:
                raise StackError(
                    f"{name} is not what Core Tools expect (JSON with an object `Values`): {error}"
                ) from error
    return {}, "no file"


def find_func(wanted: str | None, path: str | None = None) -> str | None:
    """The `func` to start the app with; None for the host of local/."""
    func = None if wanted == "local" else shutil.which("func", path=path)
    if wanted == "func" and func is None:
        raise StackError(
            "--host func: Azure Functions Core Tools (`func`) are not on PATH. "
            "Without the option, local/'s own host runs."
        )
    return func


def uses_real_model(settings: Mapping[str, str]) -> bool:
    """Whether the settings name a model provider, so that no scripted model is needed."""
    return any(settings.get(name, "").strip() for name in ("OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"))


def uses_own_storage(settings: Mapping[str, str]) -> bool:
    """Whether the settings name a storage account other than the emulator."""
    named = settings.get("AzureWebJobsStorage", "").strip()
    by_identity = any(name.startswith("AzureWebJobsStorage__") and value for name, value in settings.items())
    return by_identity or named not in ("", "UseDevelopmentStorage=true")


def check_settings(python: Path, env: Mapping[str, str]) -> None:
    """Let the app read its settings before anything starts: a malformed one stops here, in its words."""
    command = [str(python), "-m", "shared.settings"]
    answer = subprocess.run(command, cwd=ROOT, env=dict(env), capture_output=True, text=True, check=False)
    if answer.returncode == 2:
        raise StackError((answer.stderr.strip() or answer.stdout.strip()) + "\nNothing was started.")
    if answer.returncode == 0 and answer.stderr.strip():  # warnings, such as a setting that nobody knows
        say(answer.stderr.strip())


class Follower:
    """Shows what a log gains, line by line, with a prefix."""

    def __init__(self, log: Path, prefix: str) -> None:
        self.log, self.prefix, self.position, self.rest = log, prefix, 0, b""

    def lines(self) -> list[str]:
        """The whole lines since the last call, each with the prefix."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(self.position)
            new = log.read()
            self.position += len(new)
            *whole, self.rest = (self.rest + new).split(b"\n")
            return [self.prefix + line.decode("utf-8", errors="replace").rstrip() for line in whole]
        return []


def run(options: argparse.Namespace) -> int:
    """Start everything, say where it is, and keep it up until Ctrl-C."""
    func = find_func(options.host)
    if not stack.port_is_free(options.port):
        raise StackError(
            f"Port {options.port} is in use, perhaps by another `dev.py run`. Stop that, or choose another --port."
        )
    values, source = local_settings()
    # The environment wins over the file, as in Core Tools. (Looked up by name: on Windows that ignores case.)
    settings = {**os.environ, **{name: os.environ.get(name, value) for name, value in values.items()}}
    if options.driver:
        settings["DORMOUSE_DRIVER"] = options.driver
    python = ensure_venv(options.venv)
    path = os.pathsep.join((str(python.parent), os.environ.get("PATH", "")))  # Core Tools look for Python there
    env = settings | {"VIRTUAL_ENV": str(options.venv), "PATH": path}
    env.setdefault("FUNCTIONS_WORKER_RUNTIME", "python")
    env.setdefault("DORMOUSE_PUBLIC_BASE_URL", f"http://localhost:{options.port}")
    parts: list[stack.Child] = []
    storage = "the account that AzureWebJobsStorage names"
    if not uses_own_storage(settings):
        install = ensure_azurite(options.venv)
        ports = stack.choose_ports(options.data, stack.WELL_KNOWN_PORTS)
        azurite = stack.Azurite(options.data, ports, node=install.node, entry=install.entry, log=LOGS / "azurite.log")
        parts.append(azurite)
        env["AzureWebJobsStorage"] = azurite.connection_string
        storage = f"Azurite on ports {', '.join(map(str, ports))}, data in {shown(options.data)}"
    provider = "the one that your settings name"
    if not uses_real_model(settings):
        model = stack.ScriptedModel(think=options.think, python=python, log=LOGS / "model.log")
        parts.append(model)
        key = f"scripted-{secrets.token_hex(8)}"  # the model's control routes have its prompts under it
        env |= {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": model.base_url}
        provider = f"scripted, {model.url}/control/{key}/log (OPENAI_API_KEY or AZURE_OPENAI_ENDPOINT: a real one)"
    host = stack.FunctionsHost(options.port, base_env=env, python=python, func=func, log=LOGS / "host.log")
    parts.append(host)
    check_settings(python, env)

    follower = Follower(host.log_path, "[host] ")
    with contextlib.ExitStack() as running:
        try:
            for part in parts:
                begun = time.monotonic()
                running.callback(part.stop)  # backwards: Azurite last, so that all rows reach the disk
                part.start().wait_ready()
                say(f"- {part.name} is up ({time.monotonic() - begun:.1f} s)")
            well = stack.http_status(options.port, "/api/health", timeout=60.0) != 503
            for line in follower.lines():  # a long list of functions, which must not push the greeting off the screen
                say(line)
            names = f"{source} and the environment"
            admin = host.admin_key
            say(greeting(options.port, names, storage, provider, func=bool(func), well=well, admin_key=admin))
            while not (dead := next((part for part in parts if not part.alive), None)):
                for line in follower.lines():
                    say(line)
                time.sleep(0.2)
        except KeyboardInterrupt:
            say("Stopping …")
            return 0
        finally:
            on_signals(signal.SIG_IGN)  # a second Ctrl-C must not cut the stopping short; it has time limits
        tail = f"The last lines of {shown(dead.log_path)}:\n{dead.log_tail()}"
        raise StackError(f"{dead.name} stopped with exit code {dead.exit_code}, so everything is stopped. {tail}")


def greeting(
    port: int, settings: str, storage: str, provider: str, *, func: bool, well: bool, admin_key: str = ""
) -> str:
    """What a person needs to know once all is up."""
    unwell = "" if well else "But it can serve no run: `health` and the log above say why. Mend that, and start anew.\n"
    url = f"http://localhost:{port}"
    header = f" -H 'x-functions-key: {admin_key}'" if admin_key else ""
    body = json.dumps({"input": "Write a short story about a dormouse in space."})
    return f"""
Dormouse is up ({"Azure Functions Core Tools" if func else "the host of local/"}).
  start a run   POST {url}/api/runs
  its status    GET  {url}/api/runs/<id>
  health        GET  {url}/api/health
  model         {provider}
  storage       {storage}
  settings      {settings}
  logs          {shown(LOGS)}
  a timer now   curl -X POST {url}/admin/functions/sweep -H 'content-type: application/json' -d '{{}}'{header}

Try it:
  curl -s -X POST {url}/api/runs -H 'content-type: application/json' -d '{body}'
then, with the `id` of the answer, until `status` is final:
  curl -s '{url}/api/runs/<id>'
{unwell}Ctrl-C stops everything; the data stays.
"""


# --- test ---------------------------------------------------------------------------------------------


def names_tests(arguments: Sequence[str]) -> bool:
    """Whether a file, a folder or a test is among pytest's arguments."""
    return any(not each.startswith("-") and (ROOT / each.partition("::")[0]).exists() for each in arguments)


def tier(options: argparse.Namespace) -> list[str]:
    """pytest's arguments for a tier of tests; `tests/README.md` says what belongs to which."""
    marks = [] if options.all else ["-m", "not slow"]
    if names_tests(options.pytest):
        return marks  # and no other processes: what they print, and a debugger, would be out of reach
    # Acceptance tests mostly wait for processes, so that more of them than there are cores run at once.
    cores = os.cpu_count() or 1
    workers = ["-n", str(cores + 1 if options.quick else 2 * cores), "--dist", "worksteal"]
    return [*workers, *marks, *(["tests/unit", "tests/contract"] if options.quick else [])]


def test(options: argparse.Namespace) -> int:
    """Run the tests on the same parts that `run` starts."""
    python = ensure_venv(options.venv)
    env = dict(os.environ)
    command = [str(python), "-m", "pytest"]
    if options.against:
        env["DORMOUSE_TEST_AGAINST"] = options.against
        if options.key:
            env["DORMOUSE_TEST_KEY"] = options.key
        command += ["-m", "http_only", "tests/acceptance"]
    else:
        env["DORMOUSE_TEST_AZURITE"] = ensure_azurite(options.venv).to_variable()
        if options.all:
            env["DORMOUSE_TEST_PEER"] = str(ensure_peer(options.venv))
        command += tier(options)
    what = " ".join(command[3:] + options.pytest) or "everything"
    say(f"- pytest on Python {sys.version.split()[0]}: {what}")
    process = subprocess.Popen([*command, *options.pytest], cwd=ROOT, env=env)
    # pytest gets a terminal's Ctrl-C by itself. It must end what it started, so SIGTERM reaches it as Ctrl-C.
    on_signals(lambda number, _: None if number == signal.SIGINT else process.send_signal(signal.SIGINT))
    return process.wait()


# --- check --------------------------------------------------------------------------------------------


def registry_hosts(texts: Iterable[str]) -> set[str]:
    """The host names in the settings of pip and npm: no file is to name any of them, public or not."""
    found = {match.lower() for text in texts for match in re.findall(r"https?://(?:[^@/\s'\"]*@)?([\w.-]+)", text)}
    return found - LOCAL_HOSTS


def leaks(text: str, hosts: Iterable[str], home: str = str(Path.home())) -> list[str]:
    """What in a file tells about the machine that it was written on: registries, and paths of a person."""
    lowered = text.lower()
    found = [f"the registry host {host}" for host in sorted(hosts) if host in lowered]
    if re.search(r'"resolved": *"https?:', text):
        found.append("a registry address in a lock file (npm install --omit-lockfile-registry-resolved)")
    paths = r"(?<![\w/.:$}>-])(?:/(?:home|Users)/(?!site/)[\w.-]+/|/(?:root)/)|\b[A-Za-z]:\\{1,2}Users\\"
    if re.search(paths, text) or (home.count("/") > 1 and home + "/" in text and not home.startswith("/home/site")):
        found.append("an absolute home path")
    return found


def configured_registries(python: Path) -> set[str]:
    """The registries that pip and npm use here."""
    commands = [[str(python), "-m", "pip", "config", "list"]]
    if npm := shutil.which("npm"):
        commands.append([npm, "config", "get", "registry"])
    return registry_hosts(subprocess.run(c, capture_output=True, text=True, check=False).stdout for c in commands)


def check_files(python: Path) -> int:
    """Look through every file that is, or would be, tracked."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        say("  not a git checkout: skipped")
        return 0
    hosts, bad = configured_registries(python), 0
    for file in filter(Path.is_file, (ROOT / name for name in listed.split("\0") if name)):
        for leak in leaks(file.read_text("utf-8", errors="ignore"), hosts):
            say(f"  {shown(file)}: {leak}")
            bad = 1
    return bad


def check(options: argparse.Namespace) -> int:
    """Format, lint, types, and nothing of this machine in the files."""
    python = ensure_venv(options.venv)
    tool = [str(python), "-m"]
    steps = [
        ("format", [*tool, "ruff", "format", *([] if options.fix else ["--check"]), "."]),
        ("lint", [*tool, "ruff", "check", *(["--fix"] if options.fix else []), "."]),
        ("types", [*tool, "mypy"]),
        ("deployment", [*tool, "local.infra", *(["--fix"] if options.fix else [])]),
        ("contract", [*tool, "local.openapi", *([] if options.fix else ["--check"])]),
    ]
    flows = [str(file) for file in sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))]
    steps += [
        ("workflows", [*tool, "check_jsonschema", "--builtin-schema", "vendor.github-workflows", "--quiet", *flows]),
        ("workflows' security", [str(python.with_name("zizmor")), "--offline", "--quiet", *flows]),
    ]
    bad = []
    for name, command in steps:
        say(f"- {name}")
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            bad.append(name)
    say("- files")
    if check_files(python):
        bad.append("files")
    say(f"check: {', '.join(bad)} failed" if bad else "check: all is well")
    return 1 if bad else 0


# --- lock, package ------------------------------------------------------------------------------------


def lock(options: argparse.Namespace) -> int:
    """Pin the packages that the two `requirements*.in` allow."""
    changed = update_locks(ensure_venv(options.venv), upgrade=options.upgrade)
    say(f"lock: {', '.join(changed)} changed" if changed else "lock: all is as it was")
    return 0


def package(options: argparse.Namespace) -> int:
    """Build what can be deployed as it is."""
    python = ensure_venv(options.venv)
    say(f"- packing for Linux x86-64 and Python {options.python_version}")
    bytecode = not options.no_bytecode
    say(report(build_package(python, options.out, version=options.python_version, bytecode=bytecode, say=say)))
    return 0


# --- the command line ---------------------------------------------------------------------------------


def port_number(text: str) -> int:
    """The port that an option names. Raises ``ArgumentTypeError``."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="dev.py", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="run|test|check|lock|package")

    def add(name: str, action: Callable[[argparse.Namespace], int], text: str, more: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=f"{text}. {more}")
        command.set_defaults(action=action)
        folder = "virtual environment to use, made when missing (default: .venv)"
        command.add_argument("--venv", type=Path, default=ROOT / ".venv", metavar="DIR", help=folder)
        return command

    what = "Sets up what is missing, starts Azurite, a scripted model and the functions host; Ctrl-C stops all."
    command = add("run", run, "run the app here", what)
    command.add_argument("--port", type=port_number, default=7071, help="port of the app (default: 7071)")
    command.add_argument("--driver", choices=("durable", "timer"), help="what wakes the runs (default: the settings')")
    kept = "where Azurite keeps its data between runs (default: .dormouse/data)"
    command.add_argument("--data", type=Path, default=ROOT / ".dormouse" / "data", metavar="DIR", help=kept)
    choice = "the small host of local/, or Core Tools (default: Core Tools when `func` is on PATH)"
    command.add_argument("--host", choices=("local", "func"), help=choice)
    command.add_argument("--think", type=float, metavar="SECONDS", help="how long the scripted model thinks")

    command = add("test", test, "run the tests", "Sets up what is missing. Further arguments go to pytest.")
    tiers = command.add_mutually_exclusive_group()
    tiers.add_argument("--quick", action="store_true", help="only the unit and contract tests, after each change")
    tiers.add_argument("--all", action="store_true", help="the slow tests too")
    command.add_argument("--against", metavar="URL", help="only what needs nothing but HTTP, against a host that runs")
    command.add_argument("--key", help="with --against: the function key of that host")

    command = add("check", check, "check format, lint, types and files", "Exits with 1 when any of them fails.")
    command.add_argument("--fix", action="store_true", help="format, fix, and write what is generated")

    what = "From requirements.in and requirements-dev.in: versions and hashes, for every system and Python."
    command = add("lock", lock, "pin the packages in requirements.txt and requirements-dev.txt", what)
    command.add_argument("--upgrade", action="store_true", help="take the newest versions that the .in files allow")

    what = "A folder and a zip with all dependencies, for `func azure functionapp publish --no-build`."
    command = add("package", package, "make what can be deployed without a build in Azure", what)
    folder = "where to build; the zip goes beside it (default: .dormouse/package)"
    command.add_argument("--out", type=Path, default=ROOT / ".dormouse" / "package", metavar="DIR", help=folder)
    version = f"the app's Python in Azure (default: {PYTHON_VERSION})"
    command.add_argument("--python-version", default=PYTHON_VERSION, metavar="3.N", help=version)
    command.add_argument("--no-bytecode", action="store_true", help="leave the bytecode out: smaller, slower to start")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    command_line = parser()
    options, rest = command_line.parse_known_args(arguments)
    if rest and options.action is not test:
        command_line.error(f"unrecognized arguments: {' '.join(rest)}")
    options.pytest = [argument for argument in rest if argument != "--"]
    for name in ("venv", "data", "out"):
        if folder := getattr(options, name, None):
            setattr(options, name, folder.resolve())
    on_signals(interrupt)
    # Compiled files are kept whatever the shell says: without them each host compiles the app anew as it starts.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        return int(options.action(options))
    except StackError as error:
        print(f"dev.py: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("dev.py: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
