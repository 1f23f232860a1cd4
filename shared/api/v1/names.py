"""How runs, messages and completions are called here: names that carry the run's own id."""

from __future__ import annotations

from shared.runs.model.ids import parse_run_id, run_id
from shared.runs.model.run import Run


def response_id(run: str) -> str:
    """``resp_<session>_<n>`` for ``run_<session>_<n>``."""
    return f"resp_{run.removeprefix('run_')}"


def run_of_response(response: str) -> tuple[str, int] | None:
    """Session and number of the run behind a response's id; None when it is none of ours."""
    return parse_run_id(f"run_{response.removeprefix('resp_')}") if response.startswith("resp_") else None


def run_id_of(response: str) -> str | None:
    """The id of the run behind a response's id; None when it is none of ours."""
    found = run_of_response(response)
    return None if found is None else run_id(*found)


def message_id(run: Run, turn: int) -> str:
    """The message that a turn of the run ended with: the same in a stream and in the response."""
    return f"msg_{run.id.removeprefix('run_')}_{turn}"


def input_id(run: Run, index: int) -> str:
    """A message of the run's input."""
    return f"msg_{run.id.removeprefix('run_')}_in{index}"


def completion_id(run: Run) -> str:
    """``chatcmpl-<session>_<n>``."""
    return f"chatcmpl-{run.id.removeprefix('run_')}"
