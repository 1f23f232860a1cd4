"""A default script: the compliance officer, who collects records, files a report and answers with JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from local.model.arguments import call, offered, topic_of
from local.model.conversation import Conversation
from local.model.errors import Json
from local.model.script import Turn

NAME = "compliance"
COLLECT, FILE = "collect_records", "file_report"
_MAX_FINDINGS = 20
_LONGEST_FINDING = 500
_HIGH = re.compile(r"\b(critical|severe|high|breach\w*|missing|expired|overdue|fail\w*|unencrypted)\b", re.I)
_LOW = re.compile(r"\b(low|minor|fine|compliant|complete|passed|ok)\b", re.I)
_REFERENCE = re.compile(r"\b[A-Z]{1,6}-[A-Za-z0-9-]*\d[A-Za-z0-9-]*")


def suits(request: Json) -> bool:
    """Both tools are offered, and structured output."""
    structured = ((request.get("text") or {}).get("format") or {}).get("type") == "json_schema"
    return structured and {COLLECT, FILE} <= offered(request).keys()


def next_turn(conversation: Conversation, request: Json) -> Turn:
    """Collect, then file, then answer. Nothing is filed when there are no records to be had."""
    tools = offered(request)
    topic = topic_of(conversation.latest_user_message)
    outputs = dict(conversation.tool_outputs)
    if COLLECT in tools and COLLECT not in outputs:
        return Turn(calls=(call(tools[COLLECT], topic),))
    found = findings(outputs.get(COLLECT, ""))
    title = f"Compliance report: {topic[:80]}"
    # Filing has an effect, so it must not follow a collection that was refused or failed.
    if FILE in tools and FILE not in outputs and _error(outputs.get(COLLECT, "")) is None:
        return Turn(calls=(call(tools[FILE], _summary(title, found), title=title),))
    filed = FILE in outputs and _error(outputs[FILE]) is None
    reference = _reference(outputs[FILE]) if filed else None
    answer = {"title": title, "findings": found, "filed": filed, "reference": reference}
    return Turn(text=json.dumps(answer, ensure_ascii=False))


def findings(records: str) -> list[Json]:
    """Findings `{area, severity, finding}` in the tool's records, be they JSON or sentences; none in an error."""
    if _error(records) is not None:
        return []
    return [_finding(record) for record in _records(records)][:_MAX_FINDINGS]


def _records(text: str) -> list[Any]:
    parsed = _json(text)
    if isinstance(parsed, dict):
        lists = [value for value in parsed.values() if isinstance(value, list)]
        parsed = lists[0] if lists else [parsed]
    if isinstance(parsed, list):
        return parsed
    # A developer's own tool may return plain sentences.
    return [sentence.strip() for sentence in re.split(r"[;\n]|(?<=[.!?])\s", text) if sentence.strip()]


def _finding(record: Any) -> Json:
    if isinstance(record, dict):
        whole = json.dumps(record, ensure_ascii=False)
        area = _first(record, "area", "category", "domain", "department", "system", "control") or "records"
        finding = _first(record, "finding", "issue", "description", "summary", "text", "note") or whole
        severity = record.get("severity")
    else:
        whole = finding = str(record)
        head, colon, tail = finding.partition(": ")
        area, finding = (head, tail) if colon and tail and len(head) <= 60 else ("records", finding)
        severity = None
    # The output format of the example agent allows these three only.
    if severity not in ("low", "medium", "high"):
        severity = "high" if _HIGH.search(whole) else "low" if _LOW.search(whole) else "medium"
    return {"area": area[:60], "severity": severity, "finding": finding[:_LONGEST_FINDING]}


def _first(record: Json, *names: str) -> str | None:
    return next((value for name in names if isinstance(value := record.get(name), str) and value), None)


def _summary(title: str, found: list[Json]) -> str:
    lines = [f"{each['area']} ({each['severity']}): {each['finding']}" for each in found]
    return "\n".join([f"{title}. {len(found)} finding{'s' * (len(found) != 1)}.", *lines])


def _reference(output: str) -> str | None:
    parsed = _json(output)
    if isinstance(parsed, dict):
        named = _first(parsed, "reference", "reference_id", "report_id", "number", "id")
        if named is not None:
            return named
    written = _REFERENCE.search(output)
    return written[0] if written else None


def _error(output: str) -> Any:
    """The error in a tool's output: a refusal, or a tool that failed."""
    parsed = _json(output)
    return parsed.get("error") if isinstance(parsed, dict) else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
