"""Files are whole or absent: on a full disk, beyond an allowed size, and after kill -9 of the writer."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
import torch
from matplotlib.figure import Figure

from tests.small_disk import small_disk
from workflow_scripts.lib.errors import UserError, report_errors
from workflow_scripts.lib.report.figure_style import save
from workflow_scripts.lib.storage.files import atomic_path
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.storage.tensors import read_safetensors, write_safetensors

SIZE = 300_000
TENSOR = torch.randn(SIZE // 4)
FRAME = pl.DataFrame({"x": TENSOR.numpy()})
WIDE = pl.DataFrame({f"column {i}": [i] for i in range(3000)})  # nearly all of the file is its footer


def write_csv(folder: Path) -> None:
    with atomic_path(folder / "table.csv") as path:
        FRAME.write_csv(path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "table.parquet": lambda folder: write_parquet(FRAME, folder / "table.parquet"),
    "wide.parquet": lambda folder: write_parquet(WIDE, folder / "wide.parquet"),
    "states.safetensors": lambda folder: write_safetensors({"x": TENSOR}, {}, folder / "states.safetensors"),
    "table.csv": write_csv,
}


@pytest.fixture(params=[4096, 8192, SIZE // 2, SIZE * 4 // 5])
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system smaller than the files need: full at their beginning, in their middle, or near their end."""
    with small_disk(tmp_path / "small", request.param):
        yield tmp_path / "small"


@pytest.mark.parametrize("name", WRITERS)
def test_on_a_full_disk_one_line_says_so_and_nothing_stays(small: Path, name: str) -> None:
    said = rf"^{small / name}: not written: No space left on device; \d+\.\d MB are free there: free disk space"
    with pytest.raises(UserError, match=said):
        WRITERS[name](small)
    assert list(small.iterdir()) == []
    subprocess.run(["mount", "-o", f"remount,size={4 * SIZE}", small], check=True)
    WRITERS[name](small)
    assert [path.name for path in small.iterdir()] == [name]
    if name == "table.parquet":
        assert read_parquet(small / name).equals(FRAME)
    if name == "states.safetensors":
        assert read_safetensors(small / name)[0]["x"].equal(TENSOR)


def test_beyond_the_allowed_size_a_figure_is_not_written_either(tmp_path: Path) -> None:
    figure = Figure()
    figure.add_subplot().plot(TENSOR[:2000].numpy())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(
            SystemExit, match=r"error: .*: not written: File too large; .*: free disk space and run again"
        ):
            report_errors(lambda: save(figure, tmp_path, "fig1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_the_next_one_removes(tmp_path: Path) -> None:
    code = (
        "import sys, time; from workflow_scripts.lib.storage.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path: path.write_text('half'); print('written', flush=True); time.sleep(600)"
    )
    target, other = tmp_path / "0.parquet", tmp_path / "1.0.parquet"
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) for path in (target, other)
    ]
    for writer in writers:
        assert writer.stdout and writer.stdout.readline() == b"written\n"
        writer.kill()
        writer.wait()
    (tmp_path / ".node7.cluster.example.77.0.parquet").write_text("left behind on another machine")
    assert len(list(tmp_path.iterdir())) == 3
    with atomic_path(target) as path:
        path.write_text("whole")
    assert target.read_text() == "whole"
    left = [path for path in tmp_path.iterdir() if path != target]
    assert len(left) == 1 and left[0].name.endswith(f".{writers[1].pid}.1.0.parquet")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("before")

    def fail() -> None:
        with atomic_path(target) as path:
            path.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert os.listdir(tmp_path) == ["a.csv"] and target.read_text() == "before"


def test_other_errors_keep_their_traceback() -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(SystemExit, match=r"(?s)^Traceback .*, in fail\n.*OSError: .*Input/output error$"):
        report_errors(fail)
