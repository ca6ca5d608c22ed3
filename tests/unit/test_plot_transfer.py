import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from synthetic_probes import noisy, write

from workflow_scripts import compare_neurons, plot_transfer
from workflow_scripts.lib.report import figure_style
from workflow_scripts.lib.report.transfer_figure import draw, groups_of, style_of

D = 100
RATIOS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99]
RUNS = [f"{model}/{dataset}" for model in ("grpo", "ppo") for dataset in ("ledger", "locks", "doors")]
ALL: dict[str, Any] = {"runs": RUNS, "layers": [2, 3]}
THREE: dict[str, Any] = {"runs": ["grpo/ledger", "grpo/locks", "ppo/ledger"], "layers": [2]}
PAIR: dict[str, Any] = {"runs": ["grpo/ledger", "grpo/locks"], "layers": [2, 3]}


def table_of(folder: Path, runs: list[str], seeds: list[int], layers: tuple[int, ...] = (2, 3)) -> Path:
    files = [str(write(folder, run, noisy(D, seeds, 1.0, i, layers))) for i, run in enumerate(runs)]
    pruning = {"ratios": RATIOS, "confidence": 0.95, "bootstrap": 20, "seed": 0}
    params = json.dumps({"transfer": {"families": [["grpo", "ppo"]]}, "pruning": pruning})
    scores = ["--scores", str(folder / "scores.parquet")]
    compare_neurons.main(["--params", params, "--value", *files, *scores, "--output-dir", str(folder)])
    return folder / "transfer.parquet"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table_of(tmp_path_factory.mktemp("study"), RUNS, [0, 1, 2])


@pytest.fixture(scope="module")
def table(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path)


def shown(drawn: Figure) -> list[Any]:
    return [axes for axes in drawn.axes if axes.get_visible()]


def legends(drawn: Figure) -> list[list[str]]:
    found = [*drawn.legends, *(legend for part in drawn.subfigs for legend in part.legends)]
    return [[legend.get_title().get_text(), *(t.get_text() for t in legend.get_texts())] for legend in found]


def texts(drawn: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for axes in drawn.axes for text in axes.texts]


def curve(axes: Any, marker: str) -> tuple[list[float], list[float]]:
    (line,) = [line for line in axes.lines if line.get_marker() == marker]
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def test_two_figures_in_three_formats_with_the_same_bytes_each_time(path: Path, tmp_path: Path) -> None:
    params = json.dumps({"figures": {"fig2": THREE, "fig8": PAIR}})
    for name in ("first", "second"):
        plot_transfer.main(["--params", params, "--table", str(path), "--output-dir", str(tmp_path / name)])
    names = sorted(p.name for p in (tmp_path / "first").iterdir())
    assert names == sorted(f"{name}.{kind}" for name in ("fig2", "fig8") for kind in ("pdf", "svg", "png"))
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_curves_bands_and_controls_stand_where_the_table_says(table: pl.DataFrame) -> None:
    drawn = draw(table, PAIR)
    first = shown(drawn)[0]
    names = {"model_a": "grpo", "dataset_a": "ledger", "dataset_b": "locks", "model_b": "grpo", "layer": 2}
    rows = table.filter(kind="value", **names)
    assert len(rows) == len(RATIOS)
    x, y = curve(first, "o")
    assert x == pytest.approx(1 - np.array(RATIOS)) and y == rows["iou"].to_list()
    assert curve(first, "x")[1] == rows["shuffled"].to_list()
    levels = {str(line.get_linestyle()): np.asarray(line.get_ydata()).tolist() for line in first.lines}
    assert levels[":"] == rows["random_mean"].to_list() and levels["-."] == rows["within"].to_list()
    heights = [band.get_paths()[0].vertices[:, 1] for band in first.collections]
    for low, high in (("random_low", "random_high"), ("iou_low", "iou_high")):
        wanted = {round(v, 9) for v in rows[low].to_list() + rows[high].to_list()}
        assert any({round(v, 9) for v in band} == wanted for band in heights)
    assert any(band.get_hatch() for band in first.collections)
    plt.close(drawn)


