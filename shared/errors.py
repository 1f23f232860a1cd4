"""Every error a caller can meet: a stable code, an HTTP status, and a sentence that says what to do next.

The docstring of a class is its default sentence. ``api.http.problem`` renders them as ``application/problem+json``.
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
        # The docstring is also what the contract and the docs print, so a sentence is written once.
        self.message = message or inspect.cleandoc(type(self).__doc__ or "")
        self.headers = dict(headers or {})
        self.details = details
        super().__init__(self.message)


class Misconfigured(DormouseError):
    """A setting is malformed, the agents cannot be built, or rows have an old format. `GET /api/health` says which."""

    # 5xx: the caller can change nothing about it, and the same request works once the operator has.
    code = "misconfigured"
    status = 503


class StorageUnavailable(DormouseError):
    """Table Storage does not answer. Nothing was lost: send the same request again, with the same Idempotency-Key."""

    code = "storage_unavailable"
    status = 503


class IntakePaused(DormouseError):
    """This app takes no new runs at the moment; those that it has go on. Send the same request again later."""

    # Not 429: nothing is wrong with how much this caller asks for.
    code = "intake_paused"
    status = 503


class EncryptionKeyUnavailable(DormouseError):
    """The key of the stored texts is out of reach. Nothing was lost: send the request again later, with its key."""

    code = "encryption_key_unavailable"
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

    # Not 404, which would read as an address that does not exist: the name is in the body.
    code = "unknown_agent"
    status = 400


class InputTooLarge(DormouseError):
    """The input is larger than this app takes. Send less, or a URL to it."""

    code = "input_too_large"
    status = 413


class TooManyBodies(DormouseError):
    """Too many long request bodies are arriving at once. Send the same request again in some seconds."""

    # Not 429: other callers' bodies fill the memory, and this one has not exceeded any limit of its own.
    code = "too_many_bodies"
    status = 503


class BodyTimeout(DormouseError):
    """The body did not arrive in time. Send the request again."""

    code = "body_timeout"
    status = 408


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

    # The status of the IETF draft, and the one that no client repeats by itself; some repeat 409.
    code = "idempotency_key_reused"
    status = 422


class RunNotFound(DormouseError):
    """There is no such run, or it is not yours."""

    # The same for another owner's run: 403 would confirm that the id exists.
    code = "run_not_found"
    status = 404


class RunUnreadable(DormouseError):
    """This version cannot read the row. Deploy the version that wrote it, or restore the row; then `release` it."""

    code = "run_unreadable"
    status = 409


class RunDeleted(DormouseError):
    """The run that this `Idempotency-Key` started was deleted. Use a new key to start another."""

    # Not a new run: whoever repeats the key wants the result of a run that is gone for good.
    code = "run_deleted"
    status = 410


class ToolCallNotFound(DormouseError):
    """The run has no such tool call. `tool_calls` in the run has the `id` of each."""

    code = "tool_call_not_found"
    status = 404


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


class StartAtInSession(DormouseError):
    """`start_at` begins a session of its own. Leave `session_id` out, or submit the run when its time has come."""

    code = "start_at_in_session"
    status = 400


class ScheduleNotFound(DormouseError):
    """There is no such schedule, or it is not yours."""

    code = "schedule_not_found"
    status = 404


class TooManySchedules(DormouseError):
    """You have as many schedules as you may. Delete one, then send the same request again."""

    # Not 429: no time that passes makes room.
    code = "too_many_schedules"
    status = 409


class SessionBusy(DormouseError):
    """A run of this session is active. Wait for it or cancel it, then send the request again."""

    # One active run a session: two at once would both continue from the same response.
    code = "session_busy"
    status = 409


class TooManyActiveRuns(DormouseError):
    """You have as many active runs as you may. Wait for one or cancel one, then send the same request again."""

    code = "too_many_active_runs"
    status = 429


class TooManyViewers(DormouseError):
    """You have as many open streams and waiting requests as you may. Close one, or send the same again later."""

    # An open stream occupies one of the few requests that an instance takes at a time.
    code = "too_many_viewers"
    status = 429


class AlreadyAnswered(DormouseError):
    """This call was answered otherwise already, and an answer is final. Look at the run to see which."""

    code = "already_answered"
    status = 409


class NotWaiting(DormouseError):
    """The run asks nothing about this call. `required_action` of the run lists the calls that wait for an answer."""

    code = "not_waiting"
    status = 409


class AmbiguousCallId(DormouseError):
    """The run has had several calls of this `call_id`. Answer with the `id` that `required_action` shows beside it."""

    code = "ambiguous_call_id"
    status = 409


class RunEnded(DormouseError):
    """The run has ended, so it takes no answers any more."""

    code = "run_ended"
    status = 409


class CallbacksDisabled(DormouseError):
    """This app sends no callbacks. Set DORMOUSE_CALLBACK_SECRET (`whsec_…`), or leave `callback_url` out."""

    code = "callbacks_disabled"
    status = 400


class NoCallback(DormouseError):
    """It was submitted without a `callback_url`, so there is nothing to deliver. `GET` it instead."""

    code = "no_callback"
    status = 409


class RunNotEnded(DormouseError):
    """The run has not ended, so there is nothing to deliver again. Its callback comes when it ends."""

    code = "run_not_ended"
    status = 409


class BatchNotEnded(DormouseError):
    """The batch has not ended, so there is nothing to deliver or to retry yet. Wait for its end, or cancel it."""

    code = "batch_not_ended"
    status = 409


class NothingToRetry(DormouseError):
    """No item of the batch that could run again has ended so. One that was wrong at submit is to be sent corrected."""

    # Not an empty batch: whoever retries in a loop needs a plain sign that nothing is left.
    code = "nothing_to_retry"
    status = 409


class ModelNotAllowed(DormouseError):
    """The agent does not let callers choose this model. Leave `model` out, or take one that `GET /api/agents` lists."""

    code = "model_not_allowed"
    status = 400


class ToolOutputsMissing(DormouseError):
    """The conversation waits for the outputs of calls that its caller makes. Send them, or begin a new conversation."""

    code = "tool_outputs_missing"
    status = 400


class NoSuchToolCall(DormouseError):
    """There is no call that this output belongs to. Send the call before it, or go on from the response that has it."""

    code = "no_such_tool_call"
    status = 400


class AgentMismatch(DormouseError):
    """This session belongs to another agent. Name that agent, or leave `agent` out."""

    code = "agent_mismatch"
    status = 409


class InvalidEventId(DormouseError):
    """`Last-Event-ID` (or `after`) must be the `id` of an event of this run, or nothing, to begin with the state."""

    code = "invalid_event_id"
    status = 400


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


class DelegationDisabled(DormouseError):
    """This app acts for no users. Leave `Dormouse-On-Behalf-Of` out, or set DORMOUSE_DELEGATION to `1`."""

    # Not ignored: the caller would take everybody's runs for those of the user.
    code = "delegation_disabled"
    status = 403


class DelegationNotAllowed(DormouseError):
    """This key may not act for users. Leave `Dormouse-On-Behalf-Of` out, or set `+delegate` behind the key's name."""

    code = "delegation_not_allowed"
    status = 403


