import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import synthetic_results as synthetic
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from workflow_scripts import plot_pruning, tabulate_results
from workflow_scripts.lib.report import figure_style
from workflow_scripts.lib.report.curves_page import FIGURE_PLACES
from workflow_scripts.lib.report.pruning_figure import KINDS, draw

FIGURES: dict[str, Any] = {
    "fig1": {"runs": ["grpo/ledger", "grpo/codes", "ppo/easy"], "layers": [2, 3, 4]},
    "fig4": {"runs": ["grpo/ledger", "ppo/easy"], "layers": [2, 3, 4]},
    "fig5": {"runs": ["grpo/codes"], "layers": [2, 3]},
    "fig6": {"runs": ["grpo/ledger", "ppo/easy"], "layers": [2]},
    "fig7": {"runs": ["grpo/ledger", "ppo/easy"], "layers": None},
    "fig11": {"runs": ["grpo/ledger"], "layers": [4]},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    tabulate_results.main(synthetic.study(folder))
    return folder / "tables"


def plot(tables: Path, folder: Path, figures: dict[str, Any] = FIGURES) -> None:
    names = [str(tables / f"pruning_{kind}.parquet") for kind in ("value", "dopamine")]
    params = json.dumps({"figures": figures})
    plot_pruning.main(["--params", params, "--tables", *names, "--output-dir", str(folder)])


def figure(tables: Path, name: str, section: dict[str, Any]) -> Figure:
    return draw(pl.read_parquet(tables / f"{KINDS[name].table}.parquet"), KINDS[name], section)


def texts(drawn: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for axes in drawn.axes for text in axes.texts]


def test_every_figure_in_three_formats_with_the_same_bytes_each_time(tables: Path, tmp_path: Path) -> None:
    plot(tables, tmp_path / "first")
    plot(tables, tmp_path / "second")
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == sorted(f"{name}.{kind}" for name in FIGURES for kind in ("pdf", "svg", "png"))
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_an_axis_where_nine_tenths_to_ninety_nine_hundredths_take_half_the_width() -> None:
    left, middle, right = np.log(figure_style.kept_share([0.0, 0.9, 0.99]))
    assert (middle - left) == pytest.approx(right - middle)
    assert np.isfinite(np.log(figure_style.kept_share([1.0]))).all()


def test_curves_stand_where_the_table_says(tables: Path) -> None:
    drawn = figure(tables, "fig11", {"runs": ["grpo/ledger"], "layers": [4]})
    (axes,) = [axes for axes in drawn.axes if axes.get_visible()]
    (line,) = [line for line in axes.lines if line.get_marker() == "o"]
    x, y = (np.asarray(data, dtype=float) for data in (line.get_xdata(), line.get_ydata()))
    assert y == pytest.approx([0.62 + 0.03 * 4 + 0.1] * 15)
    assert x == pytest.approx(1 - np.array(synthetic.RATIOS))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.5", "0.8", "0.9", "0.96", "0.98", "0.99"]
    low, high = axes.get_ylim()
    assert low < 0.5 and high > 0.88
    plt.close(drawn)


def test_every_panel_has_its_interval_random_band_and_shuffled_curve(tables: Path) -> None:
    drawn = figure(tables, "fig1", {"runs": ["grpo/ledger"], "layers": [2, 3]})
    (axes,) = [axes for axes in drawn.axes if axes.get_visible()]
    assert len(axes.collections) == 3  # two intervals and the random band
    markers = [str(line.get_marker()) for line in axes.lines]
    assert markers.count("o") == markers.count("s") == markers.count("x") == 1
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert {"layer 2", "layer 3", "trained on shuffled labels", "inputs kept at random, mean"} <= set(labels)
    plt.close(drawn)


def test_the_noise_ceiling_is_drawn_for_dopamine_probes(tables: Path) -> None:
    drawn = figure(tables, "fig4", FIGURES["fig4"])
    ceiling = pl.read_parquet(tables / "values.parquet").filter(pl.col("dataset") == "ledger")["noise_ceiling"][0]
    levels = [np.asarray(line.get_ydata()).tolist() for line in drawn.axes[0].lines if line.get_linestyle() == "-."]
    assert levels == [[ceiling, ceiling]]
    plt.close(drawn)


def test_panels_with_nothing_to_show_say_why(tables: Path) -> None:
    one_class = figure(tables, "fig1", FIGURES["fig1"])
    assert texts(one_class) == ["No curve: all responses are correct."]
    no_paragraph = figure(tables, "fig4", {"runs": ["ppo/easy"], "layers": [2]})
    assert texts(no_paragraph) == ["No curve: 0 paragraphs: too few for a correlation."]
    unknown = figure(tables, "fig4", {"runs": ["grpo/codes"], "layers": None})
    assert texts(unknown) == ["No curve: no probe was evaluated for this run and layer."]
    nothing = [figure(tables, name, {"runs": [], "layers": None}) for name in FIGURES]
    for drawn in nothing:
        assert texts(drawn) == ["No curve: the configuration names no run for this figure."]
    plt.close("all")


def test_small_multiples_give_each_run_its_own_rows(tables: Path) -> None:
    drawn = figure(tables, "fig7", FIGURES["fig7"])
    titles = [axes.get_title() for axes in drawn.axes if axes.get_visible()]
    assert titles[:2] == ["grpo/ledger\nlayer 1", "layer 2"] and titles[6] == "ppo/easy\nlayer 1"
    assert len(titles) == 12
    plt.close(drawn)


def test_other_data_sets_and_models_are_drawn_like_the_first_figure(tables: Path) -> None:
    """Figures 5 and 6 show the curves that Figure 1 would, at the last prompt token."""
    for name in ("fig5", "fig6"):
        mine, first = figure(tables, name, FIGURES[name]), figure(tables, "fig1", FIGURES[name])
        shown = [
            [np.asarray(line.get_ydata()).tolist() for axes in f.axes for line in axes.lines] for f in (mine, first)
        ]
        assert shown[0] == shown[1] and len(shown[0]) > 3
        assert FIGURE_PLACES[name] == KINDS[name].position == "initial"
    plt.close("all")


@pytest.mark.parametrize("name", list(FIGURES))
def test_nothing_is_cut_off_or_overlaps(tables: Path, name: str) -> None:
    drawn = figure(tables, name, FIGURES[name])
    drawn.canvas.draw()
    renderer = drawn.canvas.get_renderer()  # type: ignore[attr-defined]
    page = drawn.bbox
    shown = [axes for axes in drawn.axes if axes.get_visible()]
    found = [axes.get_tightbbox(renderer) for axes in shown] + [drawn.legends[0].get_tightbbox(renderer)]
    boxes = [box for box in found if box is not None]
    assert len(boxes) == len(shown) + 1
    for i, box in enumerate(boxes):
        assert box.x0 >= page.x0 and box.y0 >= page.y0 and box.x1 <= page.x1 and box.y1 <= page.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    for axes in shown:
        labels = [t.get_window_extent(renderer) for t in axes.get_xticklabels() if t.get_text()]
        assert not any(a.overlaps(b) for a, b in pairwise(labels))
    plt.close(drawn)


def test_layers_differ_in_lightness_dash_and_marker() -> None:
    three = figure_style.LINES[:3]
    lightness = sorted(np.asarray(Image.new("RGB", (1, 1), style["color"]).convert("L")).item() for style in three)
    assert min(np.diff(lightness)) > 25
    assert len({str(style["linestyle"]) for style in three}) == len({style["marker"] for style in three}) == 3
