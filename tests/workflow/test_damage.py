"""Damaged and foreign files, and a full disk, in a real run: one line each, and the same results once it is fixed."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.small_disk import small_disk
from tests.workflow.study import differences, records, snakemake

RUN = "tiny/coins"


def flip(path: Path, place: float) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


def test_damaged_and_foreign_files_are_named_and_made_again(finished: Path, study: Path) -> None:
    results = study / "results"
    flipped = results / "pruning" / RUN / "value.parquet"
    cut = results / "trajectories" / RUN / "ablated.parquet"
    probes = results / "probes" / RUN / "dopamine_causal.safetensors"
    foreign = results / "masked" / RUN / "1" / "1.parquet"
    flip(flipped, 0.3)
    flip(probes, 0.6)
    cut.write_bytes(cut.read_bytes()[:-20])
    shutil.copy(foreign.with_name("0.parquet"), foreign)
    readers = ["tabulate_results", "tabulate_trajectories", "guide_search", "tabulate_interventions"]
    stopped = snakemake(study, "--cores", "2", "--keep-going", "--forcerun", *readers, check=False)
    assert stopped.returncode == 1
    said = [line for line in stopped.stderr.splitlines() if line.startswith("error: ")]
    named = [flipped, cut, probes, foreign]
    about = [line.removeprefix("error: ").partition(": ")[0] for line in said]
    assert set(about) == {str(path.relative_to(study)) for path in named}, said  # some are read by several rules
    assert all("; delete" in line for line in said), said
    assert "Traceback" not in stopped.stderr
    for path in named:
        path.unlink()
    snakemake(study, "--cores", "2")
    assert differences(records(finished), records(study)) == []


@pytest.fixture
def full_soon(study: Path, tmp_path: Path) -> Iterator[Path]:
    """The study, with Snakemake's own files, on a file system of its own."""
    size = sum(path.stat().st_size // 4096 + 1 for path in study.rglob("*")) * 4096
    with small_disk(tmp_path / "disk", size * 2):
        yield shutil.copytree(study, tmp_path / "disk" / "study")


def test_on_a_full_disk_a_run_stops_with_one_line_and_goes_on_when_there_is_room(
    finished: Path, full_soon: Path
) -> None:
    results, ballast = full_soon / "results", full_soon / "ballast"
    figures = [path for name in ("fig3", "fig9", "fig10") for path in (results / "figures").glob(f"{name}.*")]
    wanted = sum(path.stat().st_size for path in figures)
    for path in figures:
        path.unlink()
    ballast.write_bytes(bytes(shutil.disk_usage(results).free - wanted // 2))
    stopped = snakemake(full_soon, "--cores", "1", check=False, real=True)
    assert stopped.returncode == 1
    said = r"^error: results/figures/\S+: not written: No space left on device; .* free disk space"
    assert len(re.findall(said, stopped.stderr, flags=re.MULTILINE)) == 1, stopped.stderr
    assert not [*figures[0].parent.glob("fig3.*"), *results.rglob(".*")]
    ballast.unlink()
    snakemake(full_soon, "--cores", "1", real=True)
    assert differences(records(finished), records(full_soon)) == []
