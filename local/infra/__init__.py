"""Checks what cannot be tried without Azure: `python -m local.infra` prints each finding by file and line.

No Bicep compiler can be had from PyPI, npm or Debian, so the templates are parsed with tree-sitter and checked for the
mistakes that a compiler, or the first deployment, would find. CI runs the real compiler besides.
"""
