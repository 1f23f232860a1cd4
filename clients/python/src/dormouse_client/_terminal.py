"""What the command line shows: results on the standard output, all the rest on the standard error."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from dormouse_client.contract import Batch, Run, ToolCall
from dormouse_client.errors import DormouseError, InvalidArgument
from dormouse_client.progress import ProgressBar
from dormouse_client.watching import View

COUNTS_EVERY_SECONDS = 10.0
"""How often it is said how far something long is."""

_CONTROL = dict.fromkeys([*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)])


def printable(text: str) -> str:
    """The text without what a terminal would take as a command: a model, or who it has read, may write anything."""
    return text.translate(_CONTROL)


class Terminal:
    """Writes for a person, and for the program behind a pipe."""

    def __init__(self, out: TextIO, error: TextIO) -> None:
        self._out = out
        self._error = error
        self._bar: ProgressBar | None = None
        self._in_a_line = False
        """Whether the standard output stands in the middle of a line."""
        self._stands: tuple[str, object] | None = None
        self._asked: set[str] = set()
        self._back: tuple[str, str] | None = None
        self._key: str | None = None
        self._counted_at = time.monotonic()

    def write(self, text: str) -> None:
        """A result."""
        self._out.write(printable(text) if self._out.isatty() else text)
        self._out.flush()

    def say(self, line: str) -> None:
        """Something about it."""
        self._error.write(printable(line) + "\n")
        self._error.flush()

    def show(self, one: Mapping[str, Any] | Run | Batch) -> None:
        """A run or a batch, whole."""
        self.write(json.dumps(one, ensure_ascii=False, indent=2) + "\n")

    @contextlib.contextmanager
    def output(self, path: str | None) -> Iterator[TextIO]:
        """Where results go: a file, or the standard output. Raises ``InvalidArgument``."""
        if path is None:
            yield self._out
            self._out.flush()
            return
        try:
            file = open(path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed below; only this may fail
        except OSError as error:
            raise InvalidArgument(f"{path} cannot be written: {error.strerror}.") from None
        with file:
            yield file
        self.say(f"written to {path}")

    # --- what an operator does with an owner's data ---

    def confirm(self, owner: str) -> None:
        """Ask whether it is meant. Raises ``InvalidArgument`` where it is not, or nobody can be asked."""
        if not sys.stdin.isatty():
            raise InvalidArgument("This is no terminal, so that nobody can be asked: say --yes.")
        self.say(f"This deletes all that the app has stored of {owner}. It cannot be undone. Type the owner to go on:")
        if sys.stdin.readline().strip() != owner:
            raise InvalidArgument("That is not the owner. Nothing was erased.")

    def counts(self, counts: Mapping[str, int]) -> None:
        """How far it is, every now and then."""
        now = time.monotonic()
        if now - self._counted_at >= COUNTS_EVERY_SECONDS:
            self._counted_at = now
            self.say(", ".join(f"{count} {kind}" for kind, count in counts.items() if count))

    # --- coming back ---

    def goes_on(self, name: str, command: str) -> None:
        """From here on it goes on without us."""
        self._back = name, command
        self.say(name)

    def is_sent(self, key: str) -> None:
        """A request that starts something is on its way: whether it arrived is not known until there is an id."""
        self._key = key

    def say_how_to_come_back(self, *, is_sent: bool) -> None:
        """Only where something goes on, or may: a request without an answer ``is_sent`` and may have arrived."""
        if self._back is None and self._key is not None and is_sent:
            self.say("It may have been started. To get it, or to start it, repeat the same command with:")
            self.say(f"  --idempotency-key {shlex.quote(self._key)}")
        if self._back is not None:
            name, command = self._back
            self.say(f"{name} goes on. Come back with: python -m dormouse_client {command} {shlex.quote(name)}")
            self.say(f"or end it with: python -m dormouse_client cancel {shlex.quote(name)}")

    # --- while it goes on ---

    def outage(self, error: DormouseError, pause: float) -> None:
        """The app cannot be reached for now."""
        self.say(f"{error.detail} Trying again in {pause:.0f} s.")

    def batch(self, batch: Batch) -> None:
        """A batch has moved on."""
        self._bar = self._bar or ProgressBar(self._error)
        self._bar(batch)

    def view(self, view: View, *, with_text: bool) -> None:
        """An event of a run that is watched."""
        if with_text:
            if view.replaced and self._in_a_line:
                self._write_text("\n")
            self._write_text(view.delta)
        if view.event == "stale":
            self.say("(the text goes on later)")
        elif view.call is not None:
            self._call(view.call)
        self.progress(view.run)

    def progress(self, run: Run) -> None:
        """Where a run stands, when that has changed."""
        shown: Mapping[str, Any] = {**run}  # an older app does not say what a run waits for
        stands = run["status"], shown.get("waiting_for")
        if stands != self._stands:
            self._stands = stands
            self.say(f"[{run['status']}] {shown.get('waiting_text') or ''}".rstrip())
        required = run["required_action"]
        for call in required["calls"] if required else []:
            if call["id"] not in self._asked:
                self._asked.add(call["id"])
                self.say(f"{call['name']}({call['arguments']}) needs an answer. {call['reason'] or ''}".rstrip())
                self.say(f"  python -m dormouse_client answer {run['id']} {call['id']} --approve   (or --refuse)")

    def end(self, run: Run) -> None:
        """How it ended."""
        if self._in_a_line:
            self._write_text("\n")
        if reason := run["error"]:
            self.say(f"{run['id']} {run['status']}: {reason['message'] or ''} [{reason['code']}]")

    def _write_text(self, text: str) -> None:
        if text:
            self.write(text)
            self._in_a_line = not text.endswith("\n")

    def _call(self, call: ToolCall) -> None:
        progress = call.get("progress")
        said = f": {progress['message']}" if progress else ""
        self.say(f"[{call['name']} {call['state']}{said}]")
