"""What the model provider calls."""

from __future__ import annotations

from local.openapi.operation import Answer, Body, Operation, Parameter
from shared import errors

OPERATIONS = (
    Operation(
        function="receive_webhook",
        tag="webhooks",
        summary="The model provider says that a response is done",
        text="Standard Webhooks: signed on the raw body. 404 while `OPENAI_WEBHOOK_SECRET` is not set.",
        parameters=tuple(
            Parameter(name=name, place="header", text=text, schema={"type": "string"})
            for name, text in (
                ("webhook-id", "The message's id."),
                ("webhook-timestamp", "When it was sent, in seconds since 1970."),
                ("webhook-signature", "`v1,` and the signature of id, timestamp and body."),
            )
        ),
        body=Body(
            schema={
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "data": {"type": "object", "properties": {"id": {"type": "string"}}},
                },
            },
            examples={"done": {"type": "response.completed", "data": {"id": "resp_0123"}}},
        ),
        answers={200: Answer(text="Taken, or of no concern.")},
        problems=(
            errors.NotFound,
            errors.InvalidSignature,
            errors.InvalidJson,
            errors.BodyTimeout,
            errors.InputTooLarge,
            errors.ProviderUnavailable,
        ),
    ),
)
