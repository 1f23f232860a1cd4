"""Print what is wrong with the deployment's files; exit 1 when something is. `--fix` mends what it can first."""

from __future__ import annotations

import sys
from pathlib import Path

from local import ROOT
from local.infra.check import check, fix


def main() -> int:
    arguments = [each for each in sys.argv[1:] if each != "--fix"]
    root = Path(arguments[0]) if arguments else ROOT
    if "--fix" in sys.argv:
        fix(root)
    findings = check(root)
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
