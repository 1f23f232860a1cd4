"""What an error of the `openai` client means: the only place that knows its exceptions, and those below it."""

from __future__ import annotations

import math
from typing import Any

from shared.agentkit import faults
from shared.agentkit.redaction import MAX_READ, plain_code

MAX_RETRY_AFTER = 3_600.0


def of_a_create(error: Exception) -> Exception:
    """What a failed create means; an exception that is not of the provider's making stays what it is."""
    # Imported only where there was a call: it takes 800 ms of CPU, which status and list calls are spared.
    import openai

    match error:
        case openai.APIStatusError():
            return _refusal(error)
        case openai.APIConnectionError():
            kind = faults.NotAccepted if _never_left(error) else faults.PerhapsAccepted
            return kind(sentence_of(error), code="provider_unreachable")
        case openai.APIError():
            return faults.PerhapsAccepted(sentence_of(error), code="unreadable_answer")
        # What is left comes from the client alone, such as a missing key.
        case openai.OpenAIError():
            return faults.AccessDenied(sentence_of(error), code="no_credential")
    return faults.PerhapsAccepted(sentence_of(error), code="unreadable_answer") if is_unreadable(error) else error


def of_a_query(error: Exception) -> Exception:
    """What a failed query, cancel or delete means."""
    import openai

    match error:
        case openai.NotFoundError():
            return faults.ResponseMissing(sentence_of(error), code=_code(error))
        case openai.APIStatusError():
            after = _retry_after(error)
            return faults.NoNews(sentence_of(error), code=f"http_{error.status_code}", retry_after=after)
        case openai.APIConnectionError():
            return faults.NoNews(sentence_of(error), code="provider_unreachable")
        case openai.OpenAIError():
            return faults.NoNews(sentence_of(error), code="provider_error")
    return faults.NoNews(sentence_of(error), code="unreadable_answer") if is_unreadable(error) else error


def is_clients_own(error: Exception) -> bool:
    """Whether it was raised by the client, or by what is around it here: not by an agent's own code."""
    import openai

    return isinstance(error, openai.OpenAIError | faults.ProviderFault)


def is_unreadable(error: Exception) -> bool:
    """Whether it is an answer that is no JSON or no HTTP: these the client lets through as they are."""
    import aiohttp

    return isinstance(error, ValueError | OSError | aiohttp.ClientError)


def _refusal(error: Any) -> faults.ProviderFault:
    status, code, after = error.status_code, _code(error), _retry_after(error)
    text = sentence_of(error)
    if status in (401, 403):
        return faults.AccessDenied(text, code=code)
    # A 503 without Retry-After may come from a gateway behind which the request was taken.
    if status in (409, 429) or (status == 503 and after is not None):
        return faults.NotAccepted(text, code=code, retry_after=after)
    # The request may have been taken before the error was made.
    if status == 408 or status >= 500:
        return faults.PerhapsAccepted(text, code=code, retry_after=after)
    if code == "previous_response_not_found" or getattr(error, "param", None) == "previous_response_id":
        return faults.PreviousResponseMissing(text, code=code)
    # Azure OpenAI has no code of its own for tool outputs after a background response.
    if "No tool call found" in text:
        return faults.ToolOutputsRefused(text, code=code)
    return faults.Refused(text, code=code)


def _never_left(error: BaseException) -> bool:
    """Whether no connection was made, so that the request cannot have arrived.

    The client reports a connection that was *lost* as a connect timeout too; the cause tells them apart.
    """
    import socket

    import aiohttp
    import httpcore2
    import httpx2

    surely = (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        httpcore2.ConnectError,
        httpcore2.ConnectTimeout,
        ConnectionRefusedError,
        socket.gaierror,
        httpx2.UnsupportedProtocol,
    )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, surely):
            return True
        cause = cause.__cause__
    return False


def _code(error: Any) -> str:
    code = getattr(error, "code", None)
    return plain_code(code, otherwise=f"http_{error.status_code}")


def sentence_of(error: Any) -> str:
    """The provider's own words where it has some, else the client's."""
    body = getattr(error, "body", None)
    # The client's own text repeats the whole body, with whatever the provider put into it.
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return str(body["message"])[:MAX_READ]
    return str(error)[:MAX_READ] or type(error).__name__


def _retry_after(error: Any) -> float | None:
    given = error.response.headers.get("retry-after")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        return _seconds_until(given, error.response.headers.get("date"))
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _seconds_until(moment: str, now: str | None) -> float | None:
    """Retry-After as an HTTP date, against the server's own Date (RFC 9110, section 10.2.3)."""
    from email.utils import parsedate_to_datetime

    try:
        if now is None:
            return None
        gap = (parsedate_to_datetime(moment) - parsedate_to_datetime(now)).total_seconds()
    except (ValueError, TypeError):  # no date, or one without a zone
        return None
    return min(max(gap, 0.0), MAX_RETRY_AFTER)
