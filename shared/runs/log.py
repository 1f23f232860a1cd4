"""The log of the app. Exceptions in it quote no values."""

from __future__ import annotations

import logging

from shared.runs.tracebacks import without_values

log = logging.getLogger("dormouse")
log.addFilter(without_values)
