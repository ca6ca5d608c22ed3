"""What the provenance page tells, and what it must not."""

import json
import subprocess
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from browser import chromium
from table_layout import measured

from workflow_scripts.lib.config.study import with_defaults
from workflow_scripts.lib.plan import costs
from workflow_scripts.lib.plan.jobs import Job
from workflow_scripts.lib.problems.readers import Problem, content
from workflow_scripts.lib.report.parts import render
from workflow_scripts.lib.report.provenance_page import Inputs, provenance_values
from workflow_scripts.lib.report.run_facts import commit, seeds, without_secrets
from workflow_scripts.lib.storage.tables import write_parquet

PASSWORD = "hf_neverToBeSeen"


def test_passwords_and_keys_in_addresses_are_left_out() -> None:
    before = {"a": [f"https://me:{PASSWORD}@host/x.jsonl?part=1"], "b": f"https://host/x?part=1&api_key={PASSWORD}&n=2"}
    assert without_secrets(before) == {
        "a": ["https://***@host/x.jsonl?part=1"],
        "b": "https://host/x?part=1&api_key=***&n=2",
    }
    harmless = {"path": "owner/name", "n": 3, "text": "a@b.org, 1 + 1 = 2?", "none": None}
    assert without_secrets(harmless) == harmless


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_checkout_names_its_commit_and_a_copy_inside_another_does_not(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit(tmp_path) == head
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == f"{head}, with changes"
    (tmp_path / "inside").mkdir()
    assert commit(tmp_path / "inside") is None


def test_every_seed_of_a_study_is_listed() -> None:
    config = {"study": "x", "rollouts": {"seed": 3}, "search": {"seeds": [0, 1]}, "reference_models": {"seed": 9}}
    assert seeds(config) == [("rollouts.seed", "3"), ("search.seeds", "0, 1")]


class Tags(HTMLParser):
    """Tags left open, and everything that a page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [] if tag in ("meta", "link") else [tag]
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href") and tag != "a"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


PROBLEMS = [Problem(name, f"What is {name}?", "1", None, "x.jsonl: line 1") for name in "pq"]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of a study of one rule, whose name and addresses are meant to do harm."""
    address = f"https://me:{PASSWORD}@host/x.jsonl"
    config = with_defaults(
        {
            "study": "<script>alert(1)</script>",
            "models": {"m": {"path": "owner/m", "revision": "abc123"}},
            "datasets": {"d": {"source": "file", "url": address, "n_problems": 10, "answer": "math"}},
            "rollouts": {"runs": ["m/d"], "max_tokens": 100},
        }
    )
    samples, benchmark = tmp_path / "samples.parquet", tmp_path / "0.jsonl"
    rows = {"problem_id": ["p", "p"], "prompt_ids": [[1, 2, 3]] * 2, "response_ids": [[1, 2], [1, 2, 3]]}
    pl.DataFrame(rows).write_parquet(samples)
    benchmark.write_text(json.dumps({"s": 7200.0, "cpu_time": 9000.0, "max_rss": 2048.0}))
    job = Job("sample_rollouts", {"model": "m", "dataset": "d"}, 1, str(benchmark), (str(samples),))
    table = costs.costs(config, [job], "h100", holds_gpus=True)
    (row,) = table.to_dicts()
    assert (row["generated"], row["read"], row["gpu_hours"], row["recorded"]) == (5, 3, 2.0, 1)
    shards = [tmp_path / "d" / f"{shard}.parquet" for shard in (0, 1)]
    for one, path in zip(PROBLEMS, shards, strict=True):
        write_parquet(pl.DataFrame([asdict(one)], schema_overrides={"spec": pl.String}), path)
    monkeypatch.setenv("HF_TOKEN", PASSWORD)
    values = provenance_values(Inputs(shards, [], [samples]), config, table, "NVIDIA H100", Path.cwd())
    path = tmp_path / "provenance.html"
    path.write_text(render(Path("report/provenance.html"), values), encoding="utf-8")
    return path


def test_the_page_is_sound_loads_nothing_and_tells_no_secret(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = Tags(text)
    assert found.open == [] and all(target.startswith("data:") for target in found.loaded)
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text and "default-src &#39;none&#39;" not in text
    assert PASSWORD not in text and "***@host/x.jsonl" in text
    for told in ("abc123", content(PROBLEMS), "2.0 h", "1 of 1", "2\N{NARROW NO-BREAK SPACE}048 MiB", "NVIDIA H100"):
        assert told in text, told


@pytest.mark.parametrize("size", ["1100,900", "500,900"])
def test_a_browser_shows_the_page_without_scrolling_it_sideways(page: Path, tmp_path: Path, size: str) -> None:
    watch = (
        "<script>onload = () => document.body.dataset.wide = document.documentElement.scrollWidth - innerWidth</script>"
    )
    text = page.read_text(encoding="utf-8").replace("<body>", f"<body>{watch}")
    page.write_text(
        text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'"), encoding="utf-8"
    )
    command = [*chromium(tmp_path), "--hide-scrollbars", f"--window-size={size}", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    assert 'data-wide="0"' in shown


@pytest.mark.parametrize("width", [1250, 390])
def test_every_table_of_the_page_fits(page: Path, tmp_path: Path, width: int) -> None:
    answer = measured(page.read_text(encoding="utf-8"), tmp_path, width)
    assert answer["width"] == width and answer["faults"] == []
