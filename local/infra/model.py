"""Whether the places that name the model agree: its parameter says it, and the quota and the deployment repeat it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from local.infra.bicep import BicepFile, Declaration, line, literal, text
from local.infra.findings import Finding


def check(main: BicepFile) -> Iterator[Finding]:
    """A version is pinned, the deployment bears the model's name, and azd asks for its quota before it makes anything.

    Metadata takes no parameters (https://learn.microsoft.com/azure/developer/azure-developer-cli/metadata), so that the
    quota's name is written out: `OpenAI.<sku>.<model>, <thousands of tokens a minute>`.
    """
    given = {each.name: each for each in main.of("parameter")}
    names = ("openAiModel", "openAiModelVersion", "openAiDeployment", "openAiSku", "openAiCapacity", "location")
    if missing := [name for name in names if name not in given]:
        yield Finding(main.name, 1, f"there is no parameter {missing[0]!r}")
        return
    model, version, deployment, sku, capacity = (_default(given[name]) for name in names[:-1])
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", str(version)):
        yield Finding(main.name, given["openAiModelVersion"].line, "the default model has no version")
    if deployment != model:
        yield Finding(main.name, given["openAiDeployment"].line, f"the default deployment is not named {model!r}")
    location, quota = given["location"], f"'OpenAI.{sku}.{model}, {capacity}'"
    if "metadata" not in location.decorators or quota not in text(location.decorators["metadata"]):
        where = location.decorators.get("metadata", location.node)
        yield Finding(main.name, line(where), f"azd does not ask for the default's quota: usageName must be {quota}")
    if "allowed" not in location.decorators:
        yield Finding(main.name, location.line, "location does not list the regions that have the model")


def _default(parameter: Declaration) -> str | int | bool | None:
    return literal(parameter.value) if parameter.value is not None else None
