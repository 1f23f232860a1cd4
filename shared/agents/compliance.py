"""The compliance officer: a structured report, with progress while records are read and an approval before filing."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import ToolContext, tool
from shared.settings import Settings

RECORDS = (
    "access review: 2 of 41 accounts belong to people who left",
    "backups: restored in test on the first try",
    "encryption: one storage account still takes TLS 1.0",
    "incident log: no entry since spring",
)


class Finding(BaseModel):
    """One thing that the records show."""

    area: str
    severity: Literal["low", "medium", "high"]
    finding: str


class Report(BaseModel):
    """The result of a compliance run."""

    title: str
    findings: list[Finding]
    filed: bool
    reference: str | None


def build(settings: Settings, provider: Provider) -> Agent:
    """The agent over the Responses API; reading records takes ``DORMOUSE_SAMPLE_TOOL_SECONDS``."""

    @tool
    async def collect_records(context: ToolContext, subject: str) -> str:
        """Collect the compliance records of a subject: a department, a system or a company."""
        found = []
        for number, record in enumerate(RECORDS):
            context.report_progress(f"reading {record.split(':')[0]} of {subject}", number / len(RECORDS))
            await asyncio.sleep(settings.tool_delay / len(RECORDS))
            found.append(record)
        context.report_progress(f"read all records of {subject}", 1.0)
        return "; ".join(found)

    @tool(requires_approval="Files the report with the authority. This cannot be taken back.", at_most_once=True)
    async def file_report(context: ToolContext, title: str, summary: str) -> str:
        """File the report with the authority; answers with the reference of the filing."""
        # A real filing hands the idempotency key on, so that the authority knows a repetition when it sees one.
        reference = hashlib.sha256(context.idempotency_key.encode()).hexdigest()[:8].upper()
        return f"Filed “{title}” ({len(summary)} characters) under the reference CR-{reference}."

    return ResponsesAgent(
        name="compliance",
        description="Writes a compliance report as an object; asks a person before filing it.",
        instructions=Path(__file__).with_suffix(".txt").read_text(encoding="utf-8"),
        model=settings.model,
        provider=provider,
        tools=[collect_records, file_report],
        output_type=Report,
    )
