"""The log of the app. Exceptions in it quote no values, and a line about a run has its ids."""

from __future__ import annotations

import logging
import re

from shared.runs.tracebacks import without_values
from shared.telemetry.spans import current, root_of

_SUBJECT = re.compile(r"\b(?:run_([0-9a-f]{32})_[0-9]{1,8}|batch_([0-9a-f]{32}))\b")


def with_ids(record: logging.LogRecord) -> bool:
    """A filter of loggers: gives a line about a run or a batch its ids, as attributes for handlers and formatters.

    ``run_id``, ``session_id``, ``turn``; ``batch_id``; ``trace_id``, ``span_id``. They are those of the first that the
    line names, else of the span in which it is written.
    """
    span = current()
    named = _SUBJECT.search(record.getMessage())
    if named is not None:
        subject, place = named[0], root_of(named[0])
    elif span is not None:
        subject, place = str(span.attributes.get("dormouse.run.id", "")), span.place
    else:
        return True
    if span is not None and span.place.trace_id == place.trace_id:
        place = span.place
        record.turn = span.attributes.get("dormouse.turn")
    if subject.startswith("batch_"):
        record.batch_id = subject
    elif subject:
        record.run_id, record.session_id = subject, place.trace_id
    record.trace_id, record.span_id = place.trace_id, place.span_id
    return True


log = logging.getLogger("dormouse")
log.addFilter(without_values)
log.addFilter(with_ids)
