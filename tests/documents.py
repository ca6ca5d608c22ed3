"""The documents that a user reads: the README, the guide of the workflow catalogue, and the pages in `docs/`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", ROOT / "config" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*GUIDES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def name(path: Path) -> str:
    """A document's path as a reader would write it."""
    return str(path.relative_to(ROOT))


def text(path: Path) -> str:
    """A document's text."""
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    """The blocks of code in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text(path), flags=re.DOTALL | re.MULTILINE)


def prose(path: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text(path), flags=re.DOTALL | re.MULTILINE)
