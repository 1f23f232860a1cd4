"""The walls of the house: who may import whom, who may read the environment, how long a file may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from local import ROOT

MOST_LINES = 400
LONGER = {"shared/runs/store/azure.py": 450, "shared/settings.py": 640}
"""Files that are over it, and how far. The settings are a table, four lines a setting, and stay in one piece."""

GROUND = {"settings", "errors"}
MAY_IMPORT = {
    "errors": set[str](),
    "settings": {"errors"},
    "agentkit": GROUND,
    "agents": {"agentkit", *GROUND},
    "runs": {"agentkit", *GROUND},
    "outbound": {"runs", *GROUND},
    "drivers": {"runs", "agentkit", *GROUND},
    "api": {"drivers", "runs", "agentkit", "wiring", *GROUND},
    "wiring": {"agents", "drivers", "outbound", "runs", "agentkit", *GROUND},
}
"""The parts of ``shared`` and what each may know besides itself: arrows point down. ``wiring`` puts them together."""

ONLY_IMPORTER = {
    "azure.data.tables": {"shared/runs/store/azure.py"},
    "azure.durable_functions": {"shared/drivers/durable.py"},
    "azure.identity": {"shared/wiring.py"},
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


def part_of(module: str) -> str:
    """The part of ``shared`` that a module belongs to; empty for ``shared`` itself."""
    return module.split(".")[1] if "." in module else ""


DEPLOYED = sources("shared", "function_app.py")
SHARED = sources("shared")


def test_what_ships_imports_nothing_that_does_not() -> None:
    for file in DEPLOYED:
        assert not {name.split(".")[0] for name in imports(file)} & {"local", "tests", "bench", "dev"}, name_of(file)


def test_arrows_point_down() -> None:
    for file in SHARED:
        part = part_of(".".join(file.relative_to(ROOT).with_suffix("").parts)).replace("__init__", "")
        used = {part_of(name) for name in imports(file) if name.split(".")[0] == "shared"} - {part}
        allowed = MAY_IMPORT.get(part, set())
        assert used <= allowed, f"{name_of(file)} imports {sorted(used)}; {part} may import {sorted(allowed)}"


def test_some_things_have_one_importer() -> None:
    for file in DEPLOYED:
        for module, importers in ONLY_IMPORTER.items():
            if any(name == module or name.startswith(f"{module}.") for name in imports(file)):
                folder = {importer.removesuffix(".py") for importer in importers}
                assert name_of(file) in importers or name_of(file.parent) in folder, f"{name_of(file)} imports {module}"


def test_the_face_reads_by_queries_and_writes_by_commands() -> None:
    for file in sources("shared/api"):
        stores = re.findall(r"\bports\.(?:runs|due|index|slots|batches)\b", file.read_text("utf-8"))
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
    for file in sources("shared", "local", "function_app.py", "dev.py"):
        lines = len(file.read_text("utf-8").splitlines())
        assert lines <= LONGER.get(name_of(file), MOST_LINES), f"{name_of(file)} has {lines} lines"


def test_no_part_of_shared_is_without_a_rule() -> None:
    parts = {file.relative_to(ROOT / "shared").parts[0].removesuffix(".py") for file in SHARED}
    assert parts - {"__init__"} <= MAY_IMPORT.keys()
