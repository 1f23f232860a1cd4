"""References to items of earlier responses, which some clients send in place of the items themselves."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from shared.api.openai.objects import input_items, output_items
from shared.api.openai.parameters import too_large
from shared.errors import ItemNotFound, RunNotFound
from shared.runs.concurrency import side_by_side
from shared.runs.model.ids import run_id
from shared.runs.queries.conversation import input_of, open_calls_of, turn_texts
from shared.runs.queries.runs import run_of_owner
from shared.wiring import App

READS = 8
"""Responses that are read side by side: their texts are in memory together."""

# As `message_id`, `call_object` and `input_items` make them: each item has one id only.
_ITEM_ID = re.compile(r"(?:msg|fco?)_([0-9a-f]{32})_([1-9][0-9]{0,7})_(in)?(?:0|[1-9][0-9]{0,5})", re.ASCII)

Found = dict[str, Mapping[str, Any]]
"""Items by their ids."""


async def with_referred_items(given: Sequence[Any], owner: str, app: App, *, param: str = "input") -> list[Any]:
    """The input with the item itself in the place of each reference to one, as if the caller had sent it.

    Raises ``ItemNotFound`` for one that is not there or another owner's, ``InputTooLarge``.
    """
    places = {place: _id_of(item) for place, item in enumerate(given) if _is_reference(item)}
    # By response: each is read once, however many of its items are referred to, and however often.
    by_run: dict[str, list[str]] = defaultdict(list)
    for place, name in places.items():
        match = _ITEM_ID.fullmatch(name)
        if match is None:
            raise _not_found(name, f"{param}[{place}].id")
        by_run[run_id(match[1], int(match[2]))].append(name)
    runs, found, size = list(by_run), Found(), 0
    for start in range(0, len(runs), READS):
        some = runs[start : start + READS]
        for items in await side_by_side(some, lambda run: _items_of(run, by_run[run], owner, app), at_once=READS):
            found |= items
        # Before more is read: a short reference may stand for a long text, and many for the same one.
        size += sum(_size_of(found[name]) for run in some for name in by_run[run] if name in found)
        if size > app.settings.max_input_bytes:
            raise too_large(app.settings.max_input_bytes)
    for place, name in places.items():
        if name not in found:
            raise _not_found(name, f"{param}[{place}].id")
    return [found[places[place]] if place in places else item for place, item in enumerate(given)]


def _not_found(name: str, param: str) -> ItemNotFound:
    # One error for all: nobody learns which ids other callers have.
    return ItemNotFound(
        f"There is no item {name[:120]!r} here that you may refer to: it must be of a response of yours that has ended "
        "and is not deleted. Send the item itself instead.",
        param=param,
    )


def _is_reference(item: Any) -> bool:
    # In OpenAI's own API the type of a reference may be left out.
    return isinstance(item, dict) and (
        item.get("type") == "item_reference" or (item.get("type") is None and item.keys() - {"type"} == {"id"})
    )


def _id_of(reference: Mapping[str, Any]) -> str:
    name = reference.get("id")
    return name if isinstance(name, str) else ""


async def _items_of(run_name: str, wanted: Sequence[str], owner: str, app: App) -> Found:
    """Those of the wanted items, of what was asked and answered, that the response has."""
    asked = [name for name in wanted if "_in" in name]
    try:
        run = await run_of_owner(app.ports, run_name, owner)
        # Before the end its output is empty, and what a stream has of it may yet change.
        if not run.terminal:
            return {}
        items: Found = {}
        if asked:
            items |= {item["id"]: item for item in input_items(run, await input_of(app.ports, run))}
        if len(asked) < len(wanted):
            turns, calls = await turn_texts(app.ports, run), await open_calls_of(app.ports, run)
            items |= {item["id"]: item for item in output_items(run, turns, calls)}
    except RunNotFound:
        return {}
    return {name: items[name] for name in wanted if name in items}


def _size_of(item: Mapping[str, Any]) -> int:
    if "content" not in item:
        return len(json.dumps(item))
    # Marks on a text are left behind: only words count, and whatever is no words as a whole.
    words = [part.get("text") or part.get("refusal") or json.dumps(part) for part in item["content"]]
    return sum(len(each.encode("utf-8", "replace")) for each in words)
