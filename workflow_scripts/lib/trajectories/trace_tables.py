"""Tables of trajectories: correlations with TD errors, and the effect of ablation on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.statistics.intervals import Estimate, Resampling, estimate
from workflow_scripts.lib.storage.identity import group_by_run
from workflow_scripts.lib.storage.result_tables import with_columns
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.trajectories import peaks
from workflow_scripts.lib.trajectories.ablation_tables import CONTRAST_COLUMNS, Ablated, contrast_rows
from workflow_scripts.lib.trajectories.contrasts import mean_over_responses, mean_spearman, numbered
from workflow_scripts.lib.trajectories.traces import (
    ABLATED_FORMAT,
    ParagraphMeans,
    Traced,
    activations_of,
    means_between,
    paragraph_means,
    read_about,
    read_trace,
)

COLUMNS = [
    *("model", "dataset", "layer", "neuron", "kind", "rank", "sign", "n", "n_problems", "spearman", "ci_low"),
    *("ci_high", "spearman_all", "reason", "n_all", "all_low", "all_high", "all_reason", "spearman_train"),
]
ABLATION_COLUMNS = [
    *("model", "dataset", "layer", "neuron", "condition", "draw", "n", "correlation", "ci_low", "ci_high", "rmse"),
    *("rmse_low", "rmse_high", "spearman", "spearman_low", "spearman_high", "reason", "own_layers", "largest_miss"),
]
SCORE_COLUMNS = [
    *("model", "dataset", "layer", "kind", "neuron", "rank", "problem_id", "sample", "deltas", "kept", "means"),
]
ABLATED_COLUMNS = [
    *("model", "dataset", "layer", "condition", "draw", "neuron", "own_layers", "problem_id", "sample"),
    *("correlation", "means"),
]
SCORES, ABLATED_SCORES = "scores", "ablated_scores"
TableRow = dict[str, object]


def oriented(traced: Traced) -> ParagraphMeans:
    """Return validation paragraphs, the means oriented by each neuron's sign."""
    paragraphs = paragraph_means(traced.of("validation"))
    signs = np.array([one.sign for one in traced.neurons], dtype=float)
    return ParagraphMeans(paragraphs.problem_ids, paragraphs.delta, paragraphs.kept, signs[:, None] * paragraphs.means)


def correlation_row(paragraphs: ParagraphMeans, places: Sequence[int], how: Resampling) -> tuple[TableRow, np.ndarray]:
    """Return the mean over some neurons of the correlation with the TD error, over kept and over all paragraphs.

    Also return the bootstrap draws over kept paragraphs.
    """
    kept = paragraphs.only_kept()
    of_kept, drawn = mean_spearman(kept.means[list(places)], kept.delta, numbered(kept.problem_ids), how)
    of_all, _ = mean_spearman(paragraphs.means[list(places)], paragraphs.delta, numbered(paragraphs.problem_ids), how)
    row: TableRow = {"n": len(kept.delta), "n_problems": len(set(kept.problem_ids)), "spearman": of_kept.value}
    row |= {
        "ci_low": of_kept.low,
        "ci_high": of_kept.high,
        "spearman_all": of_all.value,
        "n_all": len(paragraphs.delta),
    }
    row |= {"all_low": of_all.low, "all_high": of_all.high, "reason": of_kept.reason, "all_reason": of_all.reason}
    return row, drawn


def trace_rows(traced: Traced, how: Resampling) -> list[TableRow]:
    """Return a row for each followed neuron, one for each kind's mean, and their difference (kind `difference`)."""
    paragraphs = oriented(traced)
    names: TableRow = {"model": traced.model, "dataset": traced.dataset, "layer": traced.layer}
    rows = []
    for place, one in enumerate(traced.neurons):
        row, _ = correlation_row(paragraphs, [place], how)
        columns: TableRow = {name: getattr(one, name) for name in ("neuron", "kind", "rank", "sign")}
        reason = "; ".join(why for why in (row["reason"], one.reason) if isinstance(why, str)) or None
        rows.append(names | columns | row | {"spearman_train": one.training, "reason": reason})
    of_kind = {kind: correlation_row(paragraphs, traced.places(kind), how) for kind in ("dopamine", "random")}
    rows += [names | {"kind": kind} | row for kind, (row, _) in of_kind.items()]
    return [*rows, names | {"kind": "difference"} | difference_row(of_kind, how)]


def difference_row(of_kind: dict[str, tuple[TableRow, Float[np.ndarray, " draws"]]], how: Resampling) -> TableRow:
    """Return the mean correlation of dopamine neurons minus that of random ones, on the same resamples of problems."""
    (dopamine, drawn), (control, control_drawn) = of_kind["dopamine"], of_kind["random"]
    row = {name: dopamine[name] for name in ("n", "n_problems", "n_all")}
    if dopamine["spearman"] is None or control["spearman"] is None:
        return row | {"reason": dopamine["reason"] or control["reason"]}
    gap = float(dopamine["spearman"]) - float(control["spearman"])  # type: ignore[arg-type]
    interval = estimate(gap, drawn - control_drawn, how.confidence)
    reason = {"reason": interval.reason, "all_reason": "the difference is taken over kept paragraphs"}
    return row | {"spearman": interval.value, "ci_low": interval.low, "ci_high": interval.high} | reason


