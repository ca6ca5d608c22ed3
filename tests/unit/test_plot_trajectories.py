"""Figures 3, 9 and 10: they are the same each time, show what the rule chose, and say why where they cannot."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
import pytest
import traced_runs as runs
from matplotlib.figure import Figure
from matplotlib.text import Text

from workflow_scripts import plot_trajectories
from workflow_scripts.lib.report import figure_style
from workflow_scripts.lib.report.ablation_figure import ablation_figure
from workflow_scripts.lib.report.surprise_figure import surprise_figure
from workflow_scripts.lib.report.trajectory_figure import listed_paragraphs, median_response, shortened
from workflow_scripts.lib.trajectories.traces import Traced, surprising, write_trace

RUN = {"runs": ["grpo/ledger"]}
SCALE = {"none": 0.0, "value": 1.0, "random": 0.2, "random_matched": 0.2}


@pytest.fixture(autouse=True)
def style():
    matplotlib.use("Agg")
    with matplotlib.rc_context(figure_style.STYLE):
        yield
    matplotlib.pyplot.close("all")


def words(figure: Figure) -> str:
    """All text of a figure, layed out, wrapped lines joined."""
    figure.canvas.draw()
    return " ".join(" ".join(one.get_text().split()) for one in figure.findobj(Text) if one.get_visible())


def test_both_surprises_are_drawn_with_value_neuron_and_text() -> None:
    traced = runs.planted()
    text = words(surprise_figure({"grpo/ledger": traced}, RUN))
    for kind, outcome in (("positive", "correct"), ("negative", "incorrect")):
        found = surprising(traced, kind)
        assert found is not None
        first = f"{found.row['values'][0]:.2f}"
        assert f"{kind} surprise: {found.row['problem_id']}, V(s₀) = {first}, {outcome}" in text
        assert " ".join("".join(found.row["pieces"][:3]).split()) in text
    assert "layer 3, neuron 7 (first by importance, sign reversed)" in text


def test_the_line_is_the_oriented_activation_of_the_first_neuron() -> None:
    traced = runs.planted()
    figure = surprise_figure({"grpo/ledger": traced}, RUN)
    found = surprising(traced, "positive")
    assert found is not None
    axes = next(one for one in figure.get_axes() if one.get_ylabel().startswith("activation"))
    drawn = [np.asarray(line.get_ydata()) for line in axes.lines]
    drawn = [line for line in drawn if len(line) == 12]
    assert np.allclose(drawn[0], -np.array(found.row["activations"][0]))


@pytest.mark.parametrize("traced", [{}, {"grpo/ledger": runs.planted().of("train")}])
def test_a_figure_without_a_case_says_why(traced: dict[str, Traced]) -> None:
    text = words(surprise_figure(traced, RUN))
    reason = "no validation response with at least 3 paragraphs is correct" if traced else "were not traced"
    assert reason in text and "nan" not in text
    assert "names no run for this figure" in words(surprise_figure(traced, {}))
    assert "names no run for this figure" in words(ablation_figure(traced, {}, {"runs": None}))
    assert "nothing was ablated" in words(ablation_figure(traced, {}, RUN))


def test_the_response_of_figure_10_is_the_median_of_the_first_neuron() -> None:
    traced = runs.planted()
    frame = runs.ablated_frame(traced, SCALE)
    mine = frame.filter((pl.col("split") == "validation") & (pl.col("neuron") == 7) & (pl.col("condition") == "value"))
    ordered = mine["correlation"].sort().to_list()
    chosen = median_response(traced, frame)
    assert chosen is not None and chosen["correlation"] == ordered[(len(ordered) - 1) // 2]
    assert median_response(traced, frame.filter(pl.col("condition") != "value")) is None
    text = words(ablation_figure({"grpo/ledger": traced}, {"grpo/ledger": frame}, RUN))
    assert f"{chosen['problem_id']}" in text and "20 validation problems" in text


def test_long_text_is_cut_and_many_paragraphs_are_counted() -> None:
    row = runs.row_of("a", "validation", [0.01 * k for k in range(12)], np.zeros((4, 36)))
    listed = listed_paragraphs(row)
    assert [number for number, _ in listed] == [*range(5, 13), 0]
    assert listed[-1][1] == ["… and 4 paragraphs with smaller TD errors"]
    lines = shortened("word " * 200)
    assert len(lines) == 2 and lines[-1].endswith("…")
    assert shortened("costs $5 and $6\n\n") == [r"costs \$5 and \$6"] and shortened("\n\n") == ["–"]


def test_odd_text_can_be_drawn() -> None:
    traced = runs.planted()
    odd = pl.Series([["$x^{", "\\frac", "\x00<b>", "数学"] * 3] * len(traced.responses))
    changed = Traced(**(vars(traced) | {"responses": traced.responses.with_columns(pieces=odd)}))
    with pytest.warns(UserWarning, match="missing from font"):
        text = words(surprise_figure({"grpo/ledger": changed}, RUN))
    assert "frac" in text


def test_files_are_the_same_each_time(tmp_path: Path) -> None:
    traced = runs.planted()
    write_trace(traced, tmp_path / "grpo/ledger.parquet")
    runs.write_ablated(runs.ablated_frame(traced, SCALE), tmp_path / "grpo/ledger/ablated.parquet", [1])
    params = json.dumps({"figures": {"fig3": RUN, "fig9": {}, "fig10": RUN}})
    flags = ["--params", params, "--traced", str(tmp_path / "grpo/ledger.parquet")]
    flags += ["--ablated", str(tmp_path / "grpo/ledger/ablated.parquet"), "--output-dir"]
    for folder in ("a", "b"):
        plot_trajectories.main([*flags, str(tmp_path / folder)])
    names = {f"{name}.{kind}" for name in ("fig3", "fig9", "fig10") for kind in ("pdf", "svg", "png")}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
