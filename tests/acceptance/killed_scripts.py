"""What the scripted model plays while hosts are killed."""

from __future__ import annotations

from typing import Any

from local.model.control import ModelControl

LONG = "é" * 60_000
STUCK = {"stuck": True}
DONE = {"text": "Done."}
LOST = {"create": [{"drop": True, "after_accept": True}]}
"""The response is made, and nobody hears of it."""


def _call(name: str, label: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "arguments": {"label": label, **more}}


SCRIPTS: dict[str, list[dict[str, Any]]] = {
    "done": [DONE],
    "slow": [{**DONE, "think": 3}],
    "stuck": [STUCK],
    "tools": [{"calls": [_call("work", seconds=1.2), _call("pay")]}, {"text": "é" * 60_000}],
    "works": [{"calls": [_call("work", seconds=2)]}, DONE],
    "long": [{"calls": [_call("work", LONG), _call("write_much", "é", times=40_000)]}, {"text": LONG}],
    "tell": [{"calls": [_call("tell")]}, DONE],
    "phone": [{"calls": [_call("work")], "think": 0}, {**DONE, "think": 0}],
    "asks": [{"calls": [_call("send")]}, DONE],
    "bad": [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}],
    "hard": [{**STUCK, "faults": {"cancel": [{"status": 400}, {"status": 500}]}}],
    "unlucky": [
        {
            **DONE,
            "faults": {
                "create": [{"status": 429}, {"drop": True, "after_accept": True}],
                "retrieve": [{"status": 500}],
            },
        }
    ],
    "lost": [{"attempts": [DONE, DONE], "faults": LOST}],
    # It goes on when the webhook's own read finds it, and has ended when its wake does.
    "hinted": [{"attempts": [{**DONE, "think": 1}, DONE], "faults": {**LOST, "retrieve": [{"hang": 2, "skip": 1}]}}],
    "told": [{"text": LONG}],
    "unwanted": [{"attempts": [STUCK, DONE], "faults": LOST}],
    "gone": [{**DONE, "think": 900, "id_gone": 0.5}],
}


async def write_scripts(model: ModelControl) -> None:
    """Give it all of them."""
    for name, turns in SCRIPTS.items():
        await model.script(name, turns)
