"""The walls of the house: who may import whom, who may read the environment, how long a file may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from local import ROOT

MAX_LINES = 400
LONGER = {
    "shared/settings.py": 750,
    "shared/errors.py": 550,
    "function_app.py": 550,
    "clients/python/src/dormouse_client/contract.py": 2_200,
}
"""Files that are over it, and how far. Settings, errors and triggers are tables, a few lines an entry, and stay in one
piece; the contract is written by a program."""

GROUND = {"settings", "errors"}
MAY_IMPORT = {
    "errors": set[str](),
    "setting_values": set[str](),
    "settings": {"errors", "setting_values"},
    "first_use": set[str](),
    "certificates": set[str](),
    "agentkit": GROUND,
    "agents": {"agentkit", *GROUND},
    "telemetry": set[str](),
    "runs": {"agentkit", "telemetry", *GROUND},
    "outbound": {"runs", *GROUND},
    "sealing": {"runs", *GROUND},
    "drivers": {"runs", "agentkit", "telemetry", "first_use", "certificates", *GROUND},
    "api": {"drivers", "runs", "agentkit", "wiring", "first_use", "telemetry", *GROUND},
    "wiring": {
        *("agents", "first_use", "drivers", "outbound", "sealing", "runs", "agentkit", "setting_values", "telemetry"),
        *GROUND,
    },
}
"""The parts of ``shared`` and what each may know besides itself: arrows point down. ``wiring`` puts them together."""

BELOW_ACTIONS = {
    "model",
    "rules",
    "store",
    "ports",
    "log",
    "commit",
    "listing",
    "concurrency",
    "execution",
    "interruptions",
    "tracebacks",
    "traces",
    "metrics",
    "contents",
}
MAY_IMPORT_IN_RUNS = {
    "model": set[str](),
    "concurrency": set[str](),
    "execution": set[str](),
    "interruptions": set[str](),
    "rules": {"model"},
    "store": {"model", "concurrency"},
    "tracebacks": set[str](),
    "pending": {"model", "store"},
    "log": {"tracebacks"},
    "ports": {"model", "store", "interruptions", "log", "pending"},
    "listing": {"model", "store", "ports", "concurrency"},
    "metrics": {"model", "rules", "ports"},
    "contents": set[str](),
    "traces": {"model", "ports", "metrics", "contents"},
    "commit": {"model", "rules", "store", "ports", "listing", "concurrency", "execution", "traces"},
    "actions": BELOW_ACTIONS,
    "commands": {"actions", *BELOW_ACTIONS},
    "batches": {"commands", "actions", *BELOW_ACTIONS},
    "schedules": {"commands", "actions", *BELOW_ACTIONS},
    "owners": {"batches", "schedules", "commands", "actions", *BELOW_ACTIONS},
    "queries": {"model", "rules", "store", "ports", "concurrency"},
    "watching": {"model", "rules", "store", "ports", "concurrency"},
}
"""The same inside ``shared/runs``. What reads for a caller or a viewer commits nothing."""

ONLY_IMPORTER = {
    "azure.data.tables": {
        f"shared/runs/store/{name}.py" for name in ("azure", "azure_failures", "entity_group", "plain_answers")
    },
    "azure.durable_functions": {"shared/drivers/durable.py"},
    "azure.identity": {"shared/wiring.py"},
    "cryptography": {"shared/sealing"},
    "jwt": {"shared/api/run_tokens.py"},
    "opentelemetry": {"shared/telemetry/exporting.py"},
    "openai": {"shared/agentkit/provider.py", "shared/agentkit/provider_errors.py"},
}
"""What only some may import; a folder of the same name (``azure/``) would count as the file."""


def sources(*tops: str) -> list[Path]:
    """The Python files of these folders and files."""
    return sorted(
        file for top in tops for file in ((ROOT / top).rglob("*.py") if (ROOT / top).is_dir() else [ROOT / top])
    )


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@cache
def imports(file: Path) -> tuple[str, ...]:
    """The full names of everything that a file imports, wherever in it."""
    return tuple(_imports(file))


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name_of(file)} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def part_of(module: str, whole: str = "shared") -> str:
    """The part of ``shared``, or of a folder in it, that a module belongs to; empty for that itself and others."""
    return module.removeprefix(f"{whole}.").split(".")[0] if module.startswith(f"{whole}.") else ""


DEPLOYED = sources("shared", "function_app.py")
SHARED = sources("shared")
MODULES = {module_of(file): file for file in SHARED}


def is_folder(module: str) -> bool:
    return MODULES[module].name == "__init__.py"


def test_what_ships_imports_nothing_that_does_not() -> None:
    for file in DEPLOYED:
        assert not {name.split(".")[0] for name in imports(file)} & {"local", "tests", "bench", "dev", "examples"}, (
            name_of(file)
        )


def test_an_example_can_be_copied_without_the_app() -> None:
    for file in sources("examples"):
        used = {name.split(".")[0] for name in imports(file)}
        assert not used & {"function_app", "shared", "local", "tests", "bench", "dev"}, name_of(file)


@pytest.mark.parametrize(
    ("whole", "may_import"), [("shared", MAY_IMPORT), ("shared.runs", MAY_IMPORT_IN_RUNS)], ids=["shared", "runs"]
)
def test_arrows_point_down(whole: str, may_import: Mapping[str, set[str]]) -> None:
    for file in sources(whole.replace(".", "/")):
        part = part_of(module_of(file), whole)
        used = {part_of(name, whole) for name in imports(file)} - {part, ""}
        allowed = may_import.get(part, set())
        assert used <= allowed, f"{name_of(file)} imports {sorted(used)}; {part} may import {sorted(allowed)}"


def test_no_folders_of_shared_import_each_other_in_a_circle() -> None:
    uses = {room: set[str]() for room in map(room_of, map(module_of, SHARED))}
    for file in SHARED:
        used = {room_of(name) for name in imports(file) if name.startswith("shared.")}
        uses[room_of(module_of(file))] |= used & uses.keys()
    for room in uses:
        uses[room].discard(room)
    try:
        tuple(TopologicalSorter(uses).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def room_of(module: str) -> str:
    """The folder of a module, or of something in it. A file beside folders (``shared/runs/commit.py``) is its own."""
    while module not in MODULES:
        module = module.rpartition(".")[0]
    folder = module if is_folder(module) else module.rpartition(".")[0]
    return module if folder in ("shared", "shared.runs") else folder


def test_some_things_have_one_importer() -> None:
    for file in DEPLOYED:
        for module, importers in ONLY_IMPORTER.items():
            if any(name == module or name.startswith(f"{module}.") for name in imports(file)):
                folder = {importer.removesuffix(".py") for importer in importers}
                assert name_of(file) in importers or name_of(file.parent) in folder, f"{name_of(file)} imports {module}"


def test_the_face_reads_by_queries_and_writes_by_commands() -> None:
    for file in sources("shared/api"):
        stores = re.findall(r"\bports\.(?:runs|due|index|slots|batches|controls)\b", file.read_text("utf-8"))
        assert stores == [], name_of(file)


def test_only_the_settings_read_the_environment() -> None:
    for file in DEPLOYED:
        if name_of(file) == "shared/settings.py":
            continue
        tree = ast.parse(file.read_text("utf-8"))
        reads = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in READERS]
        assert reads == [], name_of(file)
        assert {name for name in imports(file) if name.removeprefix("os.") in READERS} == set(), name_of(file)


READERS = {"environ", "environb", "getenv", "getenvb"}


def test_a_file_can_be_read_at_one_sitting() -> None:
    for file in sources("shared", "local", "clients", "examples", "function_app.py", "dev.py"):
        lines = len(file.read_text("utf-8").splitlines())
        assert lines <= LONGER.get(name_of(file), MAX_LINES), f"{name_of(file)} has {lines} lines"


@pytest.mark.parametrize(
    ("whole", "may_import"), [("shared", MAY_IMPORT), ("shared.runs", MAY_IMPORT_IN_RUNS)], ids=["shared", "runs"]
)
def test_no_part_is_without_a_rule(whole: str, may_import: Mapping[str, set[str]]) -> None:
    parts = {part_of(module_of(file), whole) for file in sources(whole.replace(".", "/"))}
    assert parts - {""} <= may_import.keys()
