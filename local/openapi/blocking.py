"""The Python client for ordinary code, written from the one for asyncio: the same without ``async`` and ``await``.

So each method is written and described once. What the two do differently is in `_async_io.py` and `_sync_io.py`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from local import ROOT

CLIENT = ROOT / "clients" / "python" / "src" / "dormouse_client"
FILES = {
    "_async.py": "_sync.py",
    "_async_client.py": "_sync_client.py",
    "_async_schedules.py": "_sync_schedules.py",
}

_TEXTS = {
    "The client for asyncio: the same methods, awaited; iterators are asynchronous.": (
        "The client for ordinary code: scripts, notebooks, threads. Generated from the one for asyncio."
    ),
    "How the steps of a call are carried out by an event loop.": (
        "How the steps of a call are carried out in a thread. Generated from the same for an event loop."
    ),
    ", for one event loop. What is called back may be a coroutine function.": (
        ". It may be used by several threads, and where an event loop runs."
    ),
}
"""What is said of one of them alone."""

_WORDS = {
    r"async (def|with|for)\b": r"\1",
    r"await ": "",
    r"AsyncGenerator\[(\w+), None\]": r"Generator[\1, None, None]",
    r"httpx2\.AsyncClient": "httpx2.Client",
    r"AsyncClient": "SyncClient",
    r"(Abstract)?Async(\w+)": r"\1\2",
    r"_async(_\w+)?": r"_sync\1",
    r"__a(enter|exit)__": r"__\1__",
    r"a(close|read)\(": r"\1(",
    r"for (\w+) in (\w+):\n +yield \1\n": r"yield from \2\n",
}


def blocking(source: str) -> str:
    """The code without ``async`` and ``await``. Raises ``ValueError`` for code that no rule knows."""
    for said, instead in _TEXTS.items():
        source = source.replace(said, instead)
    for pattern, replacement in _WORDS.items():
        source = re.sub(rf"\b{pattern}", replacement, source)
    code = re.sub(r'""".*?"""', "", source, flags=re.DOTALL)
    if left := re.search(r"\b(async|await|asyncio)\b", code):
        raise ValueError(f"no rule says what stands for {left[0]!r} where nothing is awaited")
    return source


def files() -> dict[Path, str]:
    """What is written where."""
    return {CLIENT / to: _formatted(blocking((CLIENT / of).read_text("utf-8")), to) for of, to in FILES.items()}


def _formatted(source: str, name: str) -> str:
    """The source with its imports in order, as `dev.py check` wants every file."""
    for work in (["check", "--select", "I", "--fix", "--quiet"], ["format"]):
        command = [sys.executable, "-m", "ruff", *work, "--stdin-filename", str(CLIENT / name), "-"]
        source = subprocess.run(command, input=source, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return source
