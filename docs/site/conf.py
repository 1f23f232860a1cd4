"""The site made of the repository's Markdown files, where they are and as GitHub shows them (`dev.py docs`).

The list of pages is `docs/README.md`: its headings and links are the navigation.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref, toctree
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)

project = "Dormouse"
version = VERSION[1] if VERSION else ""
extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = ["*.md", "bench/*.md", "clients/*/README.md", "docs/*.md", "examples/README.md", "infra/README.md"]
include_patterns += ["tests/README.md", "tests/acceptance/openai_dotnet/README.md"]
exclude_patterns = [".*", "**/.*", "**/node_modules"]

# What GitHub does not know is plain text here, too.
myst_disable_syntax = ["myst_role", "myst_line_comment", "myst_block_break", "myst_target"]
myst_heading_anchors = 6
# Examples are shortened with "…", which no JSON reader takes.
suppress_warnings = ["misc.highlighting_failure"]
nitpicky = True

html_theme = "furo"
html_title = "Dormouse"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_permalinks_icon = "#"
html_css_files = ["style.css"]
html_js_files = ["mermaid.min.js", "diagrams.js"]


class Navigation(SphinxTransform):
    """Make the sidebar of the list of pages: each heading with the documents that it lists."""

    default_priority = 100

    def apply(self, **_: object) -> None:
        if self.env.docname != root_doc:
            return
        for section in list(self.document.findall(nodes.section))[1:]:
            title = section[0].astext()
            links = [item.next_node(pending_xref) for item in section.findall(nodes.list_item)]
            entries = [(link.astext(), link["reftarget"]) for link in links if link]
            documents = [document for _, document in entries]
            tree = toctree(parent=root_doc, entries=entries, includefiles=documents, caption=title, rawcaption=title)
            tree.attributes.update(
                glob=False, hidden=True, includehidden=False, maxdepth=1, numbered=0, titlesonly=True
            )
            section += nodes.compound("", tree, classes=["toctree-wrapper"])


class Diagrams(SphinxTransform):
    """Leave what is written for Mermaid to `diagrams.js`, which draws it in the browser."""

    default_priority = 100

    def apply(self, **_: object) -> None:
        for node in list(self.document.findall(nodes.literal_block)):
            if node.get("language") == "mermaid":
                drawn = f'<pre class="mermaid">{html.escape(node.astext())}</pre>'
                node.replace_self(nodes.raw("", drawn, format="html"))


def write_index(app: Sphinx, failed: Exception | None) -> None:
    """Lead whoever opens the folder to the list of pages."""
    if not failed:
        leads = (
            f'<!doctype html>\n<meta http-equiv="refresh" content="0; url={root_doc}.html">\n<title>Dormouse</title>\n'
        )
        (Path(app.outdir) / "index.html").write_text(leads, "utf-8")


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.add_transform(Navigation)
    app.add_transform(Diagrams)
    app.connect("build-finished", write_index)