class UserRequired(DormouseError):
    """This app takes only calls that name a user. Send `Dormouse-On-Behalf-Of: <the user's id>`."""

    code = "user_required"
    status = 400


class InvalidUser(DormouseError):
    """`Dormouse-On-Behalf-Of` takes one id of 1 to 128 ASCII letters, digits, and `.` `_` `~` `@` `-`."""

    code = "invalid_user"
    status = 400


class CrossSite(DormouseError):
    """A page of another site sent this. Name its origin in DORMOUSE_ALLOWED_ORIGINS if it may change things here."""

    # The sign-in is a cookie, which the browser sends along whichever page makes the call.
    code = "cross_site"
    status = 403


class TokensDisabled(DormouseError):
    """This app gives out no run tokens. Set DORMOUSE_RUN_TOKEN_SECRET, or leave the token out."""

    code = "tokens_disabled"
    status = 400


class TokenInQuery(DormouseError):
    """Send the token as `Authorization: Bearer …`. What is in an address gets logged: do not use this token again."""

    code = "token_in_query"
    status = 400


class TokenRequired(DormouseError):
    """This takes a run token. Send it as `Authorization: Bearer …`."""

    code = "token_required"
    status = 401


class InvalidToken(DormouseError):
    """This is no run token of this app, or not one any more. Get a new one from whoever gave you this."""

    # One for all that can be wrong: what exactly would help only who tries to make one.
    code = "invalid_token"
    status = 401


