"""What the commands that compare checkouts of the app have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def parser(what: str, *, rounds: int) -> argparse.ArgumentParser:
    """A command line with `--app`, `--driver` and `--rounds`, of which `rounds` is the default."""
    made = argparse.ArgumentParser(description=what)
    made.add_argument(
        "--app",
        action="append",
        default=[],
        type=lambda given: Path(given).resolve(),
        help="a checkout of the app, to be named again for another; default: this one",
    )
    made.add_argument("--driver", choices=["durable", "timer"], default="durable")
    made.add_argument("--rounds", type=int, default=rounds, help=f"how often each is measured (default: {rounds})")
    return made


def apps(options: argparse.Namespace) -> list[Path]:
    """The checkouts to measure."""
    return options.app or [ROOT]
