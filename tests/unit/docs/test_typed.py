"""Every command of README and docs is typed by a test, or cannot be typed here, for a reason that stands here."""

from __future__ import annotations

import re

from local import ROOT
from tests.unit.docs.pages import blocks, typed_in

TYPED = {
    "docs/http.md": {r"curl ": "test_typed_commands.py", r"python3 dev\.py run$": "test_typed_elsewhere.py"},
    "README.md": {
        r"curl ": "test_typed_commands.py",
        r"python3 dev\.py run$": "test_typed_elsewhere.py",
    },
    "CONTRIBUTING.md": {r"python3 dev\.py run$": "test_typed_elsewhere.py"},
    "docs/observability.md": {r"python3 dev\.py run --traces$": "test_typed_elsewhere.py"},
    "docs/scale.md": {r"python3 dev\.py simulate ": "test_typed_elsewhere.py"},
    "docs/versioning.md": {r"python3 dev\.py package ": "test_typed_elsewhere.py"},
    "clients/python/README.md": {r"export |python -m dormouse_client |pip install ": "test_typed_elsewhere.py"},
    "docs/operations.md": {r"": "test_nights.py"},  # with a check of its own: `test_operations_page.py`
}
"""By page: what its commands begin with, and the acceptance test that types them."""

EXCUSED = {
    r"azd? |func |\w+=\$\(azd? ": "in Azure alone",
    r"curl (-X POST )?\"?(\$\(azd|https://\$app|https://<app>)": "in Azure alone",
    r"group=rg-|storage=st|for role in|  az |done$|  \S*\"": "parts of what is typed in Azure",
    r"python3 dev\.py (test|check)\b": "what `.ci/run` types",
    r"python3 dev\.py (run|profile) .*--(host func|backend scheduler)": "wants the Functions host, or the scheduler",
    r"export DURABLE_TASK_SCHEDULER|docker ": "wants Docker",
    r"export DORMOUSE_CALLBACK_SECRET": "`test_typed_commands.py` gives its app such settings",
    r"git clone ": "this repository",
    r"npm install dormouse-client": "not on the registry yet; `test_javascript_package.py` installs the tarball",
    r"python3 dev\.py package$": "typed with a name for the folder, from docs/versioning.md",
}
"""What other commands begin with, and why no test types them."""


def test_every_command_is_typed_by_a_test_or_has_a_reason() -> None:
    untold, counts = [], {"typed": 0, "excused": 0}
    for block in blocks("console", "bash", "sh"):
        page = block.page.relative_to(ROOT).as_posix()
        for found in typed_in(block):
            text = re.sub(r"\s+#.*", "", found.text).rstrip()
            if not text:
                continue
            if any(re.match(pattern, text) for pattern in TYPED.get(page, {})):
                counts["typed"] += 1
            elif any(re.match(pattern, text) for pattern in EXCUSED):
                counts["excused"] += 1
            else:
                untold.append(f"{found}: {text}")
    assert untold == []
    assert counts["typed"] > 50
    assert all((ROOT / "tests/acceptance" / test).exists() for page in TYPED.values() for test in page.values())
