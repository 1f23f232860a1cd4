"""The phases and facts of runs and batches, drawn from the tables that decide."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from shared.runs.model.batch import Cancelling, Deleted, Running
from shared.runs.model.batch import Ended as BatchEnded
from shared.runs.model.phases import Creating, Scheduled
from shared.runs.rules.batch import BATCH_TABLE
from shared.runs.rules.decide import PHASES, TABLE, may_lead_to

BATCH_PHASES = (Running, Cancelling, BatchEnded, Deleted)
BEGINS = (Creating, Scheduled)
Leads = Callable[[type, type], tuple[type, ...]]


def drawings() -> str:
    """Both life cycles in Markdown: a drawing of what leads from phase to phase, then every fact in a table."""
    runs = _life(PHASES, BEGINS, tuple(TABLE), may_lead_to)
    batches = _life(
        BATCH_PHASES, (Running,), tuple(BATCH_TABLE), lambda fact, phase: BATCH_TABLE[fact].leads.get(phase, ())
    )
    return f"## A run\n\n{runs}\n## A batch\n\n{batches}\n"


def _life(phases: tuple[type, ...], begins: tuple[type, ...], facts: tuple[type, ...], leads: Leads) -> str:
    arrows: dict[tuple[str, str], list[str]] = {}
    for fact in facts:
        for phase in phases:
            for after in leads(fact, phase):
                if after is not phase:
                    arrows.setdefault((phase.__name__, after.__name__), []).append(fact.__name__)
    drawn = "\n".join(f"    {before} --> {after}: {_short(names)}" for (before, after), names in arrows.items())
    rows = "\n".join(f"| `{fact.__name__}` | {_sentence(fact)} | {_where(fact, phases, leads)} |" for fact in facts)
    starts = "\n".join(f"    [*] --> {phase.__name__}" for phase in begins)
    head = "| fact | what happened | in which phase, and what it may leave |\n|---|---|---|"
    return f"```mermaid\nstateDiagram-v2\n{starts}\n{drawn}\n```\n\n{head}\n{rows}\n"


def _short(names: list[str]) -> str:
    return ", ".join(names)


def _sentence(fact: type) -> str:
    """The first sentence of its docstring."""
    text = " ".join((fact.__doc__ or "").split())
    return re.split(r"(?<=[.:]) ", text)[0].rstrip(":")


def _where(fact: type, phases: tuple[type, ...], leads: Leads) -> str:
    found: Mapping[str, list[str]] = {
        phase.__name__: [after.__name__ for after in after_all] for phase in phases if (after_all := leads(fact, phase))
    }
    return "; ".join(_move(name, after) for name, after in found.items())


def _move(name: str, after: list[str]) -> str:
    others = [each for each in after if each != name]
    stays = f"{name}" if name in after else f"{name} → {', '.join(others)}"
    return stays if name not in after or not others else f"{name} (→ {', '.join(others)})"
