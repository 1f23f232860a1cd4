"""Examples of bodies and answers. Answers are those that the app has given: by the sample agents and the scripted
model, on the schedule of the tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_KEPT: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
_ONE_RUN = {"completed": _KEPT["completed"], "waiting for a person": _KEPT["parked"]}
_A_TOKEN = {"a token": {"token": "eyJhbGciOi…", "expires_at": "2026-11-21T19:47:30.000Z"}}

BODIES: Mapping[str, Mapping[str, Any]] = {
    "create_run": {
        "a story": {"input": "Write a short story about a dormouse in space."},
        "a report, with limits": {
            "input": "The payroll system",
            "agent": "compliance",
            "metadata": {"case": "2026-117"},
            "deadline_seconds": 3600,
            "limits": {"turns": 10, "total_tokens": 200000},
        },
        "an image": {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is on this picture?"},
                        {"type": "input_image", "image_url": "https://example.com/dormouse.png"},
                    ],
                }
            ]
        },
    },
    "answer_run": {
        "a refusal": {"answers": {"apr_5d41c8": {"approve": False, "reason": "Not before the audit."}}},
        "two approvals": {"answers": {"apr_5d41c8": {"approve": True}, "apr_77aa03": {"approve": True}}},
    },
    "create_run_token": {
        "for a page that shows the run": {"rights": ["read"], "seconds": 900},
        "for who is to decide": {"rights": ["read", "answer"], "seconds": 86400, "label": "Ann, by mail"},
    },
    "create_batch_token": {"for a page that shows the batch": {"rights": ["read"], "seconds": 900}},
    "create_batch": {
        "two stories": {
            "agent": "novelist",
            "items": [{"id": "a", "input": "A dormouse in space."}, {"id": "b", "input": "One on the moon."}],
        }
    },
    "receive_webhook": {"done": {"type": "response.completed", "data": {"id": "resp_0123"}}},
    "v1_create_response": {"a story": {"model": "novelist", "input": "A dormouse in space.", "background": True}},
    "v1_create_completion": {
        "a question": {"model": "analyst", "messages": [{"role": "user", "content": "How is tea doing?"}]}
    },
}
"""By the name of the trigger's function."""

ANSWERS: Mapping[tuple[str, int], Mapping[str, Any]] = {
    ("create_run", 202): {"begun": _KEPT["begun"]},
    ("create_run", 200): {"completed": _KEPT["completed"]},
    ("list_runs", 200): {"a page": _KEPT["page_of_runs"]},
    ("get_run", 200): _ONE_RUN,
    ("cancel_run", 200): _ONE_RUN,
    ("answer_run", 200): _ONE_RUN,
    ("create_run_token", 200): _A_TOKEN,
    ("create_batch_token", 200): _A_TOKEN,
    ("shared_get_run", 200): _ONE_RUN,
    ("shared_answer_run", 200): _ONE_RUN,
    ("shared_cancel_run", 200): _ONE_RUN,
    ("get_session", 200): {"one run": _KEPT["session"]},
    ("list_agents", 200): {"the samples": _KEPT["agents"]},
    ("get_health", 200): {"alive": {"status": "ok"}},
    ("get_health", 503): {
        "a setting": {"status": "misconfigured", "detail": "DORMOUSE_DRIVER: Input should be 'durable' or 'timer'"}
    },
    ("get_health_deep", 200): {"well": _KEPT["well"]},
    ("get_health_deep", 503): {"unwell": _KEPT["unwell"]},
}
"""By the name of the trigger's function, and the status."""
