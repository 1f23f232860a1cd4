"""The operator's calls on the command line: what is overdue or put aside, intake, drain, single runs, owners."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from dormouse_client._arguments import given, id_of
from dormouse_client._steps import Request
from dormouse_client.errors import InvalidArgument

HEADER = "x-dormouse-operator-key"
VARIABLE = "DORMOUSE_OPERATOR_KEY"

LISTS = ("overdue", "quarantined")
SWITCHES: Mapping[str, Mapping[str, Mapping[str, bool]]] = {
    "intake": {"pause": {"paused": True}, "resume": {"paused": False}},
    "drain": {"on": {"draining": True}, "off": {"draining": False}},
}
"""What can be switched, by which words, and what each sends."""

ACTIONS = ("wake", "release", "end")
OF_OWNERS = ("export", "erase")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What stands behind `ops`."""
    command.add_argument(
        "call",
        choices=(*LISTS, *SWITCHES, *ACTIONS, *OF_OWNERS),
        help="list what is overdue, or put aside; see the intake, or the drain; wake one, give it back, or end it; "
        "export or erase all that is stored of an owner",
    )
    command.add_argument(
        "argument",
        nargs="?",
        help="of intake: pause or resume; of drain: on or off; of wake, release and end: id of the run or batch; of "
        "export: the folder to write to",
    )
    command.add_argument("--operator-key", metavar="KEY", help=f"the operator's key (else {VARIABLE})")
    command.add_argument("--reason", help="of intake pause: why, as callers read it")
    command.add_argument(
        "--retry-after", type=int, metavar="SECONDS", help="of intake pause: after how long callers are to try again"
    )
    command.add_argument(
        "--owner", help="of export and erase: whose, such as user:ann, or function for all callers with a function key"
    )
    command.add_argument("--yes", action="store_true", help="of erase: do not ask")


def headers_of(options: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, str] | None:
    """What the operator's calls carry; None for any other command. Raises ``InvalidArgument``."""
    if options.command != "ops":
        return None
    key = options.operator_key or environ.get(VARIABLE)
    if not key:
        raise InvalidArgument(f"Give the operator's key with --operator-key, or set {VARIABLE}.")
    return {HEADER: key}


def request_of(options: argparse.Namespace) -> Request:
    """The request that a call stands for. Raises ``InvalidArgument``."""
    call, argument = options.call, options.argument
    is_pause = (call, argument) == ("intake", "pause")
    if (options.reason is not None or options.retry_after is not None) and not is_pause:
        raise InvalidArgument("--reason and --retry-after go with `intake pause`.")
    if options.owner is not None or options.yes:
        raise InvalidArgument("--owner goes with `export` and `erase`, --yes with `erase`.")
    if call in ACTIONS:
        return Request("POST", f"/api/ops/{_path_of(argument, call)}/{call}")
    if argument is None:
        return Request("GET", f"/api/ops/{call}")
    words = SWITCHES.get(call, {})
    if argument not in words:
        takes = f"nothing, or {' or '.join(words)}" if words else "nothing"
        raise InvalidArgument(f"`ops {call}` takes {takes}, not {argument!r}.")
    body: dict[str, Any] = {**words[argument]}
    return Request(
        "PUT", f"/api/ops/{call}", body=body | given(reason=options.reason, retry_after_seconds=options.retry_after)
    )


def check_owner_call(options: argparse.Namespace) -> None:
    """Raises ``InvalidArgument`` unless what is to be exported or erased is said, and nothing else."""
    call = options.call
    if not options.owner:
        raise InvalidArgument(f"Whose? `ops {call}` takes --owner, such as --owner user:ann.")
    if options.reason is not None or options.retry_after is not None or (options.yes and call == "export"):
        raise InvalidArgument("--reason and --retry-after go with `intake pause`, --yes with `erase`.")
    if call == "export" and options.argument is None:
        raise InvalidArgument("Where to? `ops export` takes the folder to write to.")
    if call == "erase" and options.argument is not None:
        raise InvalidArgument("`ops erase` takes nothing but --owner and --yes.")


def owner_request(options: argparse.Namespace, cursor: str) -> Request:
    """The request for the page at this cursor (empty: the first) of what is exported or erased."""
    # In the body: addresses are kept in logs, which nothing here reaches.
    return Request("POST", f"/api/ops/{options.call}", body={"owner": options.owner} | given(cursor=cursor or None))


def _path_of(name: str | None, call: str) -> str:
    if name is None:
        raise InvalidArgument(f"`ops {call}` takes the id of a run or of a batch.")
    checked = id_of(name, "run or batch")
    return f"{'batches' if checked.startswith('batch_') else 'runs'}/{checked}"
