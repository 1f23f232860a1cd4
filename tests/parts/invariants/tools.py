"""What tools are started: each finished one once, and none before whoever has to has approved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from shared.runs.model.calls import Approval, CallState
from tests.parts.invariants.seen import Seen, ToolStart


def finished_tools_run_once(seen: Seen) -> Iterator[str]:
    """A tool whose result is in its row is never started again; each start before is counted, and made once."""
    for key, starts in _by_key(seen).items():
        if len({each.start for each in starts}) < len(starts):
            yield f"{key} was started twice under one count: {sorted(each.start for each in starts)}"
        versions = seen.versions_of_calls.get(key)
        if versions is None:
            continue
        call = versions[-1]
        if len(starts) > max(each.starts for each in versions):
            yield f"{key} was started {len(starts)} times, and its row counts {call.starts}"
        if call.name in seen.at_most_once and len(starts) > 1:
            yield f"{key} ({call.name}) is never to be started twice, and was {len(starts)} times"
        for each in starts:
            if each.at is not None and call.finished_at is not None and each.at > call.finished_at:
                yield f"{key} was finished at {call.finished_at}, and started again at {each.at}"
    for key, versions in seen.versions_of_calls.items():
        finished = [call for call in versions if call.state is CallState.FINISHED]
        if len({(call.result, call.finished_at) for call in finished}) > 1:
            yield f"{key} has finished more than once"
        if finished and versions[-1].state is not CallState.FINISHED:
            yield f"{key} was finished, and is {versions[-1].state}"


def guarded_tools_run_when_approved(seen: Seen) -> Iterator[str]:
    """A tool that needs approval is never started before somebody approved this call."""
    for key in _by_key(seen):
        versions = seen.versions_of_calls.get(key)
        if versions is None or versions[-1].name not in seen.guarded:
            continue
        if not any(call.approval is Approval.APPROVED for call in versions):
            yield f"{key} ({versions[-1].name}) was started, and its approval is {versions[-1].approval}"
    for key, versions in seen.versions_of_calls.items():
        for call in versions:
            if call.name in seen.guarded and call.starts and call.approval is not Approval.APPROVED:
                yield f"{key} ({call.name}) counts {call.starts} starts, and its approval is {call.approval}"


def _by_key(seen: Seen) -> dict[str, list[ToolStart]]:
    found: dict[str, list[ToolStart]] = defaultdict(list)
    for start in seen.starts:
        found[start.key].append(start)
    return found
