"""Writes the tables of `docs/settings.md` from the code.

python -m local.docs            # writes them
python -m local.docs --check    # exits with 1 when the page is not what it would write
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from shared.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "settings.md"
BEGIN, END = "<!-- begin: written by local/docs.py -->", "<!-- end -->"


def sections() -> Iterator[tuple[str, list[FieldInfo]]]:
    """The settings under the comments that part them in the source."""
    by_name = {field.alias: field for field in Settings.model_fields.values()}
    for section in re.split(r"^ +# --- ", inspect.getsource(Settings), flags=re.MULTILINE)[1:]:
        title, _, body = section.partition(" ---\n")
        yield title, [by_name[alias] for alias in re.findall(r'alias="(\w+)"', body)]


def table() -> str:
    """All settings in Markdown."""
    lines = []
    for title, fields in sections():
        lines += [f"### {title[0].upper()}{title[1:]}", "", "| setting | default | what it is |", "|---|---|---|"]
        lines += [f"| `{field.alias}` | {_default(field.default)} | {field.description} |" for field in fields]
        lines.append("")
    return "\n".join(lines)


def host_values(node: Any = None, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of host.json by its path, as the page spells it."""
    node = json.loads((ROOT / "host.json").read_text("utf-8")) if node is None else node
    if not isinstance(node, dict):
        yield path, json.dumps(node)
        return
    for name, value in node.items():
        yield from host_values(value, f"{path}.{name}" if path else name)


def written(page: str) -> str:
    """The page with its tables as they should be. Raises ``ValueError`` when it has no place for them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/settings.md needs the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{table()}{end}{after}"


def outdated() -> str | None:
    """The page as it should be, unless that is what it is."""
    page = PAGE.read_text("utf-8")
    right = written(page)
    return None if page == right else right


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or check it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="local.docs", description="Writes the tables of docs/settings.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when something would change")
    options = parser.parse_args(arguments)
    page = outdated()
    if page is None:
        return 0
    if options.check:
        print("docs/settings.md is not what the code says; run: python -m local.docs", file=sys.stderr)
        return 1
    PAGE.write_text(page, "utf-8")
    print("docs/settings.md is written")
    return 0


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) and value < 1e6 else f"`{value}`"


if __name__ == "__main__":
    sys.exit(main())
