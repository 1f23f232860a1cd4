"""Every place in the source from which the app can have an effect: a call of a port that changes something."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from local import ROOT

SHARED = ROOT / "shared"
STORE = SHARED / "runs" / "store"

STORES = {
    "RunStore": "runs",
    "BatchStore": "batches",
    "DueStore": "due",
    "IndexStore": "index",
    "SlotStore": "slots",
    "ScheduleStore": "schedules",
    "Tries": "tries",
    "HistoryStore": "history",
    "ControlStore": "controls",
}
"""The classes that write rows, and how their owners call them."""

_HUB = {"start_if_absent", "wake", "start_step", "start_polls", "purge_before"}
_COMMANDS = {"POST": "provider.cancel", "DELETE": "provider.delete", "GET": "provider.look"}
_OTHERS = {
    "sender.send": "callback.send",
    "tool.invoke": "tool.invoke",
    "_provider.send": "provider.create",
    "_provider.query": "provider.look",
}


@cache
def writing_methods() -> frozenset[str]:
    """The methods of the stores that write, as ``runs.save``."""
    found: set[str] = set()
    for file in sorted(STORE.glob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in STORES:
                found |= {f"{STORES[node.name]}.{name}" for name in _writing(node)}
    return frozenset(found)


def effect_sites() -> frozenset[str]:
    """Every call that has an effect, as ``runs/commit.py:_write:runs.save``: file, function, effect."""
    return frozenset(
        f"{file.relative_to(SHARED).as_posix()}:{function}:{effect}"
        for file in sorted(SHARED.rglob("*.py"))
        if STORE not in file.parents
        for function, effect in _effects(ast.parse(file.read_text("utf-8")))
    )


def _writing(store: ast.ClassDef) -> set[str]:
    """The methods of a store that write, by themselves or by way of another."""
    methods = {node.name: node for node in store.body if isinstance(node, ast.AsyncFunctionDef)}
    writing: set[str] = set()
    while True:
        more = {
            name
            for name, node in methods.items()
            if name not in writing and any(_writes(call, writing) for call in _calls(node))
        }
        if not more:
            return {name for name in writing if not name.startswith("_")}
        writing |= more


def _writes(call: str, writing: set[str]) -> bool:
    return call in {"self._tables.commit", "parts.store_text"} or call.removeprefix("self.") in writing


def _calls(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Call):
            yield ast.unparse(each.func)


def _effects(module: ast.Module) -> Iterator[tuple[str, str]]:
    """The functions and methods of a module that have effects, with these."""
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                for effect in _effects_in(method):
                    yield f"{node.name}.{getattr(method, 'name', '')}", effect
        else:
            for effect in _effects_in(node):
                yield getattr(node, "name", ""), effect


def _effects_in(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and (effect := _effect(each)):
            yield effect


def _effect(call: ast.Call) -> str | None:
    called = ast.unparse(call.func)
    last_two = ".".join(called.split(".")[-2:])
    owner, _, method = last_two.rpartition(".")
    if "ports." in called and last_two in writing_methods():
        return last_two
    if owner == "hub" and method in _HUB:
        return last_two
    if last_two == "_provider.command":
        return _COMMANDS[next(ast.literal_eval(each.value) for each in call.keywords if each.arg == "method")]
    return _OTHERS.get(last_two)
