"""The name of a point: during what, in which step, before which effect. It is read from the call stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from local import ROOT
from local.points.sites import STORES

_SHARED = f"{ROOT / 'shared'}/"

DURING = {
    "runs/actions/": "wake",
    "runs/commands/submit.py": "submit",
    "runs/commands/branching.py": "submit",
    "runs/commands/keys.py": "submit",
    "runs/commands/adopt.py": "webhook",
    "runs/commands/answer.py": "answer",
    "runs/commands/cancel.py": "cancel",
    "runs/commands/delete.py": "delete",
    "runs/commands/leftovers.py": "sweep",
    "runs/commands/operate.py": "operate",
    "runs/commands/redeliver.py": "redeliver",
    "runs/commands/retries.py": "repeated request",
    "runs/batches/submit.py": "submit batch",
    "runs/batches/retry.py": "retry batch",
    "runs/batches/advance.py": "batch wake",
    "runs/batches/callbacks.py": "redeliver batch",
    "runs/batches/cancel.py": "cancel batch",
    "runs/batches/delete.py": "delete batch",
    "runs/schedules/change.py": "schedule",
    "runs/schedules/advance.py": "schedule wake",
    "runs/schedules/own.py": "sweep",
    "runs/owners/requests.py": "erase",
    "drivers/activity.py": "wake",
    "drivers/driver.py": "signal",
    "drivers/sweep.py": "sweep",
    "drivers/handing_out.py": "sweep",
    "drivers/retention.py": "retention",
}
"""What a process is at, by the file (or folder) of ``shared`` that was entered first."""

_STORE = "runs/store/"
_BETWEEN = ("runs/listing.py", "drivers/due_times.py")
"""Files that write for others: the step is whoever calls them."""

_AROUND = ("runs/concurrency.py", "agentkit/within.py")
"""Files that only call what they are given."""

_IN_A_TASK = {"tool.invoke": ("runs/actions/tools.py", "_run_one")}
"""Who has an effect in a task of its own, which has no caller on its stack."""

_ONE_OF_SEVERAL = "side_by_side.<locals>.one"

_COMMITS = {("runs/commit.py", "commit"), ("runs/batches/commit.py", "commit_batch")}


@dataclass(frozen=True, slots=True)
class Point:
    """A point: everything before this effect has happened, and the effect has not."""

    during: str
    """What the process is at: ``submit``, ``wake``, ``sweep``, …"""

    step: str
    """The fact that is being committed, or the function that has the effect."""

    effect: str
    """``due.announce``, ``provider.create``, ``hub.wake``, …"""

    @property
    def name(self) -> str:
        """All three."""
        return f"{self.during} / {self.step} / {self.effect}"


@dataclass(frozen=True, slots=True)
class Passed:
    """An effect that is about to happen."""

    point: Point
    site: str
    """The function of ``shared`` that calls the port, as ``sites`` names it: ``runs/commit.py:_write:runs.save``."""


def passed(effect: str) -> Passed:
    """What the caller of the caller is about to do. ``effect``: its name; for a write of the store ``store``."""
    frames = list(_frames())
    store, others = _split(frames)
    if effect == "store":
        effect = _operation(store)
    file, name = (others[0][0], others[0][1]) if others else _IN_A_TASK[effect]
    return Passed(_point(effect, others, name), f"{file}:{name}:{effect}")


_Frame = tuple[str, str, FrameType]


def _frames() -> Iterator[_Frame]:
    """The frames of ``shared``, innermost first: file, function, frame."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_SHARED):
            yield file.removeprefix(_SHARED), frame.f_code.co_qualname, frame
            # Each of several done side by side has a task of its own; the function that it was given names the caller.
            if frame.f_code.co_qualname == _ONE_OF_SEVERAL:
                code = frame.f_locals["do"].__code__
                yield code.co_filename.removeprefix(_SHARED), code.co_qualname, frame
        frame = frame.f_back


def _split(frames: list[_Frame]) -> tuple[list[_Frame], list[_Frame]]:
    """The frames inside the store, and those around it, whose functions are named as they stand in their files."""
    count = next((at for at, (file, _, _) in enumerate(frames) if not file.startswith(_STORE)), len(frames))
    others = [each for each in frames[count:] if each[0] not in _AROUND]
    # A lambda, or a function within one, belongs to the function that it stands in.
    around = [(file, name.split(".<locals>")[0], frame) for file, name, frame in others]
    return frames[:count], around


def _operation(store: list[_Frame]) -> str:
    """The method of a store that was called: ``runs.save``."""
    _, qualified, frame = store[-1]
    kind = type(frame.f_locals["self"]).__name__ if "self" in frame.f_locals else ""
    return f"{STORES.get(kind, kind)}.{qualified.rpartition('.')[2]}"


def _point(effect: str, others: list[_Frame], caller: str) -> Point:
    fact = next((_fact(frame) for file, name, frame in others if (file, name) in _COMMITS), "")
    steps = (name for file, name, _ in others if file not in _BETWEEN)
    step = fact or next(steps, caller).rpartition(".")[2].lstrip("_")
    found = (_during(file) for file, _, _ in reversed(others))
    # A request to the provider has its time limit, and so a task of its own: whoever waits for it is not on its stack.
    of_task = "provider" if effect.startswith("provider.") else "wake"
    return Point(next((each for each in found if each), of_task), step, effect)


def _during(file: str) -> str | None:
    return next((during for path, during in DURING.items() if file.startswith(path)), None)


def _fact(frame: FrameType) -> str:
    return type(frame.f_locals["fact"]).__name__
