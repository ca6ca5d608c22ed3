import json
from pathlib import Path
from typing import Any

import confidence_results as made
import numpy as np
import polars as pl
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts import plot_reliability, tabulate_confidence
from workflow_scripts.lib.confidence.methods import METHODS
from workflow_scripts.lib.report.reliability_figure import LARGEST, STYLES, bin_words, draw, marker_areas

SECTION: dict[str, Any] = {"runs": ["grpo/ledger", "grpo/locks"], "layers": None}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    made.write_run(folder)
    made.write_run(folder, "grpo/locks", 120, seed=1, undefined={})
    tabulate_confidence.main(made.arguments(folder, resamples=20))
    return folder / "tables" / "reliability.parquet"


def plot(table: Path, folder: Path, section: dict[str, Any] = SECTION) -> None:
    params = json.dumps({"figures": {"reliability": section}})
    plot_reliability.main(["--params", params, "--table", str(table), "--output-dir", str(folder)])


def texts(axes: Axes) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in axes.texts]


def curve(axes: Axes, method: str) -> list[tuple[float, float]]:
    (line,) = [line for line in axes.lines if line.get_color() == STYLES[method]["color"]]
    return list(zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), strict=True))


def diagram(drawn: Figure, title: str) -> Axes:
    return next(axes for axes in drawn.axes if axes.get_title() == title)


def test_three_formats_with_the_same_bytes_each_time(table: Path, tmp_path: Path) -> None:
    plot(table, tmp_path / "first")
    plot(table, tmp_path / "second")
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["reliability.pdf", "reliability.png", "reliability.svg"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_points_stand_where_the_table_says(table: Path) -> None:
    frame = pl.read_parquet(table)
    drawn = draw(frame, SECTION)
    for dataset in ("ledger", "locks"):
        axes = diagram(drawn, f"grpo/{dataset}")
        for method in METHODS:
            rows = frame.filter((pl.col("dataset") == dataset) & (pl.col("method") == method)).drop_nulls("share_right")
            if len(rows):
                assert curve(axes, method) == rows.select("mean_probability", "share_right").rows()
        assert curve(axes, "lcd") and axes.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]  # type: ignore[union-attr]
    plt.close(drawn)


def test_each_method_says_what_its_bins_hold_and_missing_methods_their_reason(table: Path) -> None:
    frame = pl.read_parquet(table)
    drawn = draw(frame, SECTION)
    for dataset, column in (("ledger", 0), ("locks", 1)):
        rows = frame.filter((pl.col("dataset") == dataset) & (pl.col("n") > 0))
        strip = drawn.axes[2 + column]
        counts = [bin_words(part["n"].to_list()) for part in rows.partition_by("method", maintain_order=True)]
        assert sorted(text for text in texts(strip) if text != made.SILENT) == sorted(counts)
        assert [label.get_text() for label in strip.get_yticklabels()] == list(METHODS.values())
        assert (made.SILENT in texts(strip)) == (dataset == "ledger")
    plt.close(drawn)


def test_what_bins_hold_in_words() -> None:
    assert bin_words([20, 18, 22]) == "3 bins of 18 to 22 responses"
    assert bin_words([20, 20]) == "2 bins of 20 responses" and bin_words([7]) == "1 bin of 7 responses"


def test_markers_grow_with_what_a_bin_holds() -> None:
    small, large = marker_areas([1, 99])
    assert 0 < small < large / 4
    assert marker_areas([5]) == [LARGEST]


def test_styles_can_be_told_apart_in_grey() -> None:
    assert len({style["marker"] for style in STYLES.values()}) == len(METHODS)


@pytest.mark.parametrize("runs", [["grpo/ledger"], ["grpo/ledger", "grpo/locks", "grpo/ledger"], ["grpo/x"], []])
def test_nothing_is_cut_off_or_overlaps(table: Path, runs: list[str]) -> None:
    drawn = draw(pl.read_parquet(table), {"runs": runs, "layers": None})
    drawn.canvas.draw()
    renderer = drawn.canvas.get_renderer()  # type: ignore[attr-defined]
    found = [axes.get_tightbbox(renderer) for axes in drawn.axes if axes.axison]
    found += [legend.get_tightbbox(renderer) for legend in drawn.legends]
    boxes = [box for box in found if box is not None]
    assert len(boxes) == len(found)
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= drawn.bbox.x1 and box.y1 <= drawn.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    plt.close(drawn)


def test_panels_with_nothing_to_show_say_why(table: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(table)
    nothing, unknown = draw(frame, {"runs": []}), draw(frame, {"runs": ["grpo/doors"]})
    assert texts(nothing.axes[0]) == ["No curve: the configuration names no run for this figure."]
    assert texts(unknown.axes[0]) == ["No curve: nothing was measured for this run."]
    plt.close("all")
    tabulate_confidence.main(made.arguments(tmp_path))
    plot(tmp_path / "tables" / "reliability.parquet", tmp_path)
    assert (tmp_path / "reliability.svg").is_file()
