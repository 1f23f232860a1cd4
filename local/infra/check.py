"""Every check of the deployment's files."""

from __future__ import annotations

from pathlib import Path

from local.infra import appsettings, project, templates
from local.infra.findings import Finding


def check(root: Path) -> list[Finding]:
    """What is wrong in a project's infra/, host.json, azure.yaml, .funcignore and workflows; sorted, each once."""
    root = root.resolve()
    every = templates.files(root)
    host, found = project.host(root)
    found += [*templates.check(root, every), *project.package(root), *project.actions(root)]
    if every:
        found += [
            *appsettings.check(root, every, host),
            *appsettings.extra(root),
            *appsettings.gate(root, every),
            *project.azd(root, every),
            *project.pythons(root, every),
        ]
    return sorted(set(found))
