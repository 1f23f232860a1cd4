#!/usr/bin/env python3
"""What a developer's machine does with Dormouse: run, test, check, lock, package, bench, docs. Needs only Python."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - the system's Python may be older than the project's
    sys.exit(f"Dormouse needs Python 3.11 or newer; this is {sys.version.split()[0]}.")

from local import ROOT
from local.dev.benching import bench
from local.dev.checking import check
from local.dev.documenting import docs
from local.dev.programs import backup, restore, simulate
from local.dev.running import run
from local.dev.signals import interrupt, on_signals
from local.dev.testing import test
from local.dev.versions import RESOLUTIONS
from local.packaging.javascript import build_javascript
from local.packaging.lock import update_locks, update_node_locks
from local.packaging.package import PYTHON_VERSION, build_package, report
from local.packaging.page import VENDOR, make_vendor
from local.packaging.profiles import BACKENDS, DEFAULT, PROFILE_VARIABLE, find_profile, use_profile
from local.packaging.profiles import report as report_profile
from local.packaging.python_client import build_wheel
from local.packaging.sbom import report as report_bills
from local.packaging.sbom import write_bills
from local.prove.command import add_prove_options, prove
from local.stack import StackError
from local.stack.node import find_node
from local.stack.setup import ensure_venv, print_now

# --- lock, package ------------------------------------------------------------------------------------


def lock(options: argparse.Namespace) -> int:
    """Pin the packages that each requirements.in and package.json allow, and make `web/vendor` from them."""
    changed = update_locks(ensure_venv(options.venv), upgrade=options.upgrade)
    changed += update_node_locks(find_node(options.venv))
    changed += [f"web/vendor/{name}" for name in make_vendor(find_node(options.venv), VENDOR)]
    print_now(f"lock: {', '.join(changed)} changed" if changed else "lock: all is as it was")
    return 0


def package(options: argparse.Namespace) -> int:
    """Build what can be deployed as it is."""
    python = ensure_venv(options.venv)
    print_now(f"- packing for Linux x86-64 and Python {options.python_version}")
    profile = find_profile(options.profile)
    built = build_package(
        python,
        options.out,
        version=options.python_version,
        bytecode=not options.no_bytecode,
        profile=profile,
        backend=options.backend,
        say=print_now,
    )
    print_now(report(built))
    print_now(report_profile(profile, options.backend or profile.backend))
    tools = find_node(options.venv)
    wheel, tarball = build_wheel(python, options.out.parent), build_javascript(tools, options.out.parent)
    print_now(f"Python client: {wheel}\nJavaScript client: {tarball}")
    print_now(report_bills(write_bills(python, tools, options.out, wheel, tarball)))
    return 0


# --- the command line ---------------------------------------------------------------------------------


def port_number(text: str) -> int:
    """The port that an option names. Raises ``ArgumentTypeError``."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="dev.py", description=__doc__, epilog="The pages: docs/README.md.")
    names = "run|test|check|prove|lock|profile|package|bench|docs|simulate|backup|restore"
    commands = top.add_subparsers(required=True, metavar=names)

    def add(name: str, action: Callable[[argparse.Namespace], int], text: str, more: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=f"{text}. {more}")
        command.set_defaults(action=action)
        folder = "virtual environment to use, made when missing (default: .venv)"
        command.add_argument("--venv", type=Path, default=ROOT / ".venv", metavar="DIR", help=folder)
        return command

    what = "Sets up what is missing, starts Azurite, a scripted model and the functions host; Ctrl-C stops all."
    command = add("run", run, "run the app here", what)
    command.add_argument("--port", type=port_number, default=7071, help="port of the app (default: 7071)")
    command.add_argument("--driver", choices=("durable", "timer"), help="what wakes the runs (default: the settings')")
    kept = "where Azurite keeps its data between runs (default: .dormouse/data)"
    command.add_argument("--data", type=Path, default=ROOT / ".dormouse" / "data", metavar="DIR", help=kept)
    command.add_argument("--fresh", action="store_true", help="remove what Azurite has kept there before")
    choice = "the small host of local/, or Core Tools (default: Core Tools when `func` is on PATH)"
    command.add_argument("--host", choices=("local", "func"), help=choice)
    command.add_argument("--think", type=float, metavar="SECONDS", help="how long the scripted model thinks")
    command.add_argument("--traces", action="store_true", help="show the trace of each run that has ended, as a tree")

    command = add("test", test, "run the tests", "Sets up what is missing. Further arguments go to pytest.")
    tiers = command.add_mutually_exclusive_group()
    tiers.add_argument("--quick", action="store_true", help="only the unit and contract tests, after each change")
    tiers.add_argument("--all", action="store_true", help="the slow tests too")
    command.add_argument("--against", metavar="URL", help="only what needs nothing but HTTP, against a host that runs")
    command.add_argument("--key", help="with --against: the function key of that host")
    these = "with the lowest or the newest versions that requirements.in allows, in place of the lock's"
    command.add_argument("--versions", choices=RESOLUTIONS, help=these)

    command = add("check", check, "check format, lint, types and files", "Exits with 1 when any of them fails.")
    command.add_argument("--fix", action="store_true", help="format, fix, and write what is generated")

    what = (
        "Each part prints one line with its figure. Without a part: all but the soak. Fails on a "
        "violation, on a point left out, or on fewer than asked."
    )
    command = add("prove", prove, "show that nothing is lost and nothing done twice, in figures", what)
    add_prove_options(command)

    what = "Versions and hashes of all that is installed from PyPI and npm, for every system and Python."
    command = add("lock", lock, "write every lock file anew", what)
    command.add_argument("--upgrade", action="store_true", help="take the newest versions that the .in files allow")

    def add_backend(command: argparse.ArgumentParser) -> None:
        kept = "where orchestrations are kept: storage, or the Durable Task Scheduler (default: the profile's)"
        command.add_argument("--backend", choices=BACKENDS, help=kept)

    what = "Prints what is to be set beside it. azd calls this before it packs."
    command = add("profile", use_profile, "write host.json as a profile of infra/profiles.json has it", what)
    given = f"small, medium or large (default: {PROFILE_VARIABLE}, else {DEFAULT})"
    command.add_argument("name", nargs="?", metavar="NAME", help=given)
    add_backend(command)

    what = (
        "A folder and a zip with all dependencies, for `func azure functionapp publish --no-build`; the client's wheel."
    )
    command = add(
        "package", package, "make what can be deployed without a build in Azure, and the client's wheel", what
    )
    folder = "where to build; the zip and the wheel go beside it (default: .dormouse/package)"
    command.add_argument("--out", type=Path, default=ROOT / ".dormouse" / "package", metavar="DIR", help=folder)
    version = f"the app's Python in Azure (default: {PYTHON_VERSION})"
    command.add_argument("--python-version", default=PYTHON_VERSION, metavar="3.N", help=version)
    command.add_argument("--no-bytecode", action="store_true", help="leave the bytecode out: smaller, slower to start")
    chosen = f"small, medium or large: whose host.json goes into the package (default: {DEFAULT})"
    command.add_argument("--profile", default=DEFAULT, metavar="NAME", help=chosen)
    add_backend(command)

    what = "Side by side in one run, in an environment with the peers; exits with 1 when one of them did not run."
    command = add("bench", bench, "measure the app beside what a user would pick instead", what)
    command.add_argument("rows", nargs="*", type=int, metavar="ROW", help="rows of the table by number (default: all)")
    small = "small sizes: shows that all of it works, and gives no figures"
    command.add_argument("--quick", action="store_true", help=small)
    written = "where the results are written when all rows are measured (default: bench/RESULTS.md)"
    command.add_argument("--out", type=Path, metavar="FILE", help=written)

    what = "From the Markdown files, where they are. A link that leads nowhere, or any other warning, is an error."
    command = add("docs", docs, "make the docs' site", what)
    built = "where to build it (default: .dormouse/docs)"
    command.add_argument("--out", type=Path, default=ROOT / ".dormouse" / "docs", metavar="DIR", help=built)
    shown = "show it on this machine until Ctrl-C (default: port 8000)"
    command.add_argument("--serve", type=port_number, nargs="?", const=8000, metavar="PORT", help=shown)

    programs: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
        "simulate": (simulate, "how far a deployment goes, and what that costs"),
        "backup": (backup, "copy the rows of the app into a folder"),
        "restore": (restore, "write the rows of a backup into tables"),
    }
    for name, (action, text) in programs.items():
        commands.add_parser(name, help=text, add_help=False).set_defaults(action=action, venv=ROOT / ".venv")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    command_line = parser()
    options, rest = command_line.parse_known_args(arguments)
    if rest and options.action not in (test, simulate, backup, restore):
        command_line.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = [argument for argument in rest if argument != "--"]
    for name in ("venv", "data", "out"):
        if folder := getattr(options, name, None):
            setattr(options, name, folder.resolve())
    on_signals(interrupt)
    # Compiled files are kept whatever the shell says: without them each host compiles the app anew as it starts.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        return int(options.action(options))
    except StackError as error:
        print(f"dev.py: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("dev.py: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
