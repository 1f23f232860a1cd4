"""The bills of materials (CycloneDX) of what ships: each package with its version and its licence.

They are read from the packages as they were installed for Azure, not from the environment of a developer.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from local import ROOT
from local.packaging.package import PACKAGES, PYTHON_VERSION
from local.packaging.uv import run_uv
from local.stack.child import StackError
from local.stack.node import NodeTools, npm_environment
from local.stack.setup import ensure_environment

Bill = dict[str, Any]

REQUIREMENTS = ROOT / "local" / "packaging" / "cyclonedx" / "requirements.txt"
HOME = ROOT / ".dormouse" / "cyclonedx"
PAGE = ROOT / "local" / "packaging" / "page_npm"
"""Where the packages that are part of the page are named."""

SUFFIX = ".cdx.json"

ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",  # certifi: used as it is, so that nothing of ours has to be under it
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        # What packages say of themselves in words of the registry.
        "License :: Freely Distributable",
        "License :: OSI Approved",
        "License :: OSI Approved :: Apache Software License",
        "License :: OSI Approved :: BSD License",
        "License :: OSI Approved :: MIT License",
        "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
        "License :: Public Domain",
    }
)
"""Licences of what ships that ask for nothing but to be named. Another one is a decision: see `problems`."""


CONCLUDED = {
    "protobuf": "BSD-3-Clause",  # its metadata say "3-Clause BSD License", which is no identifier; so does its LICENSE
}
"""Licences that somebody has read, of packages that do not name them in words that a tool knows."""


def write_bills(python: Path, tools: NodeTools, package: Path, wheel: Path, tarball: Path) -> list[Path]:
    """Write a bill beside each file that ships, named like that; returns them.

    `python` belongs to a virtual environment with uv, `package` is the folder that was built.

    Raises:
        StackError: a package has a licence that is not allowed, or none; or a tool failed.
    """
    cyclonedx = ensure_environment("CycloneDX", REQUIREMENTS, HOME / python.parent.parent.name)
    app = of_python(cyclonedx, package / PACKAGES)
    app["components"] += of_npm(tools, PAGE)["components"]
    bills = {
        package.with_name(package.name + SUFFIX): app,
        wheel.with_name(wheel.name.removesuffix(".whl") + SUFFIX): _of_wheel(python, cyclonedx, wheel),
        tarball.with_name(tarball.name.removesuffix(".tgz") + SUFFIX): of_npm(tools, ROOT / "clients" / "js"),
    }
    for file, bill in bills.items():
        conclude(bill)
        if found := problems(bill):
            raise StackError(
                "\n".join([f"{file.name}: what ships may have the licences in {_place()}.", *found])
                + "\nTake another package; or, if its licence asks for no more than those, add it there and say why."
            )
        name, kind = ("dormouse", "application") if bill is app else ("dormouse-client", "library")
        reference = f"{name}@{version()}"
        bill["metadata"] = {"component": {"bom-ref": reference, "type": kind, "name": name, "version": version()}}
        file.write_text(json.dumps(bill, indent=1) + "\n", "utf-8", newline="\n")
    return [*bills]


def of_python(cyclonedx: Path, site: Path) -> Bill:
    """The bill of the packages in a folder. `cyclonedx` is an interpreter that has that tool."""
    # Apart from the tool's own packages, and without those of this machine: `-I` for the one, `-S` for the other.
    command = [cyclonedx, "-I", "-m", "cyclonedx_py", "environment", "-S", "--output-reproducible", sys.executable]
    with tempfile.TemporaryDirectory() as empty:
        return _read([str(part) for part in command], {**os.environ, "PYTHONPATH": str(site)}, Path(empty))


def of_npm(tools: NodeTools, folder: Path) -> Bill:
    """The bill of what a package.json and its lock name, without what only developers need."""
    flags = ["--sbom-format", "cyclonedx", "--package-lock-only", "--omit", "dev", "--omit", "peer"]
    command = [str(part) for part in (*tools.npm, "sbom", *flags, "--prefix", folder)]
    bill = _read(command, npm_environment(tools), folder)
    bill.setdefault("components", [])
    del bill["serialNumber"], bill["metadata"]  # another each time
    return bill


def version() -> str:
    """The app's version, which both clients have too."""
    project: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project["version"]


def conclude(bill: Bill) -> None:
    """Give the packages without a licence the one that somebody has read."""
    for each in bill["components"]:
        if each["name"] in CONCLUDED and not each.get("licenses"):
            each["licenses"] = [{"license": {"acknowledgement": "concluded", "id": CONCLUDED[each["name"]]}}]


def problems(bill: Mapping[str, Any]) -> list[str]:
    """The packages whose licence is not among those allowed, or that have none: a sentence each."""
    found = []
    for each in bill["components"]:
        named = f"{each['name']} {each['version']}"
        licences = licences_of(each)
        if not licences:
            found.append(f"{named} says nothing of its licence.")
        elif unknown := sorted(licences - ALLOWED):
            found.append(f"{named} is under {', '.join(unknown)}.")
    return found


def licences_of(component: Mapping[str, Any]) -> set[str]:
    """Every licence that a package names, whether it has all of them or leaves the choice."""
    found: set[str] = set()
    for each in component.get("licenses", ()):
        licence = each.get("license", {})
        named = each.get("expression") or licence.get("id") or licence.get("name") or ""
        found |= {part for part in re.split(r"\s+(?:AND|OR)\s+|[()]", named) if part} if "::" not in named else {named}
    return found


def report(files: Iterable[Path]) -> str:
    """What was written, for the person: how many packages are under which licence."""
    lines = []
    for file in files:
        components = json.loads(file.read_text("utf-8"))["components"]
        count = Counter(min(licences_of(each), key=len) for each in components)
        said = ", ".join(f"{number} {name}" for name, number in count.most_common())
        lines.append(f"Bill of materials: {file} ({len(components)} packages{f': {said}' if said else ''})")
    return "\n".join(lines)


def _of_wheel(python: Path, cyclonedx: Path, wheel: Path) -> Bill:
    with tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch) / "site"
        install: list[str | Path] = ["pip", "install", "--quiet", "--target", site, "--python-version", PYTHON_VERSION]
        run_uv(python, [*install, "--constraint", ROOT / "requirements.txt", wheel])
        for origin in site.glob("*.dist-info/direct_url.json"):
            origin.unlink()  # the file of this machine that the client was installed from
        return of_python(cyclonedx, site)


def _place() -> str:
    return f"ALLOWED of {Path(__file__).relative_to(ROOT).as_posix()}"


def _read(command: list[str], env: Mapping[str, str], folder: Path) -> Bill:
    answer = subprocess.run(command, cwd=folder, env=dict(env), capture_output=True, text=True, check=False)
    if answer.returncode:
        tail = "\n".join((answer.stderr or answer.stdout).strip().splitlines()[-15:])
        raise StackError(f"the bill of materials failed with exit code {answer.returncode}:\n{tail}")
    bill: Bill = json.loads(answer.stdout)
    return bill
