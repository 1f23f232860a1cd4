"""`python -m local.traces`: prints each trace as a tree whenever it has grown and then been quiet for a moment."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence

from local.traces.receiver import Receiver
from local.traces.spans import Exported, by_trace, tree

QUIET_SECONDS = 2.5
"""Processes export each second: what a trace has not had by then comes later, and is a news of its own."""


class Printer:
    """Keeps traces that have not been quiet yet."""

    def __init__(self) -> None:
        self._spans: dict[str, list[Exported]] = {}
        self._grown: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, spans: Sequence[Exported]) -> None:
        """Keep them for a while."""
        with self._lock:
            for trace_id, some in by_trace(spans).items():
                self._spans.setdefault(trace_id, []).extend(some)
                self._grown[trace_id] = time.monotonic()

    def print_quiet(self) -> None:
        """Print those that have a root, which is a run that has ended, and have not grown for a while."""
        with self._lock:
            quiet = [each for each, at in self._grown.items() if time.monotonic() - at > QUIET_SECONDS]
            for trace_id in quiet:
                del self._grown[trace_id]
                spans = self._spans[trace_id]
                if any(not span.parent_id for span in spans):
                    print(f"trace {trace_id}", *tree(spans), sep="\n", flush=True)


def main() -> None:
    """Receive and print until the process is stopped."""
    parser = argparse.ArgumentParser(prog="python -m local.traces", description="Shows exported traces as trees.")
    parser.add_argument("--port", type=int, default=4318, help="0: any free one")
    options = parser.parse_args()
    printer = Printer()
    with Receiver(options.port, printer.take) as receiver:
        print(f"Traces are received at {receiver.url}/v1/traces", flush=True)
        while True:
            time.sleep(0.5)
            printer.print_quiet()


if __name__ == "__main__":
    main()
