"""Writes the contract, the tables of the pages in docs/, and half of the Python client, from the code.

python -m local.openapi            # writes the files
python -m local.openapi --check    # exits with 1 when one is not what it would write
python -m local.openapi --release 1.0    # keeps the contract as that version's: what later ones may not take away
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from local import ROOT
from local.openapi import blocking, compatible, docs, document, python, typescript


def files() -> dict[Path, str]:
    """What is written where."""
    made = document.document()
    return {
        ROOT / "shared" / "api" / "openapi.json": document.rendered(made),
        ROOT / "clients" / "js" / "src" / "contract.ts": typescript.rendered(made),
        ROOT / "clients" / "python" / "src" / "dormouse_client" / "contract.py": python.rendered(made),
        **blocking.files(),
        **docs.pages(),
    }


RELEASED = ROOT / "local" / "openapi" / "released"
"""The contracts of released versions, without their words."""


def keep(version: str) -> Path:
    """Keep the contract as a version's. Raises ``FileExistsError`` where that has been released."""
    file = RELEASED / f"{version}.json"
    with file.open("x", encoding="utf-8", newline="\n") as kept:
        kept.write(document.rendered(compatible.without_words(document.document())))
    return file


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or check them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="local.openapi", description="Writes the contract from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when something would change")
    parser.add_argument("--release", metavar="VERSION", help="write nothing but the contract of this version, once")
    options = parser.parse_args(arguments)
    if options.release:
        print(f"{keep(options.release)} is written, and is never written again")
        return 0
    wrong = [file for file, text in files().items() if not file.is_file() or file.read_text("utf-8") != text]
    for file in wrong:
        shown = file.relative_to(ROOT).as_posix()
        if options.check:
            print(f"{shown} is not what the code says; run: python -m local.openapi", file=sys.stderr)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(files()[file], "utf-8", newline="\n")
            print(f"{shown} is written")
    return 1 if wrong and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
