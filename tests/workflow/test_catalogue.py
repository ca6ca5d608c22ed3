"""What the Snakemake workflow catalogue looks for: its settings, its guide, and a workflow in `workflow/Snakefile`."""

from collections import Counter
from pathlib import Path

import yaml

from tests.workflow.study import ROOT, jobs, make_study, snakemake

SNAKEFILE = ("--snakefile", "workflow/Snakefile")


def test_the_catalogue_finds_its_files() -> None:
    settings = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    assert set(settings) == {"usage"}
    assert settings["usage"]["software-stack-deployment"] == {"conda": True, "report": True}
    assert set(settings["usage"]["mandatory-flags"]) == {"desc", "flags"}
    assert (ROOT / "config" / "README.md").is_file()
    assert "Snakemake workflow" in (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")


def test_the_catalogues_snakefile_runs_the_same_jobs(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study")
    planned = jobs(folder)
    assert sum(planned.values()) > 40 and jobs(folder, *SNAKEFILE) == planned
    made = "results/problems/coins/0.parquet"
    snakemake(folder, *SNAKEFILE, made)
    assert (folder / made).is_file()
    left = jobs(folder)
    assert planned - left == Counter(["prepare_problems dataset=coins shard=0"])
    assert jobs(folder, *SNAKEFILE) == left
