"""The table of OpenAI clients in docs/clients.md, from what the tests have measured of each.

`DORMOUSE_TEST_RECORD=1 python3 dev.py test --all tests/acceptance/test_openai_stacks.py`, and the same with
`test_openai_dotnet.py`, measure anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

MEASURED = Path(__file__).parent / "measured"
"""A file for each client."""

STEPS = {
    "text": "text",
    "stream": "stream",
    "helper": "stream helper",
    "turns": "two turns",
    "system": "instructions",
    "options": "options",
    "tools": "its own tools",
    "tools_first": "tools first",
    "lost": "lost answers",
    "failed": "a failed run",
}
"""The columns of the table."""


ALSO = {
    "turns": ("turns_unstored", "with `store: false`"),
    "lost": ("lost_key", "with an `Idempotency-Key`"),
    "failed": ("failed_stream", "streamed,"),
}
"""Steps that stand in the column of another: what the client's user has to set for them."""


class Measured(TypedDict):
    """What came of the steps of one client."""

    client: str
    version: str
    steps: dict[str, Any]
    """`yes`; for `lost` and `lost_key` the number of runs; for `failed` what the user sees; a refusal is an object."""


def all_measured() -> list[Measured]:
    """What was measured of each client, by their names."""
    found: list[Measured] = [json.loads(file.read_text("utf-8")) for file in sorted(MEASURED.glob("*.json"))]
    return sorted(found, key=lambda each: each["client"].lower())


def table() -> str:
    """Both tables in Markdown: what works, and what is refused and why."""
    rows, refusals = [], dict[tuple[str, str, str], list[str]]()
    for each in all_measured():
        name = f"{each['client']} {each['version']}"
        rows.append(f"| {name} | {' | '.join(_cell(step, each['steps']) for step in STEPS)} |")
        for step, value in each["steps"].items():
            if isinstance(value, dict):
                refusals.setdefault((STEPS.get(step, step), value["code"], value["message"]), []).append(
                    name.partition(" with ")[0]
                )
    lines = [f"| client | {' | '.join(STEPS.values())} |", "|---" * (len(STEPS) + 1) + "|", *rows, ""]
    if refusals:
        lines += [
            "What the app refuses, and the sentence that the client shows:",
            "",
            "| what | `code` | what the client is shown | whose |",
            "|---|---|---|---|",
        ]
        lines += [f"| {what} | `{code}` | {why} | {', '.join(by)} |" for (what, code, why), by in refusals.items()]
        lines.append("")
    return "\n".join([*lines, ""])


def _cell(step: str, steps: Mapping[str, Any]) -> str:
    value = steps.get(step)
    if value is None:
        return "–"
    if isinstance(value, dict):
        cell = "refused"
    else:
        cell = _runs(value) if isinstance(value, int) else str(value)
    other, how = ALSO.get(step, ("", ""))
    if other not in steps:
        return cell
    return f"{cell}; {how} {_cell(other, steps)}"


def _runs(number: int) -> str:
    return "one run" if number == 1 else f"{number} runs"
