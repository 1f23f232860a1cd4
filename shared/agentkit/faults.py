"""What can go wrong between us and a provider, sorted by what it means for the run."""

from __future__ import annotations


class ProviderFault(Exception):
    """The provider gave no usable answer. ``retry_after`` in seconds, where it said so."""

    def __init__(self, message: str, *, code: str = "provider_error", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retry_after = retry_after


class NotAccepted(ProviderFault):
    """The request surely did not start anything: no connection, 409, 429, 503 with Retry-After."""


class Refused(ProviderFault):
    """The request was read and refused for good: 400, 404, 413, 422."""


class AccessDenied(ProviderFault):
    """401 or 403: perhaps a role that is not there yet."""


class PreviousResponseMissing(ProviderFault):
    """The response to continue from is not (yet, or any longer) known to the provider."""


class ToolOutputsRefused(ProviderFault):
    """The provider takes no tool outputs after this predecessor (Azure OpenAI after a background response)."""


class PerhapsAccepted(ProviderFault):
    """The request was sent and the outcome is unknown: it may run, and be billed."""


class NoNews(ProviderFault):
    """A question about a response went unanswered; the response may be fine."""


class ResponseMissing(ProviderFault):
    """The provider does not know this response (404)."""
