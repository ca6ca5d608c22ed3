"""A fault in the configuration stops the real Snakemake with one line, before any work."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.study import configuration, environment, make, make_study, snakemake, with_make, write_config

Change = Callable[[dict[str, Any]], Any]

FAULTS: dict[str, tuple[Change, str]] = {
    "typo": (
        lambda c: c["value_probes"].update(epoch=3),
        "error: config.yaml: value_probes.epoch: unknown key; did you mean epochs?",
    ),
    "unknown model": (
        lambda c: c["rollouts"].update(runs=["tinny/coins"]),
        "error: config.yaml: rollouts.runs[0]: tinny/coins: models has no entry tinny; did you mean tiny?",
    ),
    "layer the model does not have": (
        lambda c: c["activations"].update(layers=[0, 1, 2, 9]),
        "error: config.yaml: activations.layers[3]: model tiny has no layer 9; "
        "its layers are 1 to 2, and 0 for the embedding",
    ),
    "prune ratio of 1.2": (
        lambda c: c["pruning"].update(ratios=[0.5, 1.2]),
        "error: config.yaml: pruning.ratios[1]: 1.2 is out of range; it must be less than 1",
    ),
    "missing data set file": (
        lambda c: c["datasets"]["coins"].update(path="data/cions.jsonl"),
        "error: config.yaml: datasets.coins.path: data/cions.jsonl: no such file; "
        "correct the path (it is relative to the project's folder)",
    ),
    "dopamine probes without values": (
        lambda c: c["values"].update(runs=[]),
        "error: config.yaml: dopamine_probes.runs[0]: tiny/coins is not in values.runs; "
        "add it there or take it away here",
    ),
}


@pytest.fixture(scope="module")
def unrun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny study that nobody has run."""
    return make_study(tmp_path_factory.mktemp("unrun") / "study")


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What was printed, without the line in which Snakemake names its profile."""
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line and not line.startswith("Using workflow specific profile")]


def check_config(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the check alone, as a user would."""
    command = [sys.executable, "-m", "workflow_scripts.check_config"]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_no_work(unrun: Path, fault: str) -> None:
    change, expected = FAULTS[fault]
    config = configuration()
    change(config)
    write_config(unrun, config)
    for done in (snakemake(unrun, "--cores", "1", check=False), check_config(unrun)):
        assert complaints(done) == [expected]
        assert done.returncode == 1
    assert not (unrun / "results").exists()


def test_a_malformed_record_is_one_line_and_no_work(unrun: Path) -> None:
    write_config(unrun, configuration())
    path = unrun / "data" / "coins.jsonl"
    good = path.read_text()
    lines = good.splitlines()
    lines[4] = '{"id": "p004", "question": "one"}'
    path.write_text("\n".join(lines) + "\n")
    try:
        for done in (snakemake(unrun, "--cores", "1", check=False), check_config(unrun)):
            (line,) = complaints(done)
            assert line.startswith("error: data/coins.jsonl:")
            assert "5" in line and "answer" in line
            assert done.returncode == 1
    finally:
        path.write_text(good)
    assert not (unrun / "results").exists()


def test_text_that_is_not_yaml_is_one_line(unrun: Path) -> None:
    (unrun / "config.yaml").write_text("study: tiny\nmodels: {tiny: {path: x}\n")
    done = snakemake(unrun, "--cores", "1", check=False)
    (line,) = complaints(done)
    assert line.startswith("error: config.yaml: line 3: not YAML")


def test_an_overlay_is_named_where_it_is_wrong(unrun: Path) -> None:
    write_config(unrun, configuration())
    (unrun / "studies" / "mine.yaml").write_text(yaml.safe_dump({"values": {"n_continuation": 8}}))
    done = snakemake(unrun, "--cores", "1", "--configfile", "config.yaml", "studies/mine.yaml", check=False)
    assert "error: studies/mine.yaml: values.n_continuation: unknown key; did you mean n_continuations?" in done.stderr
    assert done.returncode == 1


def test_a_folder_that_is_no_model_is_named(unrun: Path) -> None:
    config = configuration()
    config["models"]["tiny"]["path"] = "data"
    write_config(unrun, config)
    done = snakemake(unrun, "--dry-run", check=False)
    assert complaints(done)[0].startswith("error: config.yaml: models.tiny.path: data holds no config.json")


