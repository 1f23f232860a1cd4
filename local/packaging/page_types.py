"""`python3 -m local.packaging.page_types`: the types of the page, `web/`, by TypeScript over its JSDoc.

The page stays as it is served. It is checked in a copy, where `vendor/` is not the bundles but what they are made from:
Preact and the others with their own types, and the JavaScript client's source.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from local import ROOT
from local.packaging import javascript, page
from local.stack import NodeTools, StackError, find_node
from local.stack.setup import install_lock, print_now

PAGE = ROOT / "web"
OPTIONS = Path(__file__).parent / "page_npm" / "tsconfig.json"


def problems_of(tools: NodeTools, source: Path = PAGE) -> str:
    """What TypeScript says of the page in `source`; empty when nothing is wrong.

    Raises:
        StackError: npm failed; with the end of what it said.
    """
    home = page.ensure_packages_of_page(tools)
    compiler = javascript.ensure_javascript(tools) / "node_modules" / "typescript" / "bin" / "tsc"
    # Below the packages, so that it finds them; several may check at once.
    with install_lock(home), tempfile.TemporaryDirectory(dir=home) as scratch:
        copy = Path(scratch)
        shutil.copytree(source, copy / "web", ignore=shutil.ignore_patterns("vendor"))
        shutil.copytree(javascript.SOURCE / "src", copy / "client")
        vendor = copy / "web" / "vendor"
        vendor.mkdir()
        for module in page.MODULES:
            shutil.copyfile(page.SOURCE / module, vendor / module)
        (vendor / page.CLIENT).write_text('export * from "../../client/index.js";\n', "utf-8")
        shutil.copyfile(OPTIONS, copy / "tsconfig.json")
        command: list[str | Path] = [tools.node, compiler, "--pretty", "false"]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False).stdout


def main() -> int:
    """Print what is wrong."""
    try:
        found = problems_of(find_node(Path(sys.prefix)))
    except StackError as error:
        print_now(str(error))
        return 1
    print(found, end="")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
