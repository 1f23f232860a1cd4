"""`python3 -m local.packaging.page`: what the page uses of other people's, and the JavaScript client, as `web/vendor`.

Whoever serves or changes the page needs no build: what this makes is checked in, and a slow test makes it again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from local import ROOT
from local.packaging.javascript import build_javascript
from local.stack import NodeTools, StackError, find_node
from local.stack.child import LOGS
from local.stack.node import npm_environment
from local.stack.setup import display_path, ensure_packages, install_lock, print_now, run_step

VENDOR = ROOT / "web" / "vendor"
SOURCE = Path(__file__).parent / "page_npm"
HOME = ROOT / ".dormouse" / "page"
"""Where the packages are that the files are made from."""

MODULES = {"preact.js": ("preact", "htm"), "markdown.js": ("streaming-markdown",)}
"""The modules that are bundled, each from the file of that name in `page_npm`, and the packages in each."""

CLIENT = "dormouse-client.js"
LICENSES = "LICENSES.txt"
_LINE = "-" * 100


def ensure_packages_of_page(tools: NodeTools) -> Path:
    """What the page is made from, in the versions of its lock file; returns the folder of it."""
    needed = HOME / "node_modules" / "esbuild" / "bin" / "esbuild"
    ensure_packages("what the page is made from", SOURCE, HOME, needed, tools)
    return HOME


def make_vendor(tools: NodeTools, folder: Path) -> list[str]:
    """Make the files in `folder`; returns the names of those that were not there as they are now.

    Raises:
        StackError: npm, esbuild or the compiler failed; with the end of what it said.
    """
    modules = ensure_packages_of_page(tools) / "node_modules"
    folder.mkdir(parents=True, exist_ok=True)
    before = _contents(folder)
    manifests = {name: json.loads((modules / name / "package.json").read_text("utf-8")) for name in _packages()}
    with install_lock(HOME):
        for module, packages in MODULES.items():
            shutil.copyfile(SOURCE / module, HOME / module)
            named = ", ".join(f"{name} {manifests[name]['version']}" for name in packages)
            command: list[str | Path] = [tools.node, modules / "esbuild" / "bin" / "esbuild", HOME / module]
            command += ["--bundle", "--minify", "--format=esm", "--target=es2022", "--legal-comments=none"]
            command += [f"--banner:js=/* {named}: {LICENSES} */", f"--outfile={folder / module}"]
            run_step(f"bundling {named}", command, LOGS / f"esbuild-{module}.log", env=npm_environment(tools))
    (folder / CLIENT).write_bytes(_client(tools))
    (folder / LICENSES).write_text(_licenses(modules, manifests), "utf-8")
    after = _contents(folder)
    return sorted(name for name in after if after[name] != before.get(name))


def _packages() -> list[str]:
    return [name for packages in MODULES.values() for name in packages]


def _client(tools: NodeTools) -> bytes:
    """The client's file for pages without a build step, as its package has it."""
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(build_javascript(tools, Path(scratch))) as packed:
        file = packed.extractfile("package/dist/dormouse-client.min.js")
        if file is None:
            raise StackError("the package of the JavaScript client has no dist/dormouse-client.min.js")
        return file.read()


def _licenses(modules: Path, manifests: Mapping[str, Mapping[str, str]]) -> str:
    """Each package with its exact version and the licence that it came with."""
    parts = [f"{CLIENT} is made from clients/js and has the licence of this repository.\n"]
    for name, manifest in manifests.items():
        found = [each for each in sorted((modules / name).iterdir()) if each.stem.lower() in ("license", "licence")]
        if not found:
            raise StackError(f"{name} {manifest['version']} came without the text of its licence")
        # Its lines as they are but for blanks at their ends.
        text = "\n".join(line.rstrip() for line in found[0].read_text("utf-8").strip().splitlines())
        parts.append(f"{name} {manifest['version']} ({manifest['license']})\n\n{text}\n")
    return f"\n{_LINE}\n".join(parts)


def _contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def main() -> int:
    """Make `web/vendor`."""
    parser = argparse.ArgumentParser(prog="python3 -m local.packaging.page", description=make_vendor.__doc__)
    parser.parse_args()
    try:
        changed = make_vendor(find_node(Path(sys.prefix)), VENDOR)
    except StackError as error:
        print_now(str(error))
        return 1
    where = display_path(VENDOR)
    print_now(f"{where}: {', '.join(changed)} changed" if changed else f"{where}: all is as it was")
    return 0


if __name__ == "__main__":
    sys.exit(main())
