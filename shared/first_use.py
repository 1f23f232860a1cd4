"""Modules that wait for the first call that needs them.

A new worker imports `function_app.py` before it serves anything. What only some calls need is imported by the first of
them: ``__init__.py`` of such a folder has ``submodules`` as its ``__getattr__`` (PEP 562), and its modules are reached
through it (``native.runs.get_run``). Names of a folder and not modules that load themselves when they are touched: the
worker looks at every name in `function_app.py`, and that would load them all.

What is imported, at the start or later, stays for good: it is imported and made ``uncollected``.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection in the block, and none of what is there at its end is ever looked through again."""
    # In blocks within blocks, and of two threads, the first one switches it on again.
    is_first = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Else each look through all modules is a pause of 50 to 100 ms for everybody.
        gc.freeze()
        if is_first:
            gc.enable()


def submodules(folder: str) -> Callable[[str], ModuleType]:
    """A ``__getattr__`` for the package of this name, which imports the module that is asked for."""

    def load(name: str) -> ModuleType:
        module = f"{folder}.{name}"
        try:
            with uncollected():
                return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise AttributeError(f"module {folder!r} has no attribute {name!r}") from None

    return load
