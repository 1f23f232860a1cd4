"""What failures of the Azure SDK mean: whether to send again, and what a caller of the tables is told."""

from __future__ import annotations

import re
from collections.abc import Sequence

import aiohttp
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.data.tables import TableTransactionError

from shared.runs.store.tables import Change, Conflict, LimitExceeded, StoreUnavailable

FAILURES = (AzureError, aiohttp.ClientError, OSError)
_GONE = frozenset({"ResourceNotFound", "EntityNotFound", "TableNotFound"})  # tables are made by the first write
_BUSY = frozenset({429, 503})  # throttling is 503 `ServerBusy`
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


def never_happened(error: Exception) -> bool:
    """Whether a write cannot have reached the tables."""
    if isinstance(error, HttpResponseError):
        return error.status_code == 429 or code_of(error) == "ServerBusy"
    if isinstance(error, ServiceRequestTimeoutError):
        return True
    # The SDK reports a connection lost on the way like one never made, so the cause decides.
    return isinstance(error, ServiceRequestError) and isinstance(error.inner_exception, aiohttp.ClientConnectorError)


def may_read_again(error: Exception) -> bool:
    if isinstance(error, HttpResponseError):
        return error.status_code in _TRANSIENT
    return isinstance(error, ServiceRequestError | ServiceResponseError | aiohttp.ClientError) and not isinstance(
        error, ServiceRequestTimeoutError | ServiceResponseTimeoutError
    )


def code_of(error: Exception) -> str | None:
    # The error of an insert has the service's code in the header only.
    code = getattr(error, "error_code", None)
    if code is None:
        response = getattr(error, "response", None)
        code = response.headers.get("x-ms-error-code") if response is not None else None
    return None if code is None else str(getattr(code, "value", code))


def is_gone(error: Exception) -> bool:
    # Only what the tables themselves say: a 404 of a wrong host must not read as "no such run".
    return isinstance(error, HttpResponseError) and code_of(error) in _GONE


def refused(error: Exception, changes: Sequence[Change]) -> Exception:
    """What a failed write raises."""
    if not isinstance(error, HttpResponseError) or isinstance(error, ClientAuthenticationError) or _no_token(error):
        return unavailable(error)
    if error.status_code in (400, 413):
        return LimitExceeded(f"the store refuses the change: {_text(error)}")
    key = _refusing_key(error, changes)
    if error.status_code == 412:
        return Conflict(key, "changed")
    if code_of(error) == "EntityAlreadyExists":
        return Conflict(key, "there already")
    if is_gone(error):
        return Conflict(key, "gone")
    return unavailable(error)


def _refusing_key(error: HttpResponseError, changes: Sequence[Change]) -> str | None:
    if len(changes) == 1:
        return changes[0].key
    if isinstance(error, TableTransactionError) and re.match(r"\d+:", error.message):  # else index is 0 by default
        return changes[error.index].key if error.index < len(changes) else None
    return None


def _no_token(error: Exception) -> bool:
    # The status is then that of the identity's answer: no request reached the tables.
    return any(
        isinstance(each, ClientAuthenticationError) and each.status_code not in (401, 403)
        for each in (error, error.__cause__)  # the client decodes every answer as one of the tables
    )


def unavailable(error: Exception) -> StoreUnavailable:
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if _no_token(error):
        return StoreUnavailable(
            "There is no token for Table Storage: is the managed identity assigned to the app, and "
            f"AzureWebJobsStorage__clientId (or AZURE_CLIENT_ID) its client id? {_text(error)}"
        )
    if status in (401, 403) or isinstance(error, ClientAuthenticationError):
        return StoreUnavailable(
            "Table Storage refuses the app. With a managed identity it needs the role Storage Table Data "
            f"Contributor (minutes pass until a new role counts) and a network path: {_text(error)}"
        )
    if status in _BUSY:
        return StoreUnavailable(f"Table Storage is busy, try again later: {_text(error)}")
    if status is not None:
        return StoreUnavailable(f"Table Storage failed: {_text(error)}")
    if isinstance(error, ServiceResponseTimeoutError):
        return StoreUnavailable("Table Storage did not answer in time; a write may have happened")
    return StoreUnavailable(f"no connection to Table Storage: {_text(error)}")


def _text(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    # By its text and not by itself: an exception is never false, and `TimeoutError()` has no text.
    first = (str(getattr(error, "message", None) or error) or type(error).__name__).splitlines()[0]
    return " ".join(str(part) for part in (status, code_of(error), first) if part is not None)
