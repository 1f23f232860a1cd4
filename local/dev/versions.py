"""An environment with the lowest, or the newest, versions that `requirements.in` allows, beside that of the lock."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from local import ROOT
from local.packaging.uv import run_uv
from local.stack.child import LOGS
from local.stack.setup import fingerprint, is_current, print_now, run_step, venv_python

HOME = ROOT / ".dormouse" / "versions"
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
"""How uv calls them. The lowest of what `requirements.in` names; what comes with these is as new as they allow."""


def ensure_versions(which: str, python: Path) -> Path:
    """The interpreter of an environment with these versions of what ships, and with what developers need.

    `python` belongs to a virtual environment with uv; the new one is of the same Python.

    Raises:
        StackError: no versions fit together, or they cannot be had.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    env = HOME / f"{which}-{here}"
    HOME.mkdir(parents=True, exist_ok=True)
    pins, tools = HOME / f"{which}-{here}.txt", HOME / "tools.in"
    # Asked for each time: the newest ones are others tomorrow.
    compile_pins: list[str | Path] = ["pip", "compile", "--quiet", "--no-annotate", "--no-header", "--upgrade"]
    compile_pins += ["--python-version", here, "--resolution", RESOLUTIONS[which]]
    run_uv(python, [*compile_pins, ROOT / "requirements.in", "--output-file", pins])
    tools.write_text(development_tools((ROOT / "requirements-dev.in").read_text("utf-8")), "utf-8")
    stamp, wanted = env / ".dormouse-requirements", fingerprint([pins, tools])
    if not is_current(stamp, wanted):
        making: list[str | Path] = [sys.executable, "-m", "venv", "--clear", env]
        run_step(f"making an environment for the {which} versions", making, LOGS / "versions.log")
        print_now(f"- installing the {which} versions")
        install: list[str | Path] = ["pip", "install", "--quiet", "--python", venv_python(env)]
        run_uv(python, [*install, "--requirement", tools, "--requirement", pins])
        stamp.write_text(wanted, "utf-8")
    changed = sorted(set(pins.read_text("utf-8").split()) - set((ROOT / "requirements.txt").read_text("utf-8").split()))
    print_now(f"- other than in the lock: {', '.join(changed) or 'nothing'}")
    return venv_python(env)


def development_tools(requirements: str) -> str:
    """What only developers need, without the versions of what ships."""
    lines = [line for line in requirements.splitlines() if not line.startswith("-")]
    return os.linesep.join([*lines, ""])