class TokenExpired(DormouseError):
    """This run token has expired. Get a new one from whoever gave you this."""

    code = "token_expired"
    status = 401


class TokenRightMissing(DormouseError):
    """This run token does not allow that. Ask for one with the right to `read`, `answer` or `cancel`."""

    code = "token_right_missing"
    status = 403


class OriginNotAllowed(DormouseError):
    """Pages of this origin may not call this app. Its operator names those that may in DORMOUSE_ALLOWED_ORIGINS."""

    code = "origin_not_allowed"
    status = 403


class InvalidApiKey(DormouseError):
    """This API key is none of ours. Send one that the operator of this app gave you, as `Authorization: Bearer …`."""

    code = "invalid_api_key"
    status = 401


class InvalidOperatorKey(DormouseError):
    """This is for who runs the app: send the value of DORMOUSE_OPERATOR_KEY in `x-dormouse-operator-key`."""

    # One for a wrong key and for none: to tell them apart would help nobody who has it.
    code = "invalid_operator_key"
    status = 401


class ModelNotFound(DormouseError):
    """There is no such model here. `model` names an agent; `GET /api/v1/models` lists them."""

    # OpenAI's own code and status, which its clients know.
    code = "model_not_found"
    status = 404


class ResponseNotFound(DormouseError):
    """There is no such response, or it is not yours."""

    code = "response_not_found"
    status = 404


class ItemNotFound(DormouseError):
    """There is no such item to refer to, or it is not yours. Send the item itself instead."""

    # OpenAI's own status.
    code = "item_not_found"
    status = 404


class PreviousResponseNotFound(DormouseError):
    """There is no such previous response, or it is not yours. Leave `previous_response_id` out to begin anew."""

    # OpenAI's own code and status, which its clients know.
    code = "previous_response_not_found"
    status = 400


class ConversationTooLong(DormouseError):
    """This conversation is too long to begin a branch of. Go on from its latest response, or send what matters anew."""

    code = "conversation_too_long"
    status = 400


class ApprovalUnsupported(DormouseError):
    """This agent may ask for approval, which Chat Completions cannot. Ask `/responses`, or use `POST /api/runs`."""

    # Refused before the start: the run would wait for an answer until its deadline.
    code = "approval_unsupported"
    status = 400


class UnsupportedParameter(DormouseError):
    """This app does not do what that parameter asks for. Leave it out."""

    code = "unsupported_parameter"
    status = 400


class StillRunning(DormouseError):
    """The response is not done within the time that a request may wait here. It goes on: retrieve it later."""

    # Not 504: clients repeat any 5xx by themselves, and some 409. 422 is what none of them repeats.
    code = "still_running"
    status = 422


class StreamEnded(DormouseError):
    """This connection ends as planned. Take the stream up again after its last event."""

    # Only sent as an event, after the status line: the status decides nothing but the error's `type`.
    code = "stream_ended"
    status = 503


class TextRestarted(DormouseError):
    """The model began its text anew, with other words. Drop what you have of it, and take the stream up again."""

    # As the one before: only ever an event.
    code = "text_restarted"
    status = 503


class CompletionFailed(DormouseError):
    """The agent did not come to an answer."""

    # A chat completion has no status, so only an error can say that a run failed; a 5xx would be repeated by clients,
    # each time as a new run.
    code = "completion_failed"
    status = 422


class NotFound(DormouseError):
    """No such address here. `GET /api/openapi.json` says what is."""

    code = "not_found"
    status = 404


class MethodNotAllowed(DormouseError):
    """This address does not take that method. The `Allow` header says which it takes."""

    code = "method_not_allowed"
    status = 405
