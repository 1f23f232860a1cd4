"""A caller with nothing but the client that openapi-python-client makes of the contract."""

from __future__ import annotations

import json
import sys

from generated import AuthenticatedClient, Client
from generated.api.batches import create_batch
from generated.api.open_ai_clients import v1_create_completion, v1_create_response
from generated.api.runs import cancel_run, create_run, get_run, get_run_head, list_runs, watch_run
from generated.models import (
    BatchBody,
    ItemBody,
    Problem,
    Run,
    RunBody,
    RunBodyMetadata,
    SubmittedRun,
    V1CreateCompletionBody,
    V1CreateCompletionBodyMessagesItem,
    V1CreateResponseBody,
)

FINAL = {"completed", "incomplete", "failed", "cancelled"}


def run_of(answer: Run | SubmittedRun | Problem | None) -> Run | SubmittedRun:
    """The run in an answer."""
    assert isinstance(answer, Run | SubmittedRun), answer
    return answer


def main(url: str, key: str) -> None:
    """Submit, read, watch, cancel; print what came of it."""
    client = AuthenticatedClient(url, token="unused", timeout=60)
    begun = run_of(create_run.sync(client=client, body=RunBody(input_="A dormouse in space.")))
    done = begun
    while done.status not in FINAL:
        done = run_of(get_run.sync(begun.id, client=client, wait=10))
    metadata = RunBodyMetadata.from_dict({"case": "12"})
    asked = RunBody(input_="[script:stuck]", agent="workshop", metadata=metadata, stream=True)
    told = run_of(create_run.sync(client=client, body=asked))
    cancelled = run_of(cancel_run.sync(told.id, client=client))
    events = watch_run.sync(told.id, client=client)
    assert isinstance(events, str), events
    head = get_run_head.sync_detailed(told.id, client=client)
    page = list_runs.sync(client=client, limit=2)
    refused = create_run.sync(client=client, body=RunBody(input_=""))
    nobody = get_run.sync_detailed("run_" + "0" * 32 + "_1", client=client)
    batch = create_batch.sync(client=client, body=BatchBody(items=[ItemBody(input_="A story.")]))
    openai = AuthenticatedClient(url, token=key, timeout=60)
    body = V1CreateResponseBody(model="analyst", input_="How is tea doing?", background=True)
    message = V1CreateCompletionBodyMessagesItem.from_dict({"role": "user", "content": "How is tea doing?"})
    chat = V1CreateCompletionBody(model="analyst", messages=[message])
    stranger = get_run.sync_detailed(begun.id, client=Client(sys.argv[3]))
    print(
        json.dumps(
            {
                "begun": begun.id,
                "done": [done.status, done.text, [call.state for call in done.tool_calls]],
                "cancelled": [cancelled.status, cancelled.metadata.to_dict()],
                "events": [line for line in events.split("\n") if line.startswith("event: ")],
                "head": [head.status_code, head.parsed, bool(head.headers["etag"])],
                "page": [run.id for run in page.data],
                "refused": [refused.code, nobody.status_code, nobody.parsed.code],
                "batch": batch.status,
                "response": v1_create_response.sync(client=openai, body=body).object_,
                "completion": v1_create_completion.sync(client=openai, body=chat).object_,
                "stranger": [stranger.status_code, stranger.parsed],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
