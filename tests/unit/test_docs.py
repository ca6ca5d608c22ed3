"""The README is short, its pictures are small, links lead somewhere, and the pages build without a warning."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.documents import DOCUMENTS, ROOT, name, prose, text

SCHEMA = ROOT / "schemas" / "config.schema.yaml"


def build(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the pages as `make docs` does."""
    strict = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    command = [sys.executable, "-m", "sphinx", *strict, "-d", str(folder / "doctrees"), str(source), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(path: Path) -> list[str]:
    """The links of a document, and its pictures, that lead to no file or to no heading of one."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        target, _, anchor = link.partition("#")
        file = path.parent / target if target else path
        if "://" not in link and not (file.exists() and (not anchor or anchor in anchors(file))):
            dead.append(link)
    return dead


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_no_link_is_dead(path: Path) -> None:
    assert dead_links(path) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# Is there\n\n## What is *where*?\n\n```bash\n# no heading\n```\n")
    links = ["there.md", "there.md#what-is-where", "#here", "nowhere.md", "there.md#no-heading", "#nowhere"]
    (tmp_path / "page.md").write_text("# Here\n\n" + " ".join(f"[a]({link})" for link in links))
    assert dead_links(tmp_path / "page.md") == links[3:]


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    readme = text(ROOT / "README.md")
    assert len(readme.splitlines()) <= 120
    included = {"docs/contributing.md": "CONTRIBUTING.md", "docs/changelog.md": "CHANGELOG.md"}
    pages = {included.get(name(path), name(path)) for path in (ROOT / "docs").glob("*.md")}
    assert len(pages) > 10 and [page for page in sorted(pages) if f"]({page}" not in readme] == []


@pytest.mark.parametrize("picture", ["docs/images/figure.png", "docs/images/report.png"])
def test_the_readme_shows_small_pictures(picture: str) -> None:
    assert f"]({picture})" in text(ROOT / "README.md")
    assert (ROOT / picture).stat().st_size < 150_000
    with Image.open(ROOT / picture) as image:
        assert image.width >= 900 and len(image.getcolors(2**16) or []) > 8  # no placeholder


def test_pictures_without_results_are_one_line(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, ROOT / "docs/pictures.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: results/figures/fig1.png does not exist; run the default study first (make run)\n"


class Terms(HTMLParser):
    """The headings and the defined terms of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("h2", "dt"):
            self.found.append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag not in ("h2", "dt")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[-1] += data.removesuffix("¶")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    done = build(ROOT / "docs", folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder


def keys(schema: Any, above: str, definitions: Any) -> set[str]:
    """The dotted names of all keys below a part of the schema."""
    if isinstance(schema, list):
        return {key for part in schema for key in keys(part, above, definitions)}
    if not isinstance(schema, dict):
        return set()
    found = set()
    for word, part in schema.items():
        if word == "properties":
            found |= {f"{above}{key}" for key in part}
            found |= {deeper for key in part for deeper in keys(part[key], f"{above}{key}.", definitions)}
        elif word == "additionalProperties" and isinstance(part, dict):
            found |= {f"{above}<name>"} | keys(part, f"{above}<name>.", definitions)
        elif word == "$ref":
            found |= keys(definitions[part.rpartition("/")[2]], above, definitions)
        elif word in ("oneOf", "items"):
            found |= keys(part, above, definitions)
    return found


def test_every_key_of_the_schema_is_on_its_page(pages: Path) -> None:
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    known = keys({"properties": schema["properties"]}, "", schema["$defs"])
    assert {"datasets.<name>.fields.entry_point", "values.adaptive.first", "figures.fig1.runs"} <= known
    shown = Terms((pages / "configuration.html").read_text(encoding="utf-8")).found
    assert len(shown) == len(set(shown)) and set(shown) == known


def test_a_key_is_described_in_full(pages: Path) -> None:
    page = (pages / "configuration.html").read_text(encoding="utf-8").replace("</dt>", "\n")
    page = re.sub(r"<[^>]+>", "", page)
    for words in (
        "values.n_continuations\ninteger, at least 2, at most 1000000, a multiple of 2; default 16\nCompletions",
        "rollouts.top_p\nnumber, above 0, at most 1; default 0.95\n",
        "rollouts.runs\nlist, each item text, pattern ^[a-z0-9]",
        "value_probes.target\none of td, td_lambda, mc, final; default td\n",
        "models.&lt;name&gt;.size.key_width\ninteger, at least 1, at most 1000000000; required\n",
    ):
        assert words in page, words


def test_the_build_stops_at_a_dead_link(tmp_path: Path) -> None:
    """All that the pages lead to is beside their copy, so that its one fault is the new one."""
    for folder in ("resources", "schemas"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    for file in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / file, tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("_build"))
    with (tmp_path / "docs" / "engines.md").open("a") as page:
        page.write("\n[a page that is not there](nowhere.md)\n")
    done = build(tmp_path / "docs", tmp_path / "built")
    assert done.returncode == 1
    (warning,) = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert "engines.md" in warning and "nowhere" in warning
