"""`uv`, which resolves and installs for another Python and system than the one at hand (pip does not: it decides
markers such as `python_version < "3.13"` by the interpreter that it runs on)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from local import ROOT
from local.stack.child import StackError


def run_uv(python: Path, arguments: Sequence[str | Path], *, cwd: Path = ROOT) -> None:
    """Run the `uv` of the virtual environment that `python` is in.

    Raises:
        StackError: it failed; with the end of what it said.
    """
    # No configuration of a person or of a folder above may decide what ships.
    command = [str(python), "-m", "uv", *map(str, arguments), "--no-config", "--no-progress"]
    answer = subprocess.run(
        command, cwd=cwd, env=uv_environment(pip_settings(python)), capture_output=True, text=True, check=False
    )
    if answer.returncode:
        tail = "\n".join((answer.stderr or answer.stdout).strip().splitlines()[-15:])
        raise StackError(f"uv {' '.join(map(str, arguments[:2]))} failed with exit code {answer.returncode}:\n{tail}")


def pip_settings(python: Path) -> dict[str, str]:
    """What pip is set to on this machine, by `section.name`."""
    command = [str(python), "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    pairs = (line.partition("=") for line in lines)
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}


def uv_environment(pip: Mapping[str, str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for uv: as it is, with pip's registry and CA file where uv has none of its own."""
    env = dict(os.environ if environ is None else environ)
    for setting, variable in (("index-url", "UV_DEFAULT_INDEX"), ("cert", "SSL_CERT_FILE")):
        value = pip.get(f":env:.{setting}") or pip.get(f"global.{setting}") or pip.get(f"install.{setting}")
        if value and not env.get(variable):
            env[variable] = value
    return env
