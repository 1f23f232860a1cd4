"""Print what is wrong with the deployment's files; exit 1 when something is."""

from __future__ import annotations

import sys
from pathlib import Path

from local.infra.check import check


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    findings = check(root)
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
