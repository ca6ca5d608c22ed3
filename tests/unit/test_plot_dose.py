import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import synthetic_results as synthetic
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from workflow_scripts import plot_dose, plot_pruning, tabulate_interventions
from workflow_scripts.lib.report.dose_figure import around_one, by_factor, curve_of, draw, panels_of
from workflow_scripts.lib.storage.tables import write_parquet

SECTION: dict[str, Any] = {"runs": ["grpo/ledger"], "layers": None}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    rewards = [int(r) for r in np.random.default_rng(0).random(200) < 0.6]
    frame = synthetic.rollouts([f"p-{i:06d}" for i in range(200)], rewards)
    write_parquet(frame, folder / "rollouts" / "grpo" / "ledger" / "0.parquet")
    synthetic.write_masked(folder, "grpo", "ledger", {"value": 0.4})
    tabulate_interventions.main(synthetic.intervention_arguments(folder))
    return folder / "tables" / "dose_response.parquet"


def plot(table: Path, folder: Path, section: dict[str, Any] = SECTION) -> None:
    params = json.dumps({"figures": {"dose": section}})
    plot_dose.main(["--params", params, "--table", str(table), "--output-dir", str(folder)])


def curves(drawn: Figure, place: int, marker: str) -> list[tuple[list[float], list[float]]]:
    lines = [line for line in drawn.axes[place].lines if line.get_marker() == marker]
    return [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in lines]


def texts(drawn: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for axes in drawn.axes for text in axes.texts]


