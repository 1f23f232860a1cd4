"""The locks: every package that may be installed, with its version and hashes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from local import ROOT
from local.packaging.uv import run_uv
from local.stack.child import LOGS
from local.stack.node import NodeTools, npm_environment
from local.stack.setup import run_step

OLDEST_PYTHON = "3.11"
IN_ENVIRONMENTS_OF_THEIR_OWN = (
    "bench",
    "docs/site",
    "local/packaging/cyclonedx",
    "local/third_party_server",
    "tests/acceptance/contract_python",
    "tests/acceptance/openai_python/openai_2",
    "tests/acceptance/openai_python/openai_3_3",
    "tests/acceptance/openai_python/openai_3_57",
    "tests/acceptance/worker_python",
    "tests/browser",
)
"""The folders with a requirements.in whose packages tests or benches install into an environment of their own."""

LOCKS = {
    "requirements.in": "requirements.txt",
    "requirements-dev.in": "requirements-dev.txt",
    **{f"{folder}/requirements.in": f"{folder}/requirements.txt" for folder in IN_ENVIRONMENTS_OF_THEIR_OWN},
    "clients/python/build-requirements.in": "clients/python/build-requirements.txt",
}
"""What a person writes, and the lock made from it. The second is locked to the first one's versions."""


def update_locks(python: Path, *, upgrade: bool = False, root: Path = ROOT) -> list[str]:
    """Lock again; returns the locks that changed. Versions stay as long as they fit, unless `upgrade`.

    Each lock holds for every system and for Python 3.11 and newer; where packages differ, by markers. Plain
    `pip install -r` reads it, which is what a remote build in Azure does.
    """
    changed = []
    for source, lock in LOCKS.items():
        before = (root / lock).read_bytes() if (root / lock).is_file() else b""
        with tempfile.TemporaryDirectory() as scratch:  # so that a failure leaves the lock as it was
            made = Path(scratch) / Path(lock).name
            made.write_bytes(before)
            command = ["pip", "compile", "--quiet", "--universal", "--generate-hashes"]
            command += ["--python-version", OLDEST_PYTHON, "--custom-compile-command", "python3 dev.py lock"]
            run_uv(python, [*command, *(["--upgrade"] if upgrade else []), source, "--output-file", made], cwd=root)
            if made.read_bytes() != before:
                (root / lock).write_bytes(made.read_bytes())
                changed.append(lock)
    return changed


NODE_PROJECTS = (
    "local",
    "clients/js",
    "docs/site",
    "local/packaging/page_npm",
    ".github/core-tools",
    "tests/acceptance/browser_npm",
    "tests/acceptance/contract_npm",
    "tests/acceptance/openai_npm",
)
"""The folders with a package.json, which names exact versions, and its package-lock.json."""


def update_node_locks(tools: NodeTools, *, root: Path = ROOT) -> list[str]:
    """Lock again what each package.json names; returns the locks that changed. No lock names a registry.

    Raises:
        StackError: npm failed; with the end of what it said.
    """
    changed = []
    for folder in NODE_PROJECTS:
        lock = root / folder / "package-lock.json"
        before = lock.read_bytes() if lock.is_file() else b""
        flags = ["--package-lock-only", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund"]
        command: list[str | Path] = [*tools.npm, "install", *flags, "--ignore-scripts", "--prefix", lock.parent]
        log = LOGS / f"npm-lock-{lock.parent.name}.log"
        run_step(f"locking what {folder}/package.json names", command, log, env=npm_environment(tools))
        if lock.read_bytes() != before:
            changed.append(f"{folder}/package-lock.json")
    return changed
