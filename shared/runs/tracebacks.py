"""Exceptions in the log: what they are and where they were raised, without what they say of the values at hand."""

from __future__ import annotations

import logging
from types import TracebackType

from shared.agentkit.redaction import without_secrets

KEEPS_TEXT = "keeps_text"
"""Set in a record's ``extra``: its exception was raised before there was any request, so its text is shown."""

_SPEAKS_OF_NO_VALUE = ("shared.", "azure.", "aiohttp.client_exceptions")
_MOST_CAUSES = 10


def without_values(record: logging.LogRecord) -> bool:
    """A filter of loggers: an exception keeps its type and traceback; most texts of exceptions are left out.

    A text may quote what a caller, a model or a tool wrote: the value that a parser refused, the key of a dict.
    """
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        shown = _shown(error, keeps_text=bool(getattr(record, KEEPS_TEXT, False)), left=_MOST_CAUSES)
        record.exc_info = (type(shown), shown, error.__traceback__)
        record.exc_text = None
    return True


def _shown(error: BaseException, *, keeps_text: bool, left: int) -> BaseException:
    shown = _named_like(type(error))(*_words(error, keeps_text))
    trace: TracebackType | None = error.__traceback__
    if left:
        if error.__cause__ is not None:
            shown.__cause__ = _shown(error.__cause__, keeps_text=keeps_text, left=left - 1)
        elif error.__context__ is not None:
            shown.__context__ = _shown(error.__context__, keeps_text=keeps_text, left=left - 1)
    shown.__suppress_context__ = error.__suppress_context__
    return shown.with_traceback(trace)


def _words(error: BaseException, keeps_text: bool) -> tuple[str, ...]:
    is_harmless = type(error).__module__.startswith(_SPEAKS_OF_NO_VALUE) or isinstance(error, OSError)
    return (without_secrets(str(error)),) if keeps_text or is_harmless else ()


def _named_like(kind: type[BaseException]) -> type[Exception]:
    # Of the same name, so that whoever groups by type finds it; never the class itself, whose text is its own.
    return type(kind.__name__, (Exception,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})
