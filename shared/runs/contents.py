"""What was said, for spans: only where the app is set to let prompts, texts, arguments and results into its traces.

The shapes are those of OpenTelemetry's conventions for generative AI (`gen_ai.input.messages` and its like).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shared.agentkit.agent import Item

LONGEST = 4_000
"""Characters of a text, an argument or a result: what is longer is cut."""

MOST = 50
"""Messages of a span: the last ones."""


def messages(items: Iterable[Item]) -> str:
    """Items that were sent or received, as JSON."""
    found = [message for item in items if (message := _message(item)) is not None]
    return json.dumps(found[-MOST:], ensure_ascii=False)


def cut(text: str) -> str:
    """A text as a span has it."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _message(item: Item) -> dict[str, Any] | None:
    match item.get("type", "message"):
        case "message":
            return {"role": str(item.get("role", "user")), "parts": [*_texts(item.get("content"))]}
        case "function_call":
            call = {"type": "tool_call", "id": item["call_id"], "name": item["name"]}
            return {"role": "assistant", "parts": [call | {"arguments": cut(item["arguments"])}]}
        case "function_call_output":
            result = {"type": "tool_call_response", "id": item["call_id"], "response": _output(item.get("output"))}
            return {"role": "tool", "parts": [result]}
    return None  # reasoning, hosted tools: the provider's own


def _texts(content: Any) -> Iterator[dict[str, str]]:
    for part in [content] if isinstance(content, str) else content or []:
        if isinstance(part, str):
            yield {"type": "text", "content": cut(part)}
        elif isinstance(part, Mapping):
            text = part.get("text") or part.get("refusal")
            yield {"type": "text", "content": cut(str(text))} if text else {"type": str(part.get("type", "unknown"))}


def _output(output: Any) -> str:
    return cut(output if isinstance(output, str) else json.dumps(output, ensure_ascii=False))
