"""A run as the objects of the OpenAI API: complete, so that its typed clients can read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.agentkit.agent import Agent, Usage
from shared.api.v1.names import completion_id, response_id
from shared.api.v1.output import Said, message, shown
from shared.runs.model.ids import run_id
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run

FINISHES = {"max_output_tokens": "length", "content_filter": "content_filter"}


def response_object(run: Run, said: Sequence[Said] = (), *, agent: Agent | None = None) -> dict[str, Any]:
    """The run as a response. ``output`` is empty until it has ended, as the provider's own is."""
    ended = run.terminal
    form = None if agent is None or agent.output is None else agent.output.response_format()
    failed = run.result.error_code is not None
    return {
        "id": response_id(run.id),
        "object": "response",
        "created_at": int(run.request.created_at.timestamp()),
        "completed_at": int(run.completed_at.timestamp()) if _completed(run) and run.completed_at else None,
        # a person's answer is awaited: no client here can give it
        "status": "in_progress" if run.status is RunStatus.REQUIRES_ACTION else run.status.value,
        "background": run.request.background,
        "model": run.request.agent,
        "output": [message(run, each) for each in shown(run, said)] if ended else [],
        "error": {"code": run.result.error_code, "message": run.result.error_message or ""} if failed else None,
        "incomplete_details": None
        if run.result.incomplete_reason is None
        else {"reason": run.result.incomplete_reason},
        "usage": _usage(run.counters.usage) if ended else None,
        "metadata": run.request.metadata,
        "previous_response_id": None
        if run.request.follows is None
        else response_id(run_id(run.request.session_id, run.request.follows)),
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "parallel_tool_calls": True,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": form or {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }


def completion_object(run: Run, said: Sequence[Said]) -> dict[str, Any]:
    """The run as a chat completion."""
    words = shown(run, said)
    refused = bool(words) and all(each.refusal and not each.text for each in words)
    text = "\n\n".join(each.words for each in words)
    return {
        "id": completion_id(run),
        "object": "chat.completion",
        "created": int(run.request.created_at.timestamp()),
        "model": run.request.agent,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None if refused else text,
                    "refusal": text if refused else None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": finish_reason(run),
            }
        ],
        "usage": chat_usage(run.counters.usage),
        "service_tier": "default",
        "system_fingerprint": None,
    }


def finish_reason(run: Run) -> str:
    """Why a completion ended."""
    return "stop" if run.result.incomplete_reason is None else FINISHES.get(run.result.incomplete_reason, "length")


def chat_usage(usage: Usage) -> dict[str, Any]:
    """Tokens in the words of Chat Completions."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def model_object(name: str, description: str) -> dict[str, Any]:
    """An agent as a model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "dormouse", "description": description}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _completed(run: Run) -> bool:
    return run.status is RunStatus.COMPLETED
