"""The entries of the contract, one file a resource. Each file has a tuple ``OPERATIONS``; all of them are read."""

from __future__ import annotations

import importlib
import pkgutil

from local.openapi.operation import Operation


def operations() -> dict[str, Operation]:
    """All entries by function name."""
    modules = [importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]
    found: list[Operation] = [operation for module in modules for operation in module.OPERATIONS]
    if len(found) != len({each.function for each in found}):
        raise ValueError("a function has two entries in the contract")
    return {each.function: each for each in found}
