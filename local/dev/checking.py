"""`dev.py check`: format, lint, types, what is generated, and nothing of this machine in the files."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from local import ROOT
from local.stack.setup import display_path, ensure_venv, print_now

PYTHON_CLIENT = "clients/python"
"""It runs on older Pythons than the app, so its types are checked by settings of its own."""

LOCAL_HOSTS = {"localhost", "127.0.0.1"}


def registry_hosts(texts: Iterable[str]) -> set[str]:
    """The host names in the settings of pip and npm: no file is to name any of them, public or not."""
    found = {match.lower() for text in texts for match in re.findall(r"https?://(?:[^@/\s'\"]*@)?([\w.-]+)", text)}
    # Tests and docs name the local ones everywhere.
    return found - LOCAL_HOSTS


def leaks(text: str, hosts: Iterable[str], home: str = str(Path.home())) -> list[str]:
    """What in a file reveals the machine that it was written on: registries, and paths of a person."""
    lowered = text.lower()
    found = [f"the registry host {host}" for host in sorted(hosts) if host in lowered]
    # npm writes the registry of the machine that made the lock file.
    if re.search(r'"resolved": *"https?:', text):
        found.append("a registry address in a lock file (npm install --omit-lockfile-registry-resolved)")
    paths = r"(?<![\w/.:$}>-])(?:/(?:home|Users)/(?!site/)[\w.-]+/|/(?:root)/)|\b[A-Za-z]:\\{1,2}Users\\"
    if re.search(paths, text) or (home.count("/") > 1 and home + "/" in text and not home.startswith("/home/site")):
        found.append("an absolute home path")
    return found


def configured_registries(python: Path) -> set[str]:
    """The registries that pip and npm use here."""
    commands = [[str(python), "-m", "pip", "config", "list"]]
    if npm := shutil.which("npm"):
        commands.append([npm, "config", "get", "registry"])
    return registry_hosts(subprocess.run(c, capture_output=True, text=True, check=False).stdout for c in commands)


def check_files(python: Path) -> int:
    """Look through every file that is, or would be, tracked."""
    # NUL between the names: others may hold blanks and quotes.
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        print_now("  not a git checkout: skipped")
        return 0
    hosts, bad = configured_registries(python), 0
    # A file that was deleted but not committed is still listed.
    for file in filter(Path.is_file, (ROOT / name for name in listed.split("\0") if name)):
        for leak in leaks(file.read_text("utf-8", errors="ignore"), hosts):
            print_now(f"  {display_path(file)}: {leak}")
            bad = 1
    return bad


def check(options: argparse.Namespace) -> int:
    """Format, lint, types, and nothing of this machine in the files."""
    python = ensure_venv(options.venv)
    tool = [str(python), "-m"]
    steps = [
        ("format", [*tool, "ruff", "format", *([] if options.fix else ["--check"]), "."]),
        ("lint", [*tool, "ruff", "check", *(["--fix"] if options.fix else []), "."]),
        ("types", [*tool, "mypy"]),
        (
            "types of the Python client",
            [*tool, "mypy", "--config-file", f"{PYTHON_CLIENT}/pyproject.toml", f"{PYTHON_CLIENT}/src"],
        ),
        ("types of the page", [*tool, "local.packaging.page_types"]),
        ("deployment", [*tool, "local.infra", *(["--fix"] if options.fix else [])]),
        ("contract", [*tool, "local.openapi", *([] if options.fix else ["--check"])]),
    ]
    github = ROOT / ".github"
    flows = [str(file) for file in sorted((github / "workflows").glob("*.y*ml"))]
    forms = [str(github / "ISSUE_TEMPLATE" / name) for name in ("bug.yml", "idea.yml")]
    shaped = {"dependabot": [str(github / "dependabot.yml")], "github-issue-forms": forms, "github-workflows": flows}
    for schema, files in shaped.items():
        command = [*tool, "check_jsonschema", "--builtin-schema", f"vendor.{schema}", "--quiet", *files]
        steps.append((schema, command))
    steps.append(("workflows' security", [str(python.with_name("zizmor")), "--offline", "--quiet", *flows]))
    bad = []
    for name, command in steps:
        print_now(f"- {name}")
        # All steps run, whatever fails: one round shows everything that is to be mended.
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            bad.append(name)
    print_now("- files")
    if check_files(python):
        bad.append("files")
    print_now(f"check: {', '.join(bad)} failed" if bad else "check: all is well")
    return 1 if bad else 0
