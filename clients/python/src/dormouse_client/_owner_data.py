"""What is stored of an owner: exported into a folder, or erased, page by page, for the command line."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

from dormouse_client.errors import InvalidArgument, UnexpectedResponse

MANIFEST = "manifest.json"
"""What is in a folder that is complete."""

PROGRESS = "progress.json"
"""How far one that is not has come."""

NAMED = ("being_deleted", "unreadable")
"""Kinds of pieces that the manifest names, and that no file has."""

Ask = Callable[[str], dict[str, Any]]
"""Asks the app for the page at a cursor; empty: the first."""

Page = Mapping[str, Any]


class Folder:
    """The folder that an export is written into. It can be cut off anywhere, and goes on where it was."""

    def __init__(self, path: str, owner: str, app: str) -> None:
        """Raises ``InvalidArgument`` where this cannot be the folder of this export."""
        self._path = Path(path)
        self._file: BinaryIO | None = None
        self._name = ""
        begun = self._begun(owner, app)
        self.is_resumed = begun is not None
        self._state: dict[str, Any] = begun or {
            "owner": owner,
            "app": app,
            "started_at": _now(),
            "cursor": "",
            "file": "",
            "size": 0,
            "counts": {},
            **{kind: [] for kind in NAMED},
        }

    @property
    def cursor(self) -> str:
        """Where it goes on; empty: at the beginning."""
        return str(self._state["cursor"])

    @property
    def counts(self) -> Mapping[str, int]:
        """How many pieces of each kind there are so far."""
        counts: Mapping[str, int] = self._state["counts"]
        return counts

    def keep(self, page: Page) -> None:
        """Write a page, and then how far this is."""
        counts = Counter(self.counts)
        for piece in page["data"]:
            kind = str(piece["kind"])
            counts[kind] += 1
            if kind in NAMED:
                self._state[kind].append(piece)
            else:
                self._open(_file_of(piece)).write(json.dumps(piece, ensure_ascii=False).encode() + b"\n")
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())  # what is said to be there is there, also after a power cut
            self._state |= {"file": self._name, "size": self._file.tell()}
        self._state |= {"counts": dict(counts), "cursor": page.get("next_cursor", "")}
        if self.cursor:
            self._write(PROGRESS, self._state)

    def finish(self, elsewhere: Any) -> dict[str, Any]:
        """Write the manifest, and return it without the list of files."""
        self.close()
        files = sorted(each for each in self._path.glob("**/*.ndjson"))
        manifest = {
            **{name: self._state[name] for name in ("owner", "app", "started_at")},
            "finished_at": _now(),
            "counts": self.counts,
            **{kind: self._state[kind] for kind in NAMED},
            "elsewhere": elsewhere,
        }
        listed = [{"file": each.relative_to(self._path).as_posix(), "bytes": each.stat().st_size} for each in files]
        self._write(MANIFEST, {**manifest, "files": listed})
        (self._path / PROGRESS).unlink(missing_ok=True)
        return manifest

    def close(self) -> None:
        """Close the file that is being written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begun(self, owner: str, app: str) -> dict[str, Any] | None:
        try:
            # Others on this machine are not to read it.
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            there = {each.name for each in self._path.iterdir()}
        except OSError as error:
            raise InvalidArgument(f"{self._path} cannot be a folder to write to: {error.strerror}.") from None
        if MANIFEST in there:
            raise InvalidArgument(f"{self._path} has an export that is complete. Name another folder.")
        if PROGRESS not in there:
            if there:
                raise InvalidArgument(f"{self._path} has other files in it. Name a folder that is new, or empty.")
            return None
        begun: dict[str, Any] = json.loads((self._path / PROGRESS).read_text("utf-8"))
        if (begun["owner"], begun["app"]) != (owner, app):
            raise InvalidArgument(
                f"{self._path} has an export of {begun['owner']} from {begun['app']} that was cut off. Name another "
                "folder."
            )
        if begun["file"]:
            # What came after the last page that is known to be whole comes again, if it is still there.
            os.truncate(self._path / begun["file"], begun["size"])
        return begun

    def _open(self, name: str) -> BinaryIO:
        """The file of that name, at its end. The pieces of a file come one after the other."""
        if self._file is not None and name == self._name:
            return self._file
        self.close()
        path = self._path / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._file = path.open("ab" if name == self._state["file"] else "wb")
        self._name = name
        return self._file

    def _write(self, name: str, what: Mapping[str, Any]) -> None:
        # In one step: a reader finds the one before or this one.
        beside = self._path / f"{name}.new"
        with beside.open("w", encoding="utf-8") as file:
            file.write(json.dumps(what, ensure_ascii=False, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path / name)


def export(folder: Folder, ask: Ask, tell: Callable[[Mapping[str, int]], None]) -> dict[str, Any]:
    """Write all pages into the folder, from where it stands; its manifest, without the list of files."""
    try:
        while True:
            page = ask(folder.cursor)
            folder.keep(page)
            tell(folder.counts)
            if not folder.cursor:
                return folder.finish(page.get("elsewhere", []))
    finally:
        folder.close()


def erase(ask: Ask, tell: Callable[[Mapping[str, int]], None]) -> dict[str, Any]:
    """Erase page by page; what the answers add up to."""
    erased: Counter[str] = Counter()
    remaining: Counter[str] = Counter()
    failed: list[Any] = []
    cursor = ""
    while True:
        page = ask(cursor)
        erased.update(page["erased"])
        remaining.update(page["remaining"])
        failed += page["failed"]
        tell(erased)
        cursor = page.get("next_cursor", "")
        if not cursor:
            elsewhere = page.get("elsewhere", [])
            return {"erased": dict(erased), "remaining": dict(remaining), "failed": failed, "elsewhere": elsewhere}


def is_nothing_left(done: Mapping[str, Any]) -> bool:
    """Whether an erasure found nothing, and left nothing."""
    return not (any(done["erased"].values()) or any(done["remaining"].values()) or done["failed"])


def _file_of(piece: Page) -> str:
    within = piece["within"]
    if within is None:
        return "schedules.ndjson" if piece["kind"] == "schedule" else "others.ndjson"
    # Names of files are made of what an app answers: of nothing but ids.
    if re.fullmatch(r"[0-9a-f]{32}", within, re.ASCII):
        return f"sessions/{within}.ndjson"
    if re.fullmatch(r"batch_[0-9a-f]{32}", within, re.ASCII):
        return f"batches/{within}.ndjson"
    raise UnexpectedResponse(
        "The answer names neither a session nor a batch: this client is too old for the app.", status=200
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
