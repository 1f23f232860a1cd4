"""What is here, is it alive, is it well, and the contract itself."""

from __future__ import annotations

from local.openapi import examples, wire
from local.openapi.headers import IF_NONE_MATCH
from local.openapi.operation import Answer, Operation
from local.openapi.operations.runs import UNCHANGED

TAG = "about"

OPERATIONS = (
    Operation(
        function="list_agents",
        tag=TAG,
        summary="List the agents",
        answers={200: Answer(text="The agents.", model=wire.AgentList, examples={"the samples": examples.AGENTS})},
    ),
    Operation(
        function="get_health",
        tag=TAG,
        summary="Is it alive?",
        text="Needs no key, and opens no connection.",
        answers={
            200: Answer(text="It is.", model=wire.Health, examples={"alive": {"status": "ok"}}),
            503: Answer(
                text="A setting is malformed, or the agents cannot be built.",
                model=wire.Misconfigured,
                examples={
                    "a setting": {
                        "status": "misconfigured",
                        "detail": "DORMOUSE_DRIVER: Input should be 'durable' or 'timer'",
                    }
                },
            ),
        },
        bare=True,
    ),
    Operation(
        function="get_health_deep",
        tag=TAG,
        summary="Is it well?",
        text="Storage, provider and settings, each tried now. Always needs a function key in Azure.",
        answers={
            200: Answer(text="It is.", model=wire.DeepHealth, examples={"well": examples.WELL}),
            503: Answer(text="Something is not.", model=wire.DeepHealth, examples={"unwell": examples.UNWELL}),
        },
        security=("functionKey",),
    ),
    Operation(
        function="get_openapi",
        tag=TAG,
        summary="The contract: this document",
        parameters=(IF_NONE_MATCH,),
        answers={
            200: Answer(text="OpenAPI 3.1.", schema={"type": "object", "required": ["openapi"]}, headers=("ETag",)),
            304: UNCHANGED,
        },
    ),
)
