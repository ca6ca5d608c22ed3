"""Parts that the sections of a page share: figures as data URIs, captions, the rendering of templates."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from workflow_scripts.lib.errors import UserError


@dataclass(frozen=True)
class FigureView:
    """One figure as the template needs it."""

    key: str
    title: str
    caption: str
    alt: str
    uri: str
    lines: list[str]


def data_uri(path: Path) -> str:
    """Encode an svg figure as a data URI.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        encoded = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make the figure first") from error
    return f"data:image/svg+xml;base64,{encoded}"


def read_caption(path: Path) -> tuple[str, str]:
    """Read title (the line that starts with `# `) and text of a caption file.

    Raises:
        UserError: the file does not have that form.
    """
    first, _, rest = path.read_text(encoding="utf-8").strip().partition("\n")
    if not first.startswith("# ") or not rest.strip():
        raise UserError(f"{path}: line 1 must be `# title`, followed by the caption; fix the file")
    return first[2:].strip(), " ".join(rest.split())


def caption_of(figure: str, captions: dict[str, Path]) -> tuple[str, str]:
    """Read title and caption of a figure.

    Raises:
        UserError: there is no caption for it.
    """
    if figure not in captions:
        raise UserError(f"--captions: no file {figure}.md; every figure needs its caption")
    return read_caption(captions[figure])


def shown_figure(path: Path, captions: dict[str, Path]) -> FigureView:
    """Build a figure with its caption."""
    title, caption = caption_of(path.stem, captions)
    return FigureView(path.stem, title, caption, f"{title}. {caption}", data_uri(path), [])


def prose(text: str) -> Markup:
    """Escape a text and set what is between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def render(template: Path, values: dict[str, Any]) -> str:
    """Fill the page; every value is escaped, and a name the template misspells is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    return environment.get_template(template.name).render(values)