def score_rows(traced: Traced) -> list[TableRow]:
    """Return, for each neuron and validation response, the oriented means over paragraphs beside their TD errors."""
    names: TableRow = {"model": traced.model, "dataset": traced.dataset, "layer": traced.layer}
    rows: list[TableRow] = []
    for response in traced.of("validation").responses.iter_rows(named=True):
        means = means_between(activations_of(response, len(traced.neurons)), response["boundaries"])
        of_response = {name: response[name] for name in ("problem_id", "sample", "deltas", "kept")}
        for one, own in zip(traced.neurons, means, strict=True):
            named = {name: getattr(one, name) for name in ("kind", "neuron", "rank")}
            rows.append(names | named | of_response | {"means": (one.sign * own).tolist()})
    return rows


def ablated_scores(traced: Traced, frame: pl.DataFrame) -> pl.DataFrame:
    """Return, for each condition, draw, neuron and validation response, what ablation made of the trajectory.

    `correlation` is that with the unablated trajectory, `means` are those over paragraphs, oriented.
    """
    signs = {one.neuron: one.sign for one in traced.neurons if one.kind == "dopamine"}
    names = {"model": traced.model, "dataset": traced.dataset, "layer": traced.layer}
    sign = pl.col("neuron").replace_strict(signs, return_dtype=pl.Float64)
    rows = frame.filter(pl.col("split") == "validation").with_columns(
        **{name: pl.lit(value) for name, value in names.items()},
        means=pl.col("means").cast(pl.List(pl.Float64)) * sign,
    )
    return rows.select(ABLATED_COLUMNS)


def ablation_row(ablated: Ablated, condition: tuple[str, int], places: Sequence[int], how: Resampling) -> TableRow:
    """Return one condition and draw: comparison with the unablated trajectories, and correlation with the TD error."""
    one = ablated.by[condition]
    correlation, rmse = (
        mean_over_responses(mean_if_defined(part[list(places)]), ablated.groups, how)
        for part in (one.correlation, one.rmse)
    )
    if condition[0] == "none":
        correlation = rmse = Estimate(None, None, None, "the unablated pass itself")
    kept = ablated.kept
    signs = ablated.signs[list(places)]
    strength, _ = mean_spearman(
        signs[:, None] * one.means[list(places)][:, kept], ablated.delta[kept], ablated.paragraph_groups[kept], how
    )
    row: TableRow = {"condition": condition[0], "draw": condition[1], "n": len(ablated.groups)}
    row |= {"correlation": correlation.value, "ci_low": correlation.low, "ci_high": correlation.high}
    row |= {"rmse": rmse.value, "rmse_low": rmse.low, "rmse_high": rmse.high}
    row |= {"spearman": strength.value, "spearman_low": strength.low, "spearman_high": strength.high}
    reasons = (("correlation", correlation.reason), ("spearman", strength.reason))
    row["reason"] = "; ".join(f"{name}: {why}" for name, why in reasons if why) or None
    return row | {"own_layers": float(one.own_layers[list(places)].mean()), "largest_miss": one.largest_miss}


def mean_if_defined(values: Float[np.ndarray, "neurons n"]) -> Float[np.ndarray, " n"]:
    """Return the mean over the neurons that have a number; NaN where there is none."""
    defined = ~np.isnan(values)
    counts = defined.sum(0)
    return np.divide(np.where(defined, values, 0).sum(0), counts, out=np.full(len(counts), np.nan), where=counts > 0)


def ablation_rows(ablated: Ablated, how: Resampling) -> list[TableRow]:
    """Return conditions and draws in order: the mean over the followed neurons (neuron empty), then each neuron."""
    every = list(range(len(ablated.neurons)))
    rows = []
    for condition in ablated.by:
        for neuron, places in [(None, every), *((ablated.neurons[place], [place]) for place in every)]:
            rows.append(ablated.names | {"neuron": neuron} | ablation_row(ablated, condition, places, how))
    return rows


def tabulate(traces: Sequence[Path], ablated: Sequence[Path], how: Resampling) -> dict[str, pl.DataFrame]:
    """Return all four tables and both tables of scores, runs in the order of their names.

    Raises:
        UserError: an ablation without the trajectories of its run, or a table of another run.
    """
    traced = {run: path for run, (path,) in group_by_run(traces, "file").items()}
    followed = {run: read_trace(path) for run, path in sorted(traced.items())}
    rows = [row for one in followed.values() for row in trace_rows(one, how)]
    scores = [row for one in followed.values() for row in score_rows(one)]
    of_ablated = []
    ablations: list[TableRow] = []
    contrasts: list[TableRow] = []
    for run, (path,) in sorted(group_by_run(ablated, "shard").items()):
        if run not in traced:
            raise UserError(f"--traced: no file {run[0]}/{run[1]}.parquet; pass the trajectories of every ablated run")
        frame, metadata = read_parquet(path), read_about(path, ABLATED_FORMAT)
        if metadata["ablated_layers"]:
            of_run = Ablated.of(followed[run], frame, metadata)
            of_ablated.append(ablated_scores(followed[run], frame))
            ablations += ablation_rows(of_run, how)
            contrasts += contrast_rows(of_run, how)
    paragraphs = with_columns(scores, SCORE_COLUMNS)
    return {
        "trajectories": with_columns(rows, COLUMNS),
        "peaks": with_columns(peaks.peak_rows("trajectories", paragraphs, how), peaks.COLUMNS),
        "trajectory_ablation": with_columns(ablations, ABLATION_COLUMNS),
        "ablation_contrasts": with_columns(contrasts, CONTRAST_COLUMNS),
        SCORES: paragraphs,
        ABLATED_SCORES: with_columns(pl.concat(of_ablated) if of_ablated else [], ABLATED_COLUMNS),
    }
