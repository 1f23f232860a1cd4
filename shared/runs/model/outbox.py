"""The outbox: what a run (or a batch) still has to do outside its own rows, each entry with a backoff of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class EntryKind(StrEnum):
    """What is to be done."""

    CANCEL = "cancel"
    """Cancel the response ``subject`` at the provider."""

    DELETE = "delete"
    """Delete at the provider all responses that the run's chain names."""

    CALLBACK = "callback"
    """Tell the caller of the event ``subject``."""

    ROWS = "rows"
    """Delete a deleted run's other rows here."""

    # Last of all: the row is what a response created late is compared with.
    REMOVAL = "removal"
    """Delete a deleted run's own row, the last of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to do. Kind, subject and ``since`` are what names it."""

    kind: EntryKind
    """What is to be done."""

    subject: str = ""
    """The response id of a cancel, the event of a callback; empty otherwise."""

    due: datetime
    """When to try it next. Set by each try."""

    since: datetime
    """When it came up. What was asked for anew has a new one, so that a late fact about the old one changes nothing."""

    tries: int = 0
    """Tries so far that did not do it; of a callback, with the one that is under way."""

    def is_about(self, other: Entry) -> bool:
        """Whether both stand for the same thing to do."""
        return self.kind is other.kind and self.subject == other.subject


class CallbackState(StrEnum):
    """What became of the last callback. ``disabled``: the receiver wants no more (410)."""

    DELIVERED = "delivered"
    GIVEN_UP = "given_up"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """All entries, and how the callbacks went."""

    entries: tuple[Entry, ...] = ()
    """What is to be done, in the order in which it came up."""

    callback_state: CallbackState | None = None
    """What became of the last callback that was ended; None while there was none, and after a new one was asked for."""

    deliveries: int = 0
    """Attempts at callbacks ever made: the number of the next row of the delivery log."""

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def of(self, kind: EntryKind) -> tuple[Entry, ...]:
        """The entries of a kind."""
        return tuple(entry for entry in self.entries if entry.kind is kind)

    def adding(self, *added: Entry) -> Outbox:
        """With these among the entries; one that is about something in it already stays as it was."""
        entries = self.entries
        for entry in added:
            # The one that is there keeps its backoff: a fact that comes again must not start it anew.
            if not any(each.is_about(entry) for each in entries):
                entries = (*entries, entry)
        return replace(self, entries=entries)

    def without(self, *kinds: EntryKind) -> Outbox:
        """Without the entries of these kinds."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.kind not in kinds))

    def dropping(self, gone: Entry) -> Outbox:
        """Without this entry."""
        # By value: an entry that was put off or begun anew meanwhile is another, and stays.
        return replace(self, entries=tuple(entry for entry in self.entries if entry != gone))

    def replacing(self, old: Entry, new: Entry) -> Outbox:
        """With the new one in the place of the old."""
        return replace(self, entries=tuple(new if entry == old else entry for entry in self.entries))

    def named(self, kind: EntryKind, subject: str, since: datetime) -> Entry | None:
        """The entry of this name; None when it was done, or asked for anew."""
        found = (each for each in self.entries if (each.kind, each.subject, each.since) == (kind, subject, since))
        return next(found, None)

    def ready(self) -> tuple[Entry, ...]:
        """What may be tried when its time has come: cancel before delete, and the run's own row last of all.

        A response that is deleted first can no longer be cancelled, and may run on.
        """
        # The row names everything else that is to be done: once it is gone nobody can.
        waits = {EntryKind.REMOVAL}
        if self.of(EntryKind.CANCEL):
            waits.add(EntryKind.DELETE)
        return tuple(entry for entry in self.entries if entry.kind not in waits) or self.entries
