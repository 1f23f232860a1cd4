"""Stand-ins for the parts of the stack: tiny modules that behave as the real ones do at start and stop."""

from __future__ import annotations

from pathlib import Path

import pytest

SERVER = """
import argparse, os, signal, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

parser = argparse.ArgumentParser()
for name in ("--port", "--app", "--think"):
    parser.add_argument(name)
options, rest = parser.parse_known_args()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        missing = 503 if "UNWELL" in os.environ else 404
        self.send_response(200 if self.path == "/health" else missing)
        self.send_header("content-length", "0")
        self.end_headers()

if "--deaf" in rest:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: (print("ended in order", flush=True), sys.exit(0)))
if "--with-child" in rest:
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("grandchild", grandchild.pid, flush=True)
print("think", options.think, "setting", os.environ.get("DORMOUSE_DRIVER"), "pid", os.getpid(), flush=True)
HTTPServer(("127.0.0.1", int(options.port)), Handler).serve_forever()
"""


@pytest.fixture
def stand_ins(tmp_path: Path) -> dict[str, str]:
    """An environment in which the modules `stand_in` (a server), `broken` and `silent` can be run."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "stand_in.py").write_text(SERVER, "utf-8")
    (folder / "broken.py").write_text("raise SystemExit('no such setting: X')", "utf-8")
    (folder / "silent.py").write_text("import time\nprint('thinking', flush=True)\ntime.sleep(600)", "utf-8")
    return {"PYTHONPATH": str(folder)}
