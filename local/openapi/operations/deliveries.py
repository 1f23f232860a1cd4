"""Callbacks of a run."""

from __future__ import annotations

from local.openapi import wire
from local.openapi.headers import IF_NONE_MATCH
from local.openapi.operation import Answer, Operation
from local.openapi.operations.runs import TAG, UNCHANGED
from shared import errors

OPERATIONS = (
    Operation(
        function="list_deliveries",
        tag=TAG,
        summary="See what became of a run's callbacks",
        parameters=(IF_NONE_MATCH,),
        answers={
            200: Answer(text="The latest attempts.", model=wire.Deliveries, headers=("ETag",)),
            304: UNCHANGED,
        },
        problems=(errors.RunNotFound,),
    ),
    Operation(
        function="deliver_again",
        tag=TAG,
        summary="Deliver the callback of a run's end again",
        text="Under the same `webhook-id`, also after the receiver wanted no more, or when it was given up.",
        answers={202: Answer(text="It is on its way.", model=wire.Deliveries, headers=("ETag",))},
        problems=(errors.RunNotFound, errors.CallbacksDisabled, errors.NoCallback, errors.RunNotEnded),
    ),
)
