"""`dev.py run`: the app on this machine, with all that it needs."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from local import ROOT, stack
from local.dev.signals import on_signals
from local.stack import StackError
from local.stack.child import LOGS
from local.stack.setup import display_path, ensure_azurite, ensure_venv, print_now


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
    """Let the app read its settings before anything starts: a malformed one stops here, with the app's message."""
    command = [str(python), "-m", "shared.settings"]
    answer = subprocess.run(command, cwd=ROOT, env=dict(env), capture_output=True, text=True, check=False)
    if answer.returncode == 2:
        raise StackError((answer.stderr.strip() or answer.stdout.strip()) + "\nNothing was started.")
    if answer.returncode == 0 and answer.stderr.strip():  # warnings, such as an unknown setting
        print_now(answer.stderr.strip())


class LogFollower:
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
    """Start everything, print_now where it is, and keep it up until Ctrl-C."""
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
        if options.fresh:
            azurite.remove_data()
        parts.append(azurite)
        env["AzureWebJobsStorage"] = azurite.connection_string
        storage = f"Azurite on ports {', '.join(map(str, ports))}, data in {display_path(options.data)}"
    elif options.fresh:
        raise StackError("--fresh removes what Azurite keeps, but AzureWebJobsStorage names an account of yours.")
    provider = "the one that your settings name"
    if not uses_real_model(settings):
        model = stack.ScriptedModel(think=options.think, python=python, log=LOGS / "model.log")
        parts.append(model)
        key = f"scripted-{secrets.token_hex(8)}"  # the model's control routes have its prompts under it
        env |= {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": model.base_url}
        provider = f"scripted, {model.url}/control/{key}/log (OPENAI_API_KEY or AZURE_OPENAI_ENDPOINT: a real one)"
    followers = []
    if options.traces:
        traces = stack.TraceReceiver(python=python, log=LOGS / "traces.log")
        parts.append(traces)
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = traces.url
        followers.append(LogFollower(traces.log_path, ""))
    host = stack.FunctionsHost(options.port, base_env=env, python=python, func=func, log=LOGS / "host.log")
    parts.append(host)
    check_settings(python, env)

    follower = LogFollower(host.log_path, "[host] ")
    followers.append(follower)
    with contextlib.ExitStack() as running:
        try:
            for part in parts:
                begun = time.monotonic()
                running.callback(part.stop)  # backwards: Azurite last, so that all rows reach the disk
                part.start().wait_ready()
                print_now(f"- {part.name} is up ({time.monotonic() - begun:.1f} s)")
            # The host logs rows of an earlier format once something has opened the storage.
            stack.http_status(options.port, "/api/runs?limit=1", timeout=60.0)
            well = stack.http_status(options.port, "/api/health", timeout=60.0) != 503
            for line in follower.lines():  # a long list of functions, which is in the log
                if not well:
                    print_now(line)
            names = f"{source} and the environment"
            admin = host.admin_key
            print_now(
                startup_message(options.port, names, storage, provider, func=bool(func), well=well, admin_key=admin)
            )
            while not (dead := next((part for part in parts if not part.alive), None)):
                for line in (line for each in followers for line in each.lines()):
                    print_now(line)
                time.sleep(0.2)
        except KeyboardInterrupt:
            print_now("Stopping …")
            return 0
        finally:
            on_signals(signal.SIG_IGN)  # a second Ctrl-C must not cut the stopping short; it has time limits
        tail = f"The last lines of {display_path(dead.log_path)}:\n{dead.log_tail()}"
        raise StackError(f"{dead.name} stopped with exit code {dead.exit_code}, so everything is stopped. {tail}")


def startup_message(
    port: int, settings: str, storage: str, provider: str, *, func: bool, well: bool, admin_key: str = ""
) -> str:
    """What a person needs to know once all is up."""
    unwell = "" if well else "But it can serve no run: `health` and the log above say why. Mend that, and start anew.\n"
    url = f"http://localhost:{port}"
    header = f" -H 'x-functions-key: {admin_key}'" if admin_key else ""
    body = json.dumps({"input": "Write a short story about a dormouse in space."})
    return f"""
Dormouse is up ({"Azure Functions Core Tools" if func else "the host of local/"}).
  the page      {url}/ui/
  start a run   POST {url}/api/runs
  its status    GET  {url}/api/runs/<id>
  health        GET  {url}/api/health
  model         {provider}
  storage       {storage}
  settings      {settings}
  logs          {display_path(LOGS)}
  a timer now   curl -X POST {url}/admin/functions/sweep -H 'content-type: application/json' -d '{{}}'{header}

Try it:
  curl -s -X POST {url}/api/runs -H 'content-type: application/json' -d '{body}'
then, with the `id` of the answer, until `status` is final:
  curl -s '{url}/api/runs/<id>'
{unwell}Ctrl-C stops everything; the data stays.
"""
