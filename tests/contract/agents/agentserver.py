"""`python agentserver.py <port>`: an independent Responses server that plays the parts named in `[script:<part>]`."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from typing import Any

from azure.ai.agentserver.responses import (  # type: ignore[import-not-found]
    ResponseEventStream,
    ResponsesAgentServerHost,
)

app = ResponsesAgentServerHost()


@app.response_handler  # type: ignore[untyped-decorator]
async def play(request: Any, context: Any, cancelled: asyncio.Event) -> AsyncIterator[Any]:
    """One response."""
    stream = ResponseEventStream(response_id=context.response_id, request=request)
    yield stream.emit_created()
    yield stream.emit_in_progress()
    given = [dict(item) for item in await context.get_input_items()]
    outputs = [str(item["output"]) for item in given if item.get("type") == "function_call_output"]
    part = re.search(r"\[script:(\w+)\]", json.dumps(given, default=str))
    match outputs, part and part[1]:
        case [output], _:
            for event in stream.output_item_message(f"It is add: {output}"):
                yield event
            yield stream.emit_completed()
        case _, "ask":
            for event in stream.output_item_function_call("add", "call_1", '{"a": 2, "b": 3}'):
                yield event
            yield stream.emit_completed()
        case _, "fail":
            yield stream.emit_failed(code="invalid_prompt", message="Not this one.")
        case _, "cut":
            for event in stream.output_item_message("Hello"):
                yield event
            yield stream.emit_incomplete(reason="max_output_tokens")
        case _, "think":
            await cancelled.wait()
        case _:
            for event in stream.output_item_message("Hello there."):
                yield event
            yield stream.emit_completed()


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
