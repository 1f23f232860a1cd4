"""The wheel of the Python client."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from local import ROOT
from local.packaging.uv import run_uv

CLIENT = ROOT / "clients" / "python"


def build_wheel(python: Path, folder: Path) -> Path:
    """Build the client's wheel into `folder`, by exactly what its lock names; returns it. An earlier one is replaced.

    `python` belongs to a virtual environment with uv.

    Raises:
        StackError: it cannot be built, or what builds it cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        command: list[str | Path] = ["build", "--wheel", "--python", python, "--out-dir", scratch]
        command += ["--build-constraints", CLIENT / "build-requirements.txt", "--require-hashes", CLIENT]
        run_uv(python, command)
        (built,) = Path(scratch).glob("*.whl")
        return Path(shutil.copyfile(built, folder / built.name))
