"""The memory that jobs may take: the machine's free memory, the limits of groups, and a reserve."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow_scripts.lib.runtime import memory

GIB = 2**30


def group(folder: Path, version: int, limit: str, used: int, cache: int = 0) -> Path:
    """A group of processes as Linux shows it."""
    folder.mkdir(parents=True)
    most, current, reclaimable = memory.VERSIONS[2 - version]
    (folder / most).write_text(f"{limit}\n")
    (folder / current).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{reclaimable} {cache}\n")
    return folder


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_has_left_what_it_does_not_use_but_for_cache(tmp_path: Path, version: int) -> None:
    limited = group(tmp_path / "job", version, str(8 * GIB), 3 * GIB, GIB)
    assert list(memory.free_in(limited)) == [6 * GIB]
    assert list(memory.free_in(group(tmp_path / "free", version, "max", 3 * GIB))) == []
    assert list(memory.free_in(tmp_path / "absent")) == []


@pytest.mark.parametrize(("line", "folders"), [("0::/slurm/job_7", ["", "slurm", "slurm/job_7"]), ("0::/", [""])])
def test_the_groups_of_a_process_and_all_above(tmp_path: Path, line: str, folders: list[str]) -> None:
    listed = tmp_path / "listed"
    listed.write_text(f"12:cpuset:/elsewhere\n{line}\n")
    assert sorted(memory.own_groups(listed, tmp_path / "sys")) == [tmp_path / "sys" / name for name in folders]
    listed.write_text(line.replace("0::", "4:memory:"))
    expected = [tmp_path / "sys" / "memory" / name for name in folders]
    assert sorted(memory.own_groups(listed, tmp_path / "sys")) == expected
    assert memory.own_groups(tmp_path / "absent", tmp_path) == []


def test_the_tightest_limit_counts_less_a_tenth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=256_000_000_000))
    monkeypatch.setattr(memory, "own_groups", list)
    assert memory.memory_for_jobs() == 230_400
    inner = group(tmp_path / "outer" / "inner", 2, "20000000000", 10_000_000_000)
    for name, text in (("memory.max", "max"), ("memory.current", "0"), ("memory.stat", "anon 0")):
        (inner.parent / name).write_text(text)
    monkeypatch.setattr(memory, "own_groups", lambda: [inner, inner.parent])
    assert memory.memory_for_jobs() == 9_000
    (inner / "memory.current").write_text("30000000000")
    assert memory.memory_for_jobs() == 1
