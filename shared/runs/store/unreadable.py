"""Rows that this version cannot read, each for its reason."""


class RowUnreadable(ValueError):
    """A row that this version cannot read."""


class RowTooNew(RowUnreadable):
    """A row of a newer schema: nothing is wrong with it, and the version that wrote it can read it."""


class RowTooOld(RowUnreadable):
    """A row of a format from before the first release, which no version reads any more."""
