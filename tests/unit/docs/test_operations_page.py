"""docs/operations.md: each question has its answers, a test that types them, and queries of what the app writes."""

from __future__ import annotations

import re

import pytest

from local import ROOT
from local.infra.bicep import literal, properties
from local.infra.templates import files
from shared.telemetry.metrics import METRICS
from tests.acceptance.nights_cloud import UNNOTICED, is_here
from tests.unit.docs.pages import anchors, blocks, blocks_below, headings, text_of, typed_in
from tests.unit.infra.test_alerts import logged

PAGE = ROOT / "docs/operations.md"
HEART = "## The questions of a bad night"

OURS = r"(python -m dormouse_client|python3 dev\.py|curl -s \"\$DORMOUSE_URL|export |until python -m|(OLD|NEW)=)"
"""How commands begin that run here as they do there."""

OF_THE_PLATFORM = {"exited with code", "<run id>", "Timeout value of"}
"""What queries look for that is not the app's to write."""

SPANS = {"chat "}
"""Beginnings of the names of spans (`shared/runs/traces.py`)."""

HEADINGS = [each.text for each in headings(PAGE)]
"""In order."""


def heart() -> str:
    """The part with the questions."""
    page = text_of(PAGE)
    begin = page.index(f"{HEART}\n")
    return page[begin : page.index("\n## ", begin + 1)]


def questions() -> dict[str, str]:
    """Each question, with what stands below it, its parts too."""
    parts = re.split(r"^### (.+)$", heart(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


QUERIES = [each for each in blocks("kusto") if each.page == PAGE]
TYPED = [heading for heading in HEADINGS if blocks_below(PAGE, heading, "console")]


def test_each_question_says_what_to_type_what_one_sees_then_and_what_was_lost() -> None:
    found = questions()
    assert len(found) >= 11
    for question, text in found.items():
        assert "```console" in text, question
        assert "**Lost:**" in text, question
        assert "**Mended:**" in text or "#### " in text, question
        assert f"](#{re.sub('[^a-z0-9 ]', '', question.lower()).replace(' ', '-')})" in heart(), question


@pytest.mark.parametrize("heading", TYPED)
def test_what_is_below_a_heading_is_typed_by_a_test_that_names_it(heading: str) -> None:
    tests = "".join(file.read_text("utf-8") for file in (ROOT / "tests/acceptance").glob("test_*.py"))
    assert f'"{heading}"' in tests


def test_each_command_runs_here_or_is_excused_with_a_reason() -> None:
    commands = [
        command for heading in TYPED for block in blocks_below(PAGE, heading, "console") for command in typed_in(block)
    ]
    assert len(commands) > 40
    assert not [f"{each}: {each.text}" for each in commands if not re.match(OURS, each.text) and not is_here(each.text)]
    assert all(reason for _, reason in UNNOTICED.values())


def test_a_command_that_nobody_has_heard_of_is_no_command_that_runs_here() -> None:
    assert is_here("az functionapp stop -g <group> -n <app>")
    assert not is_here("az functionapp stop -g <group> -n <app> --now")
    assert not is_here("az functionapp stop -g <group>")
    assert not is_here("az functionapp delete -g <group> -n <app>")


@pytest.mark.parametrize("query", [each.text for each in QUERIES], ids=[str(each) for each in QUERIES])
def test_a_query_looks_for_what_the_app_writes(query: str) -> None:
    metrics = {metric.name: metric for metric in METRICS}
    asked = set(re.findall(r'name == "([^"]+)"', query))
    assert asked <= metrics.keys()
    assert bool(asked) == ("customMetrics" in query)
    if asked:
        attributes = set(re.findall(r'customDimensions\["([^"]+)"\]', query))
        assert attributes <= {name for each in asked for name in metrics[each].attributes}
    for how, phrase in re.findall(r'(?:message|outerMessage|name) (has|startswith) "([^"]+)"', query):
        if phrase not in OF_THE_PLATFORM | SPANS:
            assert any(said.startswith(phrase) if how == "startswith" else phrase in said for said, _ in logged()), (
                phrase
            )


def test_every_query_is_of_a_table_that_is_there() -> None:
    assert len(QUERIES) > 10
    assert {each.text.split()[0] for each in QUERIES} <= {
        "traces", "customMetrics", "requests", "exceptions", "dependencies", "Usage",
    }  # fmt: skip


def test_an_alert_leads_to_a_question_and_the_page_names_the_alert() -> None:
    alerts = next(file for file in files(ROOT) if file.name.endswith("alerts.bicep"))
    rules = [properties(node) for node in alerts.objects]
    asked = {str(literal(rule["name"][1])): str(literal(rule["question"][1])) for rule in rules if "question" in rule}
    assert len(asked) == 6
    assert set(asked.values()) <= anchors(PAGE)
    assert not {name for name in asked if f"*{name}*" not in heart()}
