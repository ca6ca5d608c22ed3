"""Hostile configuration and data in the real Snakemake; and no secret in anything that a run leaves behind."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from tests.workflow.study import SECRETS, configuration, environment, make, snakemake, with_make, write_config

TAG = '!!python/object/apply:os.mkdir ["sprung"]'
NASTY = 'it\'s; mkdir sprung $(mkdir sprung) `mkdir sprung` "&" * %s'


@pytest.fixture
def unrun(finished: Path, tmp_path: Path) -> Path:
    """The tiny study, not run; the finished one's models spare making them anew."""
    ignore = shutil.ignore_patterns("results", ".snakemake")
    return shutil.copytree(finished, tmp_path / "study", ignore=ignore)


def test_tags_in_configurations_and_profiles_run_nothing(unrun: Path) -> None:
    hostile = unrun / "hostile"
    (hostile / "profile").mkdir(parents=True)
    (hostile / "study.yaml").write_text(f"study: {TAG}\n")
    (hostile / "profile" / "profile.yaml").write_text(f"cores: {TAG}\n")
    overlay = ["--configfile", "config.yaml", "hostile/study.yaml"]
    profile = ["--workflow-profile", "hostile/profile"]
    for arguments, said in ((overlay, "not valid JSON or YAML"), (profile, "could not determine a constructor")):
        done = snakemake(unrun, "--dry-run", *arguments, check=False, real=True)
        assert done.returncode != 0 and said in done.stderr + done.stdout
    (unrun / "config.yaml").write_text(f"study: {TAG}\n")
    done = snakemake(unrun, "--dry-run", check=False, real=True)
    assert "error: config.yaml: line 1: not YAML (could not determine a constructor for the tag" in done.stderr
    assert not list(unrun.rglob("sprung"))


def test_a_configuration_that_wants_to_compute_is_refused_before_snakemake_reads_it(unrun: Path) -> None:
    study = "__use_yte__: true\nstudy: ?__import__('os').mkdir('sprung')\n"
    (unrun / "hostile.yaml").write_text(study)
    with_make(unrun)
    for target in ("check", "run", "dry-run"):
        done = make(unrun, target, "STUDY=hostile.yaml")
        assert done.returncode != 0
        assert "error: hostile.yaml: __use_yte__: configurations are plain data" in done.stderr
    (unrun / "config.yaml").write_text(study)
    assert "error: config.yaml: __use_yte__:" in snakemake(unrun, "--dry-run", check=False, real=True).stderr
    assert not (unrun / "sprung").exists()


def test_nothing_that_is_configured_or_read_reaches_a_shell(unrun: Path) -> None:
    """Names with quotes and commands in them, of files, fields, problems and texts, down to graded responses."""
    config = configuration()
    (unrun / "data" / "coins.jsonl").unlink()
    entry = config["datasets"]["coins"]
    entry |= {"path": f"data/{NASTY}.jsonl", "template": NASTY + "\n{question}", "n_problems": 48}
    entry["fields"] = {"id": NASTY, "question": "question", "gold": "answer"}
    config["models"]["tiny"]["instruction"] = f"{NASTY}\n{NASTY}"
    ids = [f"../../../sprung/{number}/{NASTY}" for number in range(48)]
    lines = [json.dumps({NASTY: one, "question": f"{NASTY} {one}", "answer": "1"}) for one in ids]
    (unrun / entry["path"]).write_text("\n".join(lines))
    write_config(unrun, config)
    before = set(unrun.parent.iterdir())
    snakemake(unrun, "--cores", "1", "results/rollouts/tiny/coins/0.parquet", real=True)
    assert pl.read_parquet(unrun / "results/rollouts/tiny/coins/0.parquet")["problem_id"].to_list() == ids
    assert not list(unrun.parent.rglob("sprung")) and set(unrun.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["up/../down", "$(mkdir sprung)"])
def test_names_that_become_paths_are_slugs(unrun: Path, name: str) -> None:
    config = configuration()
    config["datasets"][name] = config["datasets"].pop("coins")
    for stage in ("rollouts", "values", "value_probes", "dopamine_probes", "interventions", "search"):
        config[stage]["runs"] = [f"tiny/{name}"]
    write_config(unrun, config)
    done = snakemake(unrun, "--dry-run", check=False, real=True)
    assert done.returncode == 1 and "error: config.yaml: " in done.stderr


def holders(folder: Path) -> list[str]:
    """Files under results and Snakemake's own folder that hold a secret."""
    assert all("sentinel" in value.lower() for value in SECRETS.values())
    files = [path for name in ("results", ".snakemake") for path in (folder / name).rglob("*") if path.is_file()]
    assert len(files) > 50
    return [str(path) for path in files if b"sentinel" in path.read_bytes().lower()]


def test_secrets_of_the_environment_are_nowhere_in_what_a_run_leaves(finished: Path) -> None:
    assert environment().items() >= SECRETS.items()
    assert holders(finished) == []
    printed = finished.with_suffix(".done").read_text()
    assert "write_report" in printed and "sentinel" not in printed.lower()


class Echo(BaseHTTPRequestHandler):
    """A server that refuses, and tells everything that it was told."""

    heard: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        told = str(self.headers).replace("\n", " ")
        self.heard.append(told)
        self.send_response(401, "Unauthorized")
        self.send_header("X-Error-Message", told)
        self.end_headers()
        self.wfile.write(told.encode())

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


def test_a_failing_download_does_not_tell(unrun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that echoes the token it was sent, for a model and for a data set."""
    config = configuration()
    config["models"]["tiny"]["path"] = "owner/name"
    config["datasets"]["coins"] |= {"source": "hub", "path": "owner/data"}
    write_config(unrun, config)
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        done = snakemake(unrun, "--cores", "1", "results/problems/coins/0.parquet", check=False, real=True)
        server.shutdown()
    assert any(SECRETS["HF_TOKEN"] in told for told in Echo.heard)
    assert done.returncode != 0 and "error: owner/data: split test" in done.stderr
    text = done.stdout + done.stderr + "".join(path.read_text() for path in (unrun / "results").rglob("*.log"))
    assert "sentinel" not in text.lower()
