"""What can go wrong between us and a provider, sorted by what it means for the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.agentkit.lenient import MAX_MESSAGE, mapping, well_formed, word
from shared.agentkit.redaction import for_callers, plain_code, without_secrets

NOT_SENT = "not_sent"
"""The code of a fault of our own: nothing was sent, because no slot was free."""
CREDENTIALS_REFUSED = "The model provider refuses this app's credentials. The log of the app has its words."
NO_CREDENTIAL = "This app has no token or key for the model provider. The log of the app says why."
# A look that gets 401 or 403 is ``NoNews`` with the status as its code, not ``AccessDenied``.
_REFUSED_CODES = frozenset({"http_401", "http_403"})


_WORDS_OF_OUR_SIDE = frozenset({NOT_SENT, "no_credential", "provider_unreachable", "agent_error"})
"""Codes of what never came from a provider: the words are the client's, or our own."""


class ProviderFault(Exception):
    """The provider gave no usable answer. ``retry_after`` in seconds, where it said so.

    ``message`` is without what looks like a secret. The log gets ``for_log`` of it, callers ``for_callers``.
    """

    def __init__(self, message: str, *, code: str = "provider_error", retry_after: float | None = None) -> None:
        # Providers repeat keys and headers in their errors ("Incorrect API key provided: …").
        self.message = well_formed(without_secrets(message))
        super().__init__(self.message)
        self.code = plain_code(code)
        self.retry_after = retry_after

    @property
    def is_denial(self) -> bool:
        """Whether this app's credentials are what is wrong."""
        return isinstance(self, AccessDenied) or self.code in _REFUSED_CODES or self.code == "no_credential"

    @property
    def for_log(self) -> str:
        """The code; and the words only where they cannot repeat what was asked.

        Providers quote prompts in their refusals. The owner of the run reads those words, in its error.
        """
        if self.is_denial or self.code in _WORDS_OF_OUR_SIDE:
            return f"{self.code}: {self.message}"
        return self.code

    @property
    def for_callers(self) -> str:
        """What a caller may read of it: of a credential's fault nothing of the provider's own."""
        if self.code == "no_credential":
            return NO_CREDENTIAL
        if self.is_denial:
            return CREDENTIALS_REFUSED
        return for_callers(self.message)


class NotAccepted(ProviderFault):
    """The request surely did not start anything: no connection, 409, 429, 503 with Retry-After."""


class RequestNotBuilt(ProviderFault):
    """The agent's own code failed, so that there was nothing to send.

    ``message`` names the exception's type alone: its text may hold what is not for callers.
    """


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
    """A query about a response went unanswered; the response may be fine."""


class ResponseMissing(ProviderFault):
    """The provider does not know this response (404)."""


class NotStreamed(ProviderFault):
    """The response cannot be followed, or no longer: the provider replays a stream for some minutes only (400)."""


_NOT_ACCEPTED = frozenset({"rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "too_many_requests"})
_ACCESS_DENIED = frozenset({"invalid_api_key", "authentication_error", "permission_error"})
_REFUSED = frozenset({"invalid_request_error", "invalid_prompt", "model_not_found", "context_length_exceeded"})
"""Codes and types of an error inside a stream, which has no HTTP status of its own."""


def of_error_event(event: Mapping[str, Any]) -> ProviderFault:
    """The fault of a create whose stream begins with an error: the one that its HTTP status would have meant."""
    error = mapping(event.get("error")) or event
    codes = {word(error.get(name)) for name in ("code", "type")}
    text = word(error.get("message"), MAX_MESSAGE) or "The stream began with an error."
    code = word(error.get("code")) or "stream_error"
    if "previous_response_not_found" in codes or error.get("param") == "previous_response_id":
        return PreviousResponseMissing(text, code=code)
    # Azure OpenAI has no code of its own for tool outputs after a background response.
    if "No tool call found" in text:
        return ToolOutputsRefused(text, code=code)
    if codes & _NOT_ACCEPTED:
        return NotAccepted(text, code=code)
    if codes & _ACCESS_DENIED:
        return AccessDenied(text, code=code)
    # An unknown code: the request may have been accepted, so it must not simply be sent again.
    return (Refused if codes & _REFUSED else PerhapsAccepted)(text, code=code)
