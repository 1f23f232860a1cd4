"""The lines for each app setting in the templates' parameters and in the sample, which `dev.py check --fix` writes.

The parameter `appSettings` of main.bicep holds every setting that the templates do not set by themselves. Its value
in main.parameters.json is an object of lines `"DORMOUSE_X": "${DORMOUSE_X}"`: azd fills in the variable of its
environment, and one that is empty is left out. In local.settings.sample.json the value is empty: the default, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from local.infra import flex
from local.infra.appsettings import assigned, known
from local.infra.bicep import BicepFile
from local.infra.findings import Finding, line_of

PARAMETERS, SAMPLE, SETTINGS = "infra/main.parameters.json", "local.settings.sample.json", "shared/settings.py"
PREFIX = "DORMOUSE_"


def wanted(root: Path, every: list[BicepFile]) -> list[str]:
    """The settings that azd passes on, in the order of settings.py. Those of the provider's name are the deployer's own
    variables as often as not (`OPENAI_API_KEY` in a shell), and would go along unasked."""
    by_templates = set(assigned(every))
    names = known((root / SETTINGS).read_text("utf-8"))
    return [name for name in names if name.startswith(PREFIX) and name not in by_templates]


def check(root: Path, every: list[BicepFile]) -> Iterator[Finding]:
    """Each setting has its line in both files, and nothing is passed on that nobody reads or that Flex refuses."""
    names, read = wanted(root, every), known((root / SETTINGS).read_text("utf-8"))
    passed = _read(root / PARAMETERS, "parameters", "appSettings", "value")
    sample = _read(root / SAMPLE, "Values")
    for name in names:
        if name not in passed:
            yield Finding(PARAMETERS, 1, f"appSettings lacks {name}: run `python3 dev.py check --fix`")
        elif passed[name] != f"${{{name}}}":
            yield Finding(PARAMETERS, line_of(root / PARAMETERS, f'"{name}"'), f"{name} is not `${{{name}}}`")
        if name not in sample:
            yield Finding(SAMPLE, 1, f"{name} is missing: run `python3 dev.py check --fix`")
    text = (root / PARAMETERS).read_text("utf-8") if passed else ""
    for name in passed:
        if re.search(rf'"value": "\$\{{{name}[=}}]', text):
            yield Finding(PARAMETERS, line_of(root / PARAMETERS, f"{{{name}"), f"{name} is also a parameter's variable")
        number = line_of(root / PARAMETERS, f'"{name}"')
        if reason := flex.SETTINGS.get(name.upper()):
            yield Finding(PARAMETERS, number, f"{name} must not be set: {reason}")
        elif name.startswith(PREFIX) and name not in read:
            yield Finding(PARAMETERS, number, f"nothing reads {name}")
    for name in sample:
        if name.startswith(PREFIX) and name not in read:
            yield Finding(SAMPLE, line_of(root / SAMPLE, f'"{name}"'), f"nothing reads {name}")


def fix(root: Path, every: list[BicepFile]) -> None:
    """Write the lines that are missing; what a person added stays, behind them."""
    names = wanted(root, every)
    path = root / PARAMETERS
    given = _read(path, "parameters", "appSettings", "value")
    block = _lines(_merged({name: f"${{{name}}}" for name in names}, given), " " * 8)
    text = path.read_text("utf-8")
    pattern = r'("appSettings": \{\n +"value": \{\n).*?(^      \})'
    path.write_text(re.sub(pattern, lambda m: m[1] + block + m[2], text, flags=re.DOTALL | re.MULTILINE), "utf-8")
    path = root / SAMPLE
    content = json.loads(path.read_text("utf-8"))
    content["Values"] = content["Values"] | {name: content["Values"].get(name, "") for name in names}
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _merged(first: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    return {**{name: given.get(name, value) for name, value in first.items()}, **given}


def _lines(values: Mapping[str, str], indent: str) -> str:
    return ",\n".join(f"{indent}{json.dumps(name)}: {json.dumps(value)}" for name, value in values.items()) + "\n"


def _read(path: Path, *keys: str) -> dict[str, str]:
    """The object below these keys; empty when there is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
        for key in keys:
            found = found[key]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
