"""The command line of the host."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.host.app import LoadError
from local.host.clock import Clock, MovableClock, SystemClock
from local.host.host import Host
from local.host.http import Keys
from local.host.settings import SettingsError

_log = logging.getLogger("local.host")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
ADMIN_KEY_VARIABLE = "LOCAL_HOST_ADMIN_KEY"
"""Names the key of `/admin/…` and of the durable management routes."""
# At INFO each storage operation and each request to the model is a line.
NOISY_LOGGERS = ("azure", "httpx2")
"""Packages that log each request."""


def main(argv: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """Run the host until it is stopped; returns the exit code. `clock` wins over `--movable-clock`."""
    arguments = _parser().parse_args(argv)
    _log_to_stderr()
    chosen = clock or (MovableClock() if arguments.movable_clock else SystemClock())
    work = serve(
        arguments.app,
        port=arguments.port,
        address=arguments.bind,
        rpc_port=arguments.rpc_port,
        clock=chosen,
        keys=Keys(arguments.function_key, arguments.master_key),
        cors=arguments.cors,
        hosts=arguments.allow_host,
        admin_key=os.environ.get(ADMIN_KEY_VARIABLE),
    )
    try:
        asyncio.run(work)
    # A sentence, no traceback: these are for the developer to mend.
    except (LoadError, SettingsError, OSError) as error:
        logging.getLogger("local.host").error("%s", error)
        return 1
    # Ctrl-C is how a person ends it, and no failure.
    except KeyboardInterrupt:
        return 0
    except Exception:
        logging.getLogger("local.host").exception("the app could not be loaded")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.host",
        description="Host a functions app for development: HTTP, timers and durable orchestrations. "
        "Everything is kept in memory. /admin/… and the durable management routes want a key: "
        f"that in {ADMIN_KEY_VARIABLE}, or one that is made and logged at each start.",
    )
    parser.add_argument("--app", default=".", metavar="DIR", help="the app's directory (default: here)")
    parser.add_argument(
        "--port", type=int, metavar="N", help="default: Host.LocalHttpPort, else 7071; 0 takes a free one"
    )
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument(
        "--rpc-port", type=int, default=0, metavar="N", help="port for durable clients (default: a free one)"
    )
    parser.add_argument("--function-key", metavar="KEY", help="asked for by functions of level FUNCTION")
    parser.add_argument("--master-key", metavar="KEY", help="opens everything; without keys none is asked for")
    parser.add_argument(
        "--movable-clock", action="store_true", help='POST /admin/clock {"advance": seconds} moves the time'
    )
    parser.add_argument("--cors", nargs="+", default=[], metavar="ORIGIN", help="origins whose pages may call the app")
    parser.add_argument(
        "--allow-host",
        nargs="+",
        default=[],
        metavar="NAME",
        help="names that it may be called by besides localhost, 127.0.0.1 and [::1]",
    )
    return parser


class _Formatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("[%(asctime)s] %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in NOISY_LOGGERS:
        logging.getLogger(chatty).setLevel(logging.WARNING)


async def serve(app_dir: Path | str, **options: Any) -> None:
    """Host the app until SIGTERM or SIGINT; `options` are those of `Host`. Raises LoadError, OSError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        with contextlib.suppress(NotImplementedError):  # Windows: asyncio.run turns Ctrl-C into a cancellation
            loop.add_signal_handler(number, stop.set)
    try:
        # Listed before the first answer: whoever reads the list may call at once.
        async with Host(app_dir, announce=lambda host: print(list_functions(host), flush=True), **options) as host:
            # A key that was given stays out of the log.
            if not options.get("admin_key"):
                _log.info("the key of /admin/... and of the durable management routes is %s", host.admin_key)
            for problem in host.index.problems:
                _log.error("%s", problem)
            await stop.wait()
            _log.info("stopping")
    finally:
        for number in _SIGNALS:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)


def list_functions(host: Host) -> str:
    """What `func start` prints: each function with its URL or the kind of its trigger."""
    lines = ["", "Functions:", ""]
    for one in sorted(host.index.functions, key=lambda one: one.name.lower()):
        if one.kind == "http" and one.route is not None:
            lines.append(f"\t{one.name}: [{','.join(one.methods)}] {host.url}/{one.route.text}")
        else:
            lines.append(f"\t{one.name}: {'orchestration' if one.kind == 'orchestrator' else one.kind}Trigger")
        lines.append("")
    return "\n".join(lines)
