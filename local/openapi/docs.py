"""The tables and drawings of the pages in docs/, made from the code and from infra/profiles.json."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from bench.scale import page as scale
from local import ROOT
from local.openapi import clients, deployment
from local.openapi.phases import drawings
from local.packaging.profiles import DEFAULT, find_profile, host_json_of
from shared import errors
from shared.errors import DormouseError
from shared.settings import Settings
from shared.telemetry.metrics import METRICS

SETTINGS = ROOT / "docs" / "settings.md"
HTTP = ROOT / "docs" / "http.md"
LIFE = ROOT / "docs" / "life.md"
CLIENTS = ROOT / "docs" / "clients.md"
DEPLOY = ROOT / "docs" / "deploy.md"
SCALE = ROOT / "docs" / "scale.md"
OBSERVABILITY = ROOT / "docs" / "observability.md"
WORKBOOK = ROOT / "infra" / "modules" / "workbook.json"
BEGIN, END = "<!-- begin: written by local/openapi/docs.py -->", "<!-- end -->"


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
        lines += [f"## {title[0].upper()}{title[1:]}", "", "| setting | default | what it is |", "|---|---|---|"]
        lines += [f"| `{field.alias}` | {_default(field.default)} | {field.description} |" for field in fields]
        lines.append("")
    return "\n".join(lines)


def errors_table() -> str:
    """All errors that a caller can meet in Markdown, by status and code."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DormouseError)]
    lines = [
        f"| {kind.status} | `{kind.code}` | {' '.join(inspect.cleandoc(kind.__doc__ or '').split())} |"
        for kind in sorted(kinds, key=lambda kind: (kind.status, kind.code))
    ]
    return "\n".join(["| status | `code` | what it says |", "|---|---|---|", *lines, "", ""])


def telemetry() -> str:
    """All metrics, and the queries of the workbook, in Markdown."""
    lines = []
    for each in METRICS:
        attributes = ", ".join(f"`{name}`" for name in each.attributes)
        lines.append(f"| `{each.name}` | {each.kind} | `{each.unit}` | {each.description} | {attributes} |")
    table = ["| metric | kind | unit | of what | attributes |", "|---|---|---|---|---|", *lines]
    asked = []
    for each in json.loads(WORKBOOK.read_text("utf-8"))["items"]:
        if query := each["content"].get("query"):
            asked += [f"{each['content']['title']}:", "", "```kusto", query, "```", ""]
    return "\n".join([*table, "", QUERIES, "", *asked, ""])


QUERIES = """\
## Queries

For *Logs* of the app's Application Insights. The templates put them into a workbook (*Workbooks*, *Dormouse*), too."""

PAGES: Mapping[Path, Callable[[], str]] = {
    SETTINGS: table,
    HTTP: errors_table,
    LIFE: drawings,
    CLIENTS: clients.table,
    DEPLOY: deployment.table,
    SCALE: scale.tables,
    OBSERVABILITY: telemetry,
}
"""The pages, and what is written into each."""


def host_values(node: Any = None, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of host.json as it ships by its path, as the page spells it."""
    node = json.loads(host_json_of(ROOT, find_profile(DEFAULT))) if node is None else node
    if not isinstance(node, dict):
        yield path, json.dumps(node)
        return
    for name, value in node.items():
        yield from host_values(value, f"{path}.{name}" if path else name)


def written(page: str, tables: str) -> str:
    """The page with its tables as they should be. Raises ``ValueError`` when it has no place for them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{tables}{end}{after}"


def pages() -> dict[Path, str]:
    """The pages as they should be."""
    return {page: written(page.read_text("utf-8"), tables()) for page, tables in PAGES.items()}


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) and value < 1e6 else f"`{value}`"
