"""Every check of the deployment's files."""

from __future__ import annotations

from pathlib import Path

from local.infra import appsettings, model, profiles, project, setting_lines, templates
from local.infra.findings import Finding


def check(root: Path) -> list[Finding]:
    """What is wrong in a project's infra/, host.json, azure.yaml, .funcignore and workflows; sorted, each once."""
    root = root.resolve()
    every = templates.files(root)
    host, found = project.host(root)
    found += [*templates.check(root, every), *project.package(root), *project.actions(root)]
    if every:
        found += [
            *profiles.check(root, every[0], host),
            *appsettings.check(root, every, profiles.settings_of_all(root)),
            *setting_lines.check(root, every),
            *appsettings.authentication(root, every),
            *model.check(every[0]),
            *project.azd(root, every),
            *project.pythons(root, every),
        ]
    return sorted(set(found))


def fix(root: Path) -> None:
    """Write what can be written for a person: the lines that pass settings on."""
    if every := templates.files(root):
        setting_lines.fix(root.resolve(), every)
