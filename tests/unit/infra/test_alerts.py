"""The alerts look for sentences that the app really logs, at levels that host.json lets through."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

import pytest

from local import ROOT
from local.infra.bicep import literal, properties
from local.infra.templates import files
from shared.runs.model.phases import RunStatus
from shared.telemetry.metrics import METRICS


def logged() -> Iterator[tuple[str, str]]:
    """Each sentence that the app can log, with the method that does; statuses are spelt out."""
    for path in sorted((ROOT / "shared").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).startswith(("log.", "_log.")):
                continue
            template = next(
                (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)), ""
            )
            for status in RunStatus:
                filled = re.sub(r"%[sdg]$", status, template)
                yield re.sub(r"%[sdg]", "run_0198", filled), ast.unparse(node.func).partition("log.")[2]


def queries() -> dict[str, str]:
    """The query of each rule, by the rule's name."""
    alerts = next(file for file in files(ROOT) if file.name.endswith("alerts.bicep"))
    rules = [properties(node) for node in alerts.objects]
    return {
        str(literal(rule["name"][1])): str(literal(rule["query"][1]))
        for rule in rules
        if {"name", "query"} <= set(rule)
    }


def test_there_is_an_alert_for_each_of_these() -> None:
    assert set(queries()) == {"failures", "overdue", "provider-denied", "late", "retention-behind", "daily-cap"}


def test_each_sentence_that_an_alert_looks_for_is_one_that_the_app_logs_as_a_warning() -> None:
    sentences = set(logged())
    found = {}
    for query in queries().values():
        for how, phrase in re.findall(r'Message (matches regex|has|startswith) "([^"]+)"', query):
            expression = phrase if how == "matches regex" else ("^" if how == "startswith" else "") + re.escape(phrase)
            found[phrase] = {method for sentence, method in sentences if re.search(expression, sentence)}
    assert found == {
        "^run [^ ]+ is failed$": {"log"},  # at the level of a warning, which a test of the use cases holds
        "is overdue since": {"warning"},
        "the sweep ran into its limit of": {"warning"},
        "retention ran into its limit of": {"warning"},
    }


def of_metrics() -> dict[str, str]:
    """Each query of metrics: the alerts', and the workbook's by its title."""
    book = json.loads((ROOT / "infra" / "modules" / "workbook.json").read_text("utf-8"))
    asked = {each["content"]["title"]: each["content"]["query"] for each in book["items"] if each["type"] == 3}
    return {name: query for name, query in (queries() | asked).items() if re.search("(App|custom)Metrics", query)}


@pytest.mark.parametrize("query", of_metrics().values(), ids=of_metrics())
def test_a_query_of_metrics_has_names_of_metrics_and_of_attributes_that_these_have(query: str) -> None:
    asked = set(re.findall(r'"((?:dormouse|gen_ai)[.a-z_]+)"(?!\])', query)) - {"dormouse.waits"}
    metrics = {metric.name: metric for metric in METRICS}
    assert asked
    assert asked <= metrics.keys()
    attributes = set(re.findall(r'(?:customDimensions|Properties)\["([^"]+)"\]', query))
    assert attributes <= {name for each in asked for name in metrics[each].attributes}


def test_the_workbook_asks_for_every_metric() -> None:
    asked = " ".join(of_metrics().values())
    assert [metric.name for metric in METRICS if f'"{metric.name}"' not in asked] == []


def test_what_is_extracted_from_the_sentence_of_an_overdue_run_is_the_run() -> None:
    expression = re.search(r'extract\("([^"]+)", 1, Message\)', queries()["overdue"])
    assert expression is not None
    sentence = next(sentence for sentence, _ in logged() if "is overdue since" in sentence)
    assert re.findall(expression[1], sentence) == ["run_0198"]


def test_no_level_in_host_json_hides_a_warning() -> None:
    levels = json.loads((ROOT / "host.json").read_text("utf-8"))["logging"]["logLevel"]
    assert not {name: level for name, level in levels.items() if level in ("Error", "Critical", "None")}
