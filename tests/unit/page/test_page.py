"""The page's own functions, in Node.js: the drawing of a timeline, texts that hide something, words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from local.stack import find_node


def test_its_own_tests_pass() -> None:
    tests = sorted(Path(__file__).parent.glob("*.test.mjs"))
    assert len(tests) >= 3
    node = find_node(Path(sys.prefix)).node
    answer = subprocess.run([node, "--test", *tests], capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stdout
