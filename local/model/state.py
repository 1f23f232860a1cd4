"""An account's state as JSON, and back: kept beside rows, it lets their runs find their responses again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from local.model.records import LoggedRequest
from local.model.responses import Ending, StoredResponse
from local.model.script import Turn

if TYPE_CHECKING:
    from local.model.account import Account

Json = dict[str, Any]

_TIMES = ("forced_at", "late_at")
_AS_THEY_ARE = (
    "id",
    "request",
    "given",
    "script",
    "turn_index",
    "attempt",
    "created",
    "think",
    "finish_at",
    "cancelled",
    "deleted",
    "forgotten",
)


def state_of(account: Account) -> Json:
    """Scripts, responses and log. Switches are left out, and how often a fault has hit; so are the logged bodies."""
    return {
        "scripts": account.scripts_given,
        "responses": [_plain(each) for each in account.responses.values()],
        "log": [{**asdict(each), "body": None} for each in account.log],
    }


def restore(account: Account, state: Mapping[str, Any]) -> None:
    """Make the account what it was."""
    account.reset()
    for name, script in state["scripts"].items():
        account.set_script(name, script)
    for given in state["responses"]:
        account.take_back(_response(account, given))
    account.log = [LoggedRequest(**entry) for entry in state["log"]]


def _plain(response: StoredResponse) -> Json:
    plain = {name: getattr(response, name) for name in _AS_THEY_ARE}
    # Its items are in `given`; a long input need not be there twice.
    plain["request"] = {name: value for name, value in response.request.items() if name != "input"}
    plain |= {name: None if (at := getattr(response, name)) == math.inf else at for name in _TIMES}
    plain["previous"] = response.previous.id if response.previous else None
    plain["planned"] = asdict(response.planned)
    plain["forced"] = asdict(response.forced) if response.forced else None
    return plain


def _response(account: Account, given: Mapping[str, Any]) -> StoredResponse:
    fields = {name: given[name] for name in _AS_THEY_ARE}
    script = account.scripts.get(given["script"])
    return StoredResponse(
        **{
            **fields,
            **{name: math.inf if given[name] is None else given[name] for name in _TIMES},
            "given": tuple(given["given"]),
            "previous": account.responses[given["previous"]] if given["previous"] else None,
            "turn": script.turn(given["turn_index"]).attempt(given["attempt"]) if script else Turn(),
            "planned": _ending(given["planned"]),
            "forced": _ending(given["forced"]) if given["forced"] else None,
        }
    )


def _ending(given: Mapping[str, Any]) -> Ending:
    return Ending(**{**given, "output": tuple(given["output"])})