def test_a_row_for_what_pairs_share_and_a_curve_for_each_pair(table: pl.DataFrame) -> None:
    drawn = draw(table, ALL)
    assert legends(drawn)[1:] == [
        *(
            [f"across data sets: {m}", "ledger and locks", "ledger and doors", "locks and doors"]
            for m in ("grpo", "ppo")
        ),
        *([f"across models: {dataset}", "grpo and ppo"] for dataset in ("ledger", "locks", "doors")),
    ]
    titles = [axes.get_title() for axes in shown(drawn)]
    assert titles == ["layer 2", "layer 3"] * 5
    assert [sum(line.get_marker() in ("o", "s", "^") for line in axes.lines) for axes in shown(drawn)] == [3] * 4 + [
        1
    ] * 6
    plt.close(drawn)


def test_a_row_without_pairs_is_left_out(table: pl.DataFrame) -> None:
    assert [group.across for group in groups_of(table, PAIR)] == ["data sets"]
    models = groups_of(table, {"runs": ["grpo/ledger", "ppo/ledger"], "layers": None})
    assert [(group.across, group.layers) for group in models] == [("models", [2, 3])]


def test_pairs_of_dopamine_probes_are_not_drawn(table: pl.DataFrame) -> None:
    both = pl.concat([table, table.with_columns(kind=pl.lit("dopamine"), iou=pl.lit(0.0))])
    assert groups_of(both, ALL)[0].rows.equals(groups_of(table, ALL)[0].rows)
    assert groups_of(both.filter(kind="dopamine"), ALL) == []


def test_figures_and_panels_with_nothing_to_show_say_why(table: pl.DataFrame) -> None:
    nothing = draw(table, {"runs": [], "layers": None})
    assert texts(nothing) == ["No curve: the configuration names no run for this figure."]
    unrelated = draw(table, {"runs": ["grpo/ledger", "ppo/locks"], "layers": None})
    (text,) = texts(unrelated)
    assert text.startswith("No curve: no two of this figure's runs are one model on two data sets")
    layer = draw(table, PAIR | {"layers": [2, 9]})
    assert texts(layer) == ["No curve: no probes were compared at this layer."]
    plt.close("all")


def test_an_empty_table_is_drawn_from_its_file(tmp_path: Path) -> None:
    path = table_of(tmp_path, [], [])
    params = json.dumps({"figures": {"fig2": PAIR, "fig8": {"runs": []}}})
    plot_transfer.main(["--params", params, "--table", str(path), "--output-dir", str(tmp_path)])
    assert (tmp_path / "fig2.svg").is_file() and (tmp_path / "fig8.png").is_file()


def test_with_one_seed_there_is_no_range_and_the_legend_says_what_is_shared(tmp_path: Path) -> None:
    drawn = draw(pl.read_parquet(table_of(tmp_path, RUNS[:2], [0])), PAIR)
    controls, pairs = legends(drawn)
    assert pairs[1:] == ["ledger and locks (same first weights)"]
    assert "lowest to highest pair of seeds" not in controls and "same run, another seed" not in controls
    assert "trained on shuffled labels" in controls
    assert curve(shown(drawn)[0], "o")[0] == pytest.approx(1 - np.array(RATIOS))
    plt.close(drawn)


def test_more_pairs_than_styles_differ_in_their_markers() -> None:
    twelve = [json.dumps(style_of(place)) for place in range(2 * len(figure_style.LINES))]
    assert len(set(twelve)) == len(twelve)


@pytest.mark.parametrize("case", ["all", "pair", "many layers", "one layer", "nothing"])
def test_nothing_is_cut_off_or_overlaps(table: pl.DataFrame, case: str) -> None:
    more = [table.with_columns(layer=pl.lit(n, pl.Int64)) for n in range(1, 7)]
    sections: dict[str, Any] = {"all": ALL, "pair": PAIR, "many layers": PAIR | {"layers": None}}
    sections |= {"one layer": PAIR | {"layers": [3]}, "nothing": {"runs": []}}
    drawn = draw(pl.concat(more) if case == "many layers" else table, sections[case])
    drawn.canvas.draw()
    renderer = drawn.canvas.get_renderer()  # type: ignore[attr-defined]
    items = [*shown(drawn), *drawn.legends, *(legend for part in drawn.subfigs for legend in part.legends)]
    boxes = [item.get_tightbbox(renderer) for item in items]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= drawn.bbox.x1 and box.y1 <= drawn.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    for axes in shown(drawn):
        labels = [t.get_window_extent(renderer) for t in axes.get_xticklabels() if t.get_text()]
        assert not any(a.overlaps(b) for a, b in pairwise(labels))
    plt.close(drawn)
