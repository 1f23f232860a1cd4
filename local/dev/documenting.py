"""`dev.py docs`: the site of the Markdown pages, made by Sphinx in an environment of its own."""

from __future__ import annotations

import argparse
import functools
import shutil
import subprocess
import tempfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from local import ROOT
from local.stack.child import StackError
from local.stack.node import find_node
from local.stack.setup import display_path, ensure_environment, ensure_packages, ensure_venv, print_now

SITE = "docs/site"
PYTHON_HOME = ROOT / ".dormouse" / "docs_python"
NPM_HOME = ROOT / ".dormouse" / "docs_npm"
MERMAID = NPM_HOME / "node_modules" / "mermaid" / "dist" / "mermaid.min.js"
BUILT = ".buildinfo"
"""Sphinx leaves this file in what it has built."""


def build_site(venv: Path, out: Path, *, root: Path = ROOT) -> Path:
    """Build the site anew; returns its first page. What Sphinx warns of (a link that leads nowhere) is an error.

    Raises:
        StackError: `out` holds something else, or a page has a fault, which Sphinx has named.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / BUILT).is_file():
        raise StackError(f"{display_path(out)} exists and is no site of these docs; choose another with --out.")
    ensure_venv(venv)
    python = ensure_environment("the docs", ROOT / SITE / "requirements.txt", PYTHON_HOME / venv.name)
    ensure_packages("the docs' diagrams", ROOT / SITE, NPM_HOME, MERMAID, find_node(venv))
    shutil.rmtree(out, ignore_errors=True)
    command = [str(python), "-m", "sphinx", "--quiet", "--fail-on-warning", "--conf-dir", str(root / SITE)]
    command += ["--define", f"html_static_path=style.css,diagrams.js,{MERMAID}"]
    # What Sphinx has read is kept by nobody, so that each build finds every fault.
    with tempfile.TemporaryDirectory() as scratch:
        command += ["--doctree-dir", scratch, str(root), str(out)]
        failed = subprocess.run(command, cwd=root, check=False).returncode
    if failed:
        raise StackError("the docs have faults; they are named above.")
    return out / "index.html"


def serve(folder: Path, port: int) -> None:
    """Show a folder on this machine alone until Ctrl-C."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print_now(f"docs: http://localhost:{server.server_port}/ (Ctrl-C stops it)")
        server.serve_forever()


def docs(options: argparse.Namespace) -> int:
    """Build the site, and show it when asked to."""
    print_now(f"docs: {display_path(build_site(options.venv, options.out))}")
    if options.serve is not None:
        serve(options.out, options.serve)
    return 0