def test_three_formats_with_the_same_bytes_each_time(table: Path, tmp_path: Path) -> None:
    plot(table, tmp_path / "first")
    plot(table, tmp_path / "second")
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["dose.pdf", "dose.png", "dose.svg"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_curves_stand_where_the_table_says(table: Path) -> None:
    frame = pl.read_parquet(table)
    drawn = draw(frame, SECTION)
    value = frame.filter((pl.col("selection") == "value") & (pl.col("mode") == "zero"))
    ((x, y),) = curves(drawn, 0, "o")
    assert x == pytest.approx(np.log10([0.01, 0.05, 0.2])) and y == value["accuracy"].to_list()
    ((x, y),) = curves(drawn, 0, "s")
    matched = frame.filter((pl.col("selection") == "random_matched") & (pl.col("mode") == "zero"))
    means = [matched.filter(pl.col("share") == share)["accuracy"].mean() for share in (0.01, 0.05, 0.2)]
    assert y == pytest.approx(means)
    thin = [line for line in drawn.axes[0].lines if line.get_linewidth() == 0.5]
    assert len(thin) == 3  # draws
    assert [label.get_text() for label in drawn.axes[0].get_xticklabels()] == ["0.01", "0.05", "0.2"]
    plt.close(drawn)


def test_the_unmasked_run_is_factor_one_and_neurons_set_to_zero_are_factor_zero(table: Path) -> None:
    frame = pl.read_parquet(table)
    drawn = draw(frame, SECTION)
    ((x, y),) = curves(drawn, 1, "o")
    value = frame.filter((pl.col("selection") == "value") & (pl.col("share") == 0.05))
    plain = frame.filter(pl.col("selection") == "none")["accuracy"][0]
    known = dict(value.select("factor", "accuracy").rows()) | {1.0: plain}
    assert x == pytest.approx(around_one([0, 0.5, 1, 2]))
    assert y == pytest.approx([known[factor] for factor in (0, 0.5, 1, 2)])
    low, high = drawn.axes[1].get_xlim()
    assert low == -high  # factor 1 in the middle
    assert [label.get_text() for label in drawn.axes[1].get_xticklabels()] == ["0", "0.5", "1", "2"]
    plt.close(drawn)


def test_factors_are_placed_by_their_change() -> None:
    assert around_one([1, 2, 0, 4, -2]) == pytest.approx([0, 1, -1, 2, -2])
    assert around_one([0.5])[0] == -around_one([1.5])[0]


def test_a_factor_of_zero_that_was_run_is_not_drawn_twice(table: Path) -> None:
    frame = pl.read_parquet(table)
    zero = frame.filter(pl.col("factor") == 0.5).with_columns(factor=pl.lit(0.0))
    (panel,) = panels_of(pl.concat([frame, zero]), SECTION)
    rows = by_factor(panel).filter(pl.col("selection") == "value")
    assert rows["x"].sort().to_list() == [0, 0.5, 1, 2]
    assert rows.filter(pl.col("x") == 0)["mode"].to_list() == ["scale"]


def test_bands_are_intervals_or_the_range_of_draws() -> None:
    rows = {"x": [1.0, 1.0], "draw": [0, 1], "accuracy": [0.4, 0.6], "ci_low": [0.3, 0.5], "ci_high": [0.5, 0.7]}
    frame = pl.DataFrame(rows)
    assert curve_of(frame).rows() == [(1.0, 0.5, 0.4, 0.6)]
    assert curve_of(frame[:1]).rows() == [(1.0, 0.4, 0.3, 0.5)]


def test_the_unmasked_accuracy_has_its_line_and_band(table: Path) -> None:
    frame = pl.read_parquet(table)
    drawn = draw(frame, SECTION)
    plain = frame.filter(pl.col("selection") == "none").to_dicts()[0]
    for axes in drawn.axes:
        levels = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
        assert [plain["accuracy"]] * 2 in levels
        (band,) = [patch for patch in axes.patches if patch.get_hatch()]
        box = band.get_extents().transformed(axes.transData.inverted())
        assert (box.y0, box.y1) == pytest.approx((plain["ci_low"], plain["ci_high"]))
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert {"value neurons", "matched random neurons, mean", "one draw", "unablated", "its interval"} <= set(labels)
    plt.close(drawn)


def test_panels_with_nothing_to_show_say_why(table: Path) -> None:
    frame = pl.read_parquet(table)
    nothing = draw(frame.clear(), {"runs": [], "layers": None})
    assert texts(nothing) == ["No curve: the configuration names no run for this figure."] * 2
    unknown = draw(frame, {"runs": ["grpo/locks"], "layers": None})
    assert texts(unknown) == ["No curve: no dose-response was measured for this run and layer."] * 2
    shares = draw(frame.filter(pl.col("mode") != "scale"), SECTION)
    assert texts(shares) == ["No curve: no factor was measured for this run and layer."]
    factors = draw(frame.filter(pl.col("mode") != "zero"), SECTION)
    assert texts(factors) == ["No curve: no share was measured for this run and layer."]
    plt.close("all")


def test_an_empty_table_is_drawn_from_its_file(tmp_path: Path) -> None:
    tabulate_interventions.main(synthetic.intervention_arguments(tmp_path))
    plot(tmp_path / "tables" / "dose_response.parquet", tmp_path, {"runs": ["grpo/ledger"], "layers": [2]})
    assert (tmp_path / "dose.svg").is_file()


def test_configured_layers_and_runs_have_a_row_each(table: Path) -> None:
    frame = pl.read_parquet(table)
    drawn = draw(frame, {"runs": ["grpo/ledger", "grpo/locks"], "layers": [2, 4]})
    titles = [axes.get_title() for axes in drawn.axes[::2]]
    assert titles == [f"grpo/{name}, layer {layer}" for name in ("ledger", "locks") for layer in (2, 4)]
    plt.close(drawn)


@pytest.mark.parametrize("runs", [["grpo/ledger"], ["grpo/ledger", "grpo/locks"], []])
def test_nothing_is_cut_off_or_overlaps(table: Path, runs: list[str]) -> None:
    drawn = draw(pl.read_parquet(table), {"runs": runs, "layers": None})
    drawn.canvas.draw()
    renderer = drawn.canvas.get_renderer()  # type: ignore[attr-defined]
    found = [axes.get_tightbbox(renderer) for axes in drawn.axes]
    found += [legend.get_tightbbox(renderer) for legend in drawn.legends]
    boxes = [box for box in found if box is not None]
    assert len(boxes) == len(found)
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= drawn.bbox.x1 and box.y1 <= drawn.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    plt.close(drawn)


def test_the_prunings_leave_this_figure_alone(tmp_path: Path) -> None:
    write_parquet(pl.DataFrame({"layer": [1]}), tmp_path / "pruning_value.parquet")
    tables = ["--tables", str(tmp_path / "pruning_value.parquet")]
    params = json.dumps({"figures": {"dose": SECTION}})
    plot_pruning.main(["--params", params, *tables, "--output-dir", str(tmp_path)])
    assert list(tmp_path.glob("dose.*")) == []
