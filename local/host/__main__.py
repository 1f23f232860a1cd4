"""`python -m local.host`: see `--help`."""

import os
import sys

from local.host.command import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that is stuck in a function would keep the interpreter from ending.
    os._exit(code)
