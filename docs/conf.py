"""Sphinx configuration: the Markdown pages of this folder, and the configuration reference made from the schema."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.append(str(Path(__file__).parent))

project = "Reward subsystem"
html_title = project
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_copy_source = html_show_copyright = False
extensions = ["myst_parser", "schema_page"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3


def setup(app: Sphinx) -> None:
    """Let links to Markdown outside this folder, which is no page, lead to the file."""
    app.connect("source-read", link_files)


def link_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Mark links to Markdown above this folder as links to files."""
    source[0] = re.sub(r"\]\((\.\./[^)#]+\.md)\)", r"](path:\1)", source[0])
