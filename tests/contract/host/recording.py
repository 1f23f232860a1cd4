"""Recordings of the real host in a short form that loses times and random ids only.

`trim_episodes`, `trim_client` and `trim_http` made the JSON files in this folder from what a recorder in front of
the real host wrote, and make the same of what our host does; so both are compared as plain values.
"""

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PLAIN = re.compile(r"[0-9a-f]{32}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
CUT = 200
MARK = "\n\n$OutOfProcData$:"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _masked(value: Any) -> Any:
    """Ids and times as their shapes; the long .NET details as their beginning."""
    if isinstance(value, dict):
        return {key: _masked(one) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    if value.startswith('{"$type":"System.Exception'):
        return value[:CUT]
    value = GUID.sub("<guid>", value)
    value = PLAIN.sub("<plain>", value)
    return TIME.sub("<time>", value)


def _seconds(later: str, earlier: str) -> float:
    return round((_time(later) - _time(earlier)).total_seconds(), 3)


def _trim_event(event: dict[str, Any], history: list[dict[str, Any]], place: int) -> dict[str, Any]:
    trimmed = {key: _masked(value) for key, value in event.items() if key != "IsPlayed"}
    if event["EventType"] == 10:  # a timer: relative to the time its orchestrator had
        started = [one for one in history[:place] if one["EventType"] == 12][-1]
        trimmed["FireAt"] = _seconds(event["FireAt"], started["Timestamp"])
    if event["EventType"] == 11:
        created = next(one for one in history if one["EventType"] == 10 and one["EventId"] == event["TimerId"])
        trimmed["FireAt"] = "as created" if event["FireAt"] == created["FireAt"] else "another time"
    return trimmed


def _trim_action(action: dict[str, Any], history: list[dict[str, Any]]) -> dict[str, Any]:
    trimmed = dict(action)
    if "compoundActions" in action:
        trimmed["compoundActions"] = [_trim_action(one, history) for one in action["compoundActions"]]
    if "fireAt" in action:
        timers = [one for one in history if one["EventType"] == 10]
        known = [one["EventId"] for one in timers if abs(_seconds(one["FireAt"], action["fireAt"])) < 0.001]
        last = [one for one in history if one["EventType"] == 12][-1]
        trimmed["fireAt"] = f"timer {known[0]}" if known else f"in {_seconds(action['fireAt'], last['Timestamp'])} s"
    return trimmed


def _trim_state(state: dict[str, Any], history: list[dict[str, Any]]) -> dict[str, Any]:
    actions = [_trim_action(one, history) for one in state["actions"][0]] if state["actions"] else []
    rest = {key: value[:CUT] if key == "error" else value for key, value in state.items()}
    return {**rest, "actions": actions}


def trim_episodes(episodes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Episodes of one instance (`input`, and `output` or `raised`); each shows what is new in its history."""
    trimmed = []
    before: list[dict[str, Any]] = []
    for episode in episodes:
        given = {key: value for key, value in episode["input"].items() if key != "history"}
        history = episode["input"]["history"]
        same_execution = len(history) > len(before) and before and history[0] == before[0]
        seen = len(before) if same_execution else 0
        events = [_trim_event(event, history, place) for place, event in enumerate(history)]
        one: dict[str, Any] = {
            "given": {key: _masked(value) for key, value in given.items()},
            "events before": seen,
            "events": events[seen:],
            "played": "".join("P" if event["IsPlayed"] else "-" for event in history),
        }
        if "raised" in episode:
            text, mark, state = episode["raised"].partition(MARK)
            one["raised"] = text[:CUT]
            # The recorder cut some texts before the state.
            one["state"] = _trim_state(json.loads(state), history) if mark else None
        else:
            one["returned"] = _trim_state(episode["output"], history)
        trimmed.append(one)
        before = history
    return trimmed


def trim_reply(reply: Any) -> Any:
    """A reply of the management routes: times masked, links without their host and secrets."""
    if isinstance(reply, list):
        return [trim_reply(one) for one in reply]
    if isinstance(reply, dict):
        return {key: trim_reply(value) for key, value in reply.items()}
    if not isinstance(reply, str):
        return reply
    reply = re.sub(r"http://[^/]+", "<host>", reply)
    reply = re.sub(r"taskHub=[^&]+", "taskHub=<hub>", re.sub(r"code=[^&]+", "code=<key>", reply))
    if '{"$type":"System.Exception' in reply:
        reply = reply[:CUT]
    return TIME.sub("<time>", reply)
