"""The npm package of the JavaScript client: its types, the file for pages without a build step, the tarball."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from local import ROOT
from local.stack.child import LOGS
from local.stack.node import NodeTools, npm_environment
from local.stack.setup import ensure_packages, install_lock, run_step

SOURCE = ROOT / "clients" / "js"
HOME = ROOT / ".dormouse" / "javascript"
"""Where its development packages are: TypeScript, esbuild, React."""

PARTS = ("src", "README.md", "tsconfig.json")


def ensure_javascript(tools: NodeTools) -> Path:
    """What the client is built and tested with, in the versions of its lock file; returns the folder of it."""
    needed = HOME / "node_modules" / "typescript" / "bin" / "tsc"
    ensure_packages("what the JavaScript client is built with", SOURCE, HOME, needed, tools)
    return HOME


def build_javascript(tools: NodeTools, folder: Path) -> Path:
    """Build the npm package; returns the tarball, in `folder`.

    Raises:
        StackError: npm or the compiler failed; with the end of what it said.
    """
    home = ensure_javascript(tools)
    manifest = json.loads((SOURCE / "package.json").read_text("utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    # Built in a copy: nothing that is made lies about in the checkout, and several may build at once.
    with install_lock(home), tempfile.TemporaryDirectory(dir=home) as scratch:
        copy = Path(scratch)
        shutil.copyfile(SOURCE / "package.json", copy / "package.json")
        shutil.copyfile(ROOT / "LICENSE", copy / "LICENSE")
        for part in PARTS:
            if (SOURCE / part).is_dir():
                shutil.copytree(SOURCE / part, copy / part)
            else:
                shutil.copyfile(SOURCE / part, copy / part)
        # npm packs what `prepack` has built; it finds the packages in the folder above.
        command: list[str | Path] = [
            *tools.npm,
            "pack",
            "--silent",
            "--no-update-notifier",
            "--pack-destination",
            folder,
        ]
        env = npm_environment(tools)
        env["PATH"] = os.pathsep.join(
            [str(home / "node_modules" / ".bin"), str(tools.node.parent), env.get("PATH", "")]
        )
        run_step("packing the JavaScript client", [*command, "--prefix", copy, copy], LOGS / "npm-pack.log", env=env)
    return folder / f"{manifest['name']}-{manifest['version']}.tgz"
