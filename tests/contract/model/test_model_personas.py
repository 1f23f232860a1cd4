"""The default scripts of the sample agents, chosen by the tools that are offered."""

import json
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response

from local.model.control import ModelControl

pytestmark = pytest.mark.asyncio(loop_scope="session")


def function(name: str, **properties: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "name": name, "parameters": schema, "strict": True}


COMPLIANCE: Any = [
    function("collect_records", area="string"),
    function("file_report", title="string", summary="string"),
]
ANALYST: Any = [{"type": "web_search"}, function("price_history", symbol="string", days="integer")]
REPORT: Any = {"format": {"type": "json_schema", "name": "Report", "strict": True, "schema": {"type": "object"}}}
RECORDS = json.dumps(
    {
        "area": "access",
        "records": [
            {"area": "access", "severity": "high", "finding": "Two accounts without MFA."},
            {"system": "backup", "description": "A restore test is overdue."},
        ],
    }
)


async def ask(client: AsyncOpenAI, said: Any, **more: Any) -> Response:
    raw = await client.responses.with_raw_response.create(model="gpt-scripted", input=said, **more)
    return Response.model_validate_json(raw.text)


def call(response: Response) -> Any:
    return next(item for item in response.output if item.type == "function_call")


def output(response: Response, text: str) -> list[Any]:
    return [{"type": "function_call_output", "call_id": call(response).call_id, "output": text}]


async def reported(client: AsyncOpenAI, records: str, filing: str) -> tuple[Any, dict[str, Any]]:
    """The arguments of `file_report`, and the final answer."""
    more: Any = {"tools": COMPLIANCE, "text": REPORT}
    first = await ask(client, "Check access of team 4.", **more)
    assert (call(first).name, json.loads(call(first).arguments)) == (
        "collect_records",
        {"area": "Check access of team 4."},
    )
    second = await ask(client, output(first, records), previous_response_id=first.id, **more)
    assert call(second).name == "file_report"
    third = await ask(client, output(second, filing), previous_response_id=second.id, **more)
    return json.loads(call(second).arguments), json.loads(third.output_text)


async def test_compliance_collects_files_and_reports(client: AsyncOpenAI, control: ModelControl) -> None:
    filed, report = await reported(client, RECORDS, 'Filed as "CR-2026-0007".')
    assert "Two accounts without MFA." in filed["summary"]
    assert report == {
        "title": filed["title"],
        "findings": [
            {"area": "access", "severity": "high", "finding": "Two accounts without MFA."},
            {"area": "backup", "severity": "high", "finding": "A restore test is overdue."},
        ],
        "filed": True,
        "reference": "CR-2026-0007",
    }
    assert [(entry.script, entry.turn) for entry in await control.log("create")] == [
        ("compliance", turn) for turn in range(3)
    ]


@pytest.mark.parametrize(
    ("filing", "filed", "reference"),
    [
        ('{"error": {"code": "refused", "message": "Not before May."}}', False, None),
        ('{"reference": "abc"}', True, "abc"),
        ("Done.", True, None),
    ],
)
async def test_a_refused_report_is_not_filed(
    client: AsyncOpenAI, filing: str, filed: bool, reference: str | None
) -> None:
    report = (await reported(client, "Access: one minor gap. All else was well.", filing))[1]
    assert (report["filed"], report["reference"]) == (filed, reference)
    assert [(f["area"], f["severity"]) for f in report["findings"]] == [("Access", "low"), ("records", "medium")]


async def test_without_records_nothing_is_filed(client: AsyncOpenAI) -> None:
    more: Any = {"tools": COMPLIANCE, "text": REPORT}
    first = await ask(client, "Check.", **more)
    error = '{"error": {"code": "tool_timeout", "message": "Too slow."}}'
    report = json.loads((await ask(client, output(first, error), previous_response_id=first.id, **more)).output_text)
    assert (report["findings"], report["filed"]) == ([], False)


async def test_compliance_works_over_chat(client: AsyncOpenAI) -> None:
    tools: Any = [
        {"type": "function", "function": {"name": t["name"], "parameters": t["parameters"]}} for t in COMPLIANCE
    ]
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "Report", "schema": {"type": "object"}}}
    messages: list[Any] = [{"role": "user", "content": "Check access."}]
    for told in (RECORDS, "Filed: CR-9."):
        more: Any = {"tools": tools, "response_format": wanted}
        answer = await client.chat.completions.create(model="gpt-scripted", messages=messages, **more)
        message: Any = answer.choices[0].message
        messages += [
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": told},
        ]
    last = await client.chat.completions.create(model="gpt-scripted", messages=messages, **more)
    assert json.loads(last.choices[0].message.content or "")["reference"] == "CR-9"


async def test_the_analyst_searches_and_quotes_the_prices(client: AsyncOpenAI, control: ModelControl) -> None:
    first = await ask(client, "How is MSFT doing?", tools=ANALYST)
    assert [item.type for item in first.output] == ["web_search_call", "function_call"]
    assert json.loads(call(first).arguments) == {"symbol": "MSFT", "days": 2}
    prices = ' {"MSFT": [410.5, 411.25]}\n '
    second = await ask(client, output(first, prices), previous_response_id=first.id, tools=ANALYST)
    assert prices in second.output_text
    assert [(entry.script, entry.turn) for entry in await control.log("create")] == [("analyst", 0), ("analyst", 1)]


@pytest.mark.parametrize(
    "more",
    [
        {"tools": COMPLIANCE},
        {"tools": COMPLIANCE[:1], "text": REPORT},
        {"tools": ANALYST[1:]},
        {"tools": ANALYST[:1]},
        {"tools": ANALYST, "tool_choice": "none"},
    ],
)
async def test_others_are_answered_by_the_assistant(client: AsyncOpenAI, more: Any) -> None:
    assert "You said: Hello." in (await ask(client, "Hello.", **more)).output_text


async def test_a_script_goes_on_after_a_correction_if_it_says_so(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.script("s", [{"text": "no JSON", "continues": True}, {"text": "{}"}])
    first = await ask(client, "[script:s]")
    corrected: Any = {"role": "user", "content": "Your answer is not JSON."}
    second = await ask(client, [corrected], previous_response_id=first.id)
    said = [{"role": "user", "content": "[script:s]"}, {"role": "assistant", "content": "no JSON"}, corrected]
    assert second.output_text == (await ask(client, said)).output_text == "{}"
    assert "You said: Thanks." in (await ask(client, "Thanks.", previous_response_id=second.id)).output_text
