"""Every error a caller can meet: a stable code, an HTTP status, and a sentence that says what to do next.

The docstring of a class is its default sentence. ``api.problems`` renders them as ``application/problem+json``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar


class DormouseError(Exception):
    """Something went wrong on our side. Try again; if it stays, the logs of the app name the cause."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, *, headers: Mapping[str, str] | None = None, **details: Any) -> None:
        self.message = message or inspect.cleandoc(type(self).__doc__ or "")
        self.headers = dict(headers or {})
        self.details = details
        super().__init__(self.message)


class Misconfigured(DormouseError):
    """A setting of this app is malformed. `GET /api/health` names it."""

    code = "misconfigured"
    status = 503


class StorageUnavailable(DormouseError):
    """Table Storage does not answer. Nothing was lost: send the same request again, with the same Idempotency-Key."""

    code = "storage_unavailable"
    status = 503


class InvalidRequest(DormouseError):
    """The request does not fit the contract."""

    code = "invalid_request"
    status = 400


class InvalidJson(DormouseError):
    """The body is not a JSON object in UTF-8. Send one with `Content-Type: application/json`."""

    code = "invalid_json"
    status = 400


class UnknownAgent(DormouseError):
    """There is no agent of that name here. `GET /api/agents` lists them."""

    code = "unknown_agent"
    status = 400


class InputTooLarge(DormouseError):
    """The input is larger than this app takes. Send less, or a URL to it."""

    code = "input_too_large"
    status = 413


class UnsupportedMediaType(DormouseError):
    """Send the body as `Content-Type: application/json`."""

    code = "unsupported_media_type"
    status = 415


class InvalidIdempotencyKey(DormouseError):
    """`Idempotency-Key` must be 1 to 255 visible ASCII characters, bare or in double quotes."""

    code = "invalid_idempotency_key"
    status = 400


class IdempotencyKeyReused(DormouseError):
    """This `Idempotency-Key` was used with another payload. Use a new key for a new request."""

    code = "idempotency_key_reused"
    status = 422


class RunNotFound(DormouseError):
    """There is no such run, or it is not yours."""

    code = "run_not_found"
    status = 404


class RunDeleted(DormouseError):
    """The run that this `Idempotency-Key` started was deleted. Use a new key to start another."""

    code = "run_deleted"
    status = 410


class BatchNotFound(DormouseError):
    """There is no such batch, or it is not yours."""

    code = "batch_not_found"
    status = 404


class BatchDeleted(DormouseError):
    """The batch that this `Idempotency-Key` started was deleted. Use a new key to start another."""

    code = "batch_deleted"
    status = 410


class SessionNotFound(DormouseError):
    """There is no such session, or it is not yours. Leave `session_id` out to begin a new one."""

    code = "session_not_found"
    status = 404


class SessionBusy(DormouseError):
    """A run of this session is active. Wait for it or cancel it, then send the request again."""

    code = "session_busy"
    status = 409


class AlreadyAnswered(DormouseError):
    """This call was answered otherwise already, and an answer is final. Look at the run to see which."""

    code = "already_answered"
    status = 409


class NotWaiting(DormouseError):
    """The run asks nothing about this call. `required_action` of the run lists the calls that wait for an answer."""

    code = "not_waiting"
    status = 409


class RunEnded(DormouseError):
    """The run has ended, so it takes no answers any more."""

    code = "run_ended"
    status = 409


class ModelNotAllowed(DormouseError):
    """The agent does not let callers choose this model. Leave `model` out, or take one that `GET /api/agents` lists."""

    code = "model_not_allowed"
    status = 400


class AgentMismatch(DormouseError):
    """This session belongs to another agent. Name that agent, or leave `agent` out."""

    code = "agent_mismatch"
    status = 409


class InvalidSignature(DormouseError):
    """The webhook's signature or timestamp is not right. Check that both sides have the same secret and the time."""

    code = "invalid_signature"
    status = 401


class ProviderUnavailable(DormouseError):
    """The model provider did not answer this app. Send the same again."""

    code = "provider_unavailable"
    status = 503


class Unauthenticated(DormouseError):
    """Sign in first: this app takes only authenticated callers."""

    code = "unauthenticated"
    status = 401


class NotFound(DormouseError):
    """No such address here. `GET /api/agents` and the README say what is."""

    code = "not_found"
    status = 404


class MethodNotAllowed(DormouseError):
    """This address does not take that method. The `Allow` header says which it takes."""

    code = "method_not_allowed"
    status = 405