STUDIES: dict[str, tuple[bytes, str]] = {
    "a list": (b"- study\n", "error: mine.yaml: is a list, not a mapping; write `key: value`, as in config.yaml"),
    "a text": (b"study\n", "error: mine.yaml: is a single value, not a mapping; write `key: value`, as in config.yaml"),
    "nothing": (b"", "error: mine.yaml: is empty; write the keys of the study into it, or leave the file out"),
    "binary": (b"\x93\xff", "error: mine.yaml: is not text in UTF-8; check the path, or save the file as UTF-8"),
    "a key twice": (
        b"values: {seed: 1}\npruning: {}\nvalues: {seed: 2}\n",
        "error: mine.yaml: line 3: key values is given twice in one mapping; remove one of the two",
    ),
    "no number": (
        b"rollouts: {temperature: .nan}\n",
        "error: mine.yaml: rollouts.temperature: nan is not a finite number; write one, or leave the key out",
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny study that nobody has run, with its Makefile."""
    return with_make(make_study(tmp_path_factory.mktemp("made") / "study"))


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What `make` printed, without the line in which it says that a command failed."""
    assert done.returncode != 0
    return [line for line in complaints(done) if not line.startswith("make: ***")]


@pytest.mark.parametrize("kind", STUDIES)
def test_a_file_that_is_no_study_is_one_line_and_no_work(made: Path, kind: str) -> None:
    content, expected = STUDIES[kind]
    (made / "mine.yaml").write_bytes(content)
    for target in ("check", "plan") if kind == "a list" else ("run",):
        assert errors(make(made, target, "STUDY=mine.yaml")) == [expected]
    if kind in ("a key twice", "no number"):  # what Snakemake itself lets pass
        assert complaints(snakemake(made, "-n", "--configfile", "mine.yaml", check=False)) == [expected]
    assert not (made / "results").exists()


PROFILE = "error: PROFILE={}: no profiles/{}/profile.yaml; name one of: default slurm"
ABSENT = (
    "error: bad/sp ace/none.yaml: cannot be read (No such file or directory); check the path "
    "(taken as 2 files, there is no bad/sp and no ace/none.yaml)"
)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["STUDY=absent.yaml"], "error: absent.yaml: cannot be read (No such file or directory); check the path"),
        (["STUDY=studies"], "error: studies: cannot be read (Is a directory); check the path"),
        (["STUDY=bad/sp ace/none.yaml"], ABSENT),
        (["PROFILE=../profiles/default"], PROFILE.format("../profiles/default", "../profiles/default")),
        (["PROFILE=default/"], PROFILE.format("default/", "default/")),
        (["PROFILE=."], PROFILE.format(".", ".")),
        (["PROFILE=absent"], "error: PROFILE=absent: no profiles/absent/profile.yaml; name one of: default slurm"),
    ],
)
def test_what_make_is_asked_for_and_is_not_there_is_one_line(made: Path, arguments: list[str], expected: str) -> None:
    for target in ("run", "dry-run"):
        assert errors(make(made, target, *arguments)) == [expected]


def test_studies_and_targets_reach_snakemake_whatever_their_names(made: Path) -> None:
    """One study with spaces in its name; two studies; a target, which Snakemake's --configfile would swallow."""
    (made / "my own.yaml").write_text("rollouts: {seed: 5}\n")
    (made / "seed.yaml").write_text("rollouts: {seed: 6}\n")
    (made / "shards.yaml").write_text("datasets: {coins: {shard_size: 24}}\n")
    target = "ARGS=results/samples/tiny/coins/0.parquet --printshellcmds --quiet host"
    one = make(made, "dry-run", "STUDY=my own.yaml", target)
    assert one.stdout.count("\nrule ") == 2 and '"seed":5' in one.stdout, one.stderr
    two = make(made, "dry-run", "STUDY=seed.yaml shards.yaml", target)
    assert '"seed":6' in two.stdout and '"shard_size":24' in two.stdout, two.stderr
    told = errors(
        make(made, "plan", "STUDY=my own.yaml", "GPU=here", "ARGS=results/report.html")
    )  # a plan has no targets
    assert told == ["error: results/report.html: cannot be read (No such file or directory); check the path"]
    assert errors(make(made, "dry-run", "STUDY=my other.yaml", target)) == [
        "error: my other.yaml: cannot be read (No such file or directory); check the path "
        "(taken as 2 files, there is no my and no other.yaml)"
    ]
