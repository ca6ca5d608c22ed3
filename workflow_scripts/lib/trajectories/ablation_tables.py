"""Trajectories under ablation, as arrays over validation responses and paragraphs, and what is contrasted of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from workflow_scripts.lib.claims.verdicts import judge_harm
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.statistics.paired import ONE_DRAW, Tested
from workflow_scripts.lib.trajectories.contrasts import contrast_means, contrast_strengths, mean_strength, numbered
from workflow_scripts.lib.trajectories.traces import Traced

CONTRAST_COLUMNS = [
    *("model", "dataset", "layer", "against", "measure", "n_draws", "n", "value", "other", "difference", "ci_low"),
    *("ci_high", "p_value", "verdict", "reason", "n_neurons"),
]
AGAINST = ("random", "random_matched")


@dataclass(frozen=True)
class Held:
    """One condition and draw. `correlation` and `rmse` [neurons, R] (NaN where undefined), `means` [neurons, N]."""

    correlation: Float[np.ndarray, "neurons responses"]
    rmse: Float[np.ndarray, "neurons responses"]
    means: Float[np.ndarray, "neurons paragraphs"]
    own_layers: Int[np.ndarray, " neurons"]
    largest_miss: float | None


@dataclass(frozen=True)
class Ablated:
    """R validation responses with N paragraphs under every condition.

    `groups` [R] and `paragraph_groups` [N] number the problems; `kept` [N]; `signs` [neurons]; `by` is (condition,
    draw) -> `Held`, in the order of the file.
    """

    names: dict[str, Any]
    neurons: list[int]
    signs: Float[np.ndarray, " neurons"]
    groups: Int[np.ndarray, " responses"]
    paragraph_groups: Int[np.ndarray, " paragraphs"]
    delta: Float[np.ndarray, " paragraphs"]
    kept: Bool[np.ndarray, " paragraphs"]
    by: dict[tuple[str, int], Held]

    @classmethod
    def of(cls, traced: Traced, frame: pl.DataFrame, about: dict[str, Any]) -> "Ablated":
        """From the trajectories of a run and the table of its ablations."""
        followed = [traced.neurons[place] for place in traced.places("dopamine")]
        responses = traced.of("validation").responses.filter(pl.col("pieces").list.len() > 0)
        mine = frame.filter(pl.col("split") == "validation").join(
            responses.select("problem_id", "sample").with_row_index("response"), on=["problem_id", "sample"]
        )
        misses = {(one["condition"], one["draw"]): 0.0 for one in about["proofs"]}
        for one in about["proofs"]:
            key = (one["condition"], one["draw"])
            misses[key] = max(misses[key], one["largest_miss"])
        neurons = [one.neuron for one in followed]
        groups = numbered(responses["problem_id"].to_list())
        n_paragraphs = responses["deltas"].list.len().to_numpy()
        by = {
            (str(key[0]), int(str(key[1]))): held_of(part, neurons, misses.get((str(key[0]), int(str(key[1])))))
            for key, part in mine.group_by("condition", "draw", maintain_order=True)
        }
        return cls(
            {"model": traced.model, "dataset": traced.dataset, "layer": traced.layer},
            neurons,
            np.array([one.sign for one in followed], dtype=float),
            groups,
            np.repeat(groups, n_paragraphs),
            np.array(responses["deltas"].explode().drop_nulls(), dtype=float),
            np.array(responses["kept"].explode().drop_nulls(), dtype=bool),
            by,
        )

    def draws(self, name: str) -> list[Held]:
        """All draws of a condition."""
        return [held for (condition, _), held in self.by.items() if condition == name]


def held_of(part: pl.DataFrame, neurons: Sequence[int], miss: float | None) -> Held:
    """The rows of one condition and draw as arrays, neurons in the order given, responses by problem and sample."""
    rows = [part.filter(pl.col("neuron") == neuron).sort("response") for neuron in neurons]

    def stacked(name: str) -> np.ndarray:
        return np.stack([one[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for one in rows])

    means = np.stack([np.array(one["means"].explode().drop_nulls(), dtype=float) for one in rows])
    own = np.array([one["own_layers"][0] if len(one) else 0 for one in rows])
    return Held(stacked("correlation"), stacked("rmse"), means, own, miss)


def contrast_rows(ablated: Ablated, how: Resampling) -> list[dict[str, object]]:
    """The value neurons against each kind of random ones, by every measure, means over the followed neurons.

    `correlation` and `rmse` are of trajectories with the unablated ones; `spearman` is |Spearman| with the TD error;
    `correlation_apart` is `correlation` over neurons whose own coordinate is held under neither condition, for a
    coordinate that is held is no longer the same signal.
    """
    rows: list[dict[str, object]] = []
    value = ablated.draws("value")
    for against in AGAINST:
        others = ablated.draws(against)
        if not value or not others:
            continue
        found = [
            plain(ablated, value[0], others, "correlation", how),
            plain(ablated, value[0], others, "rmse", how),
            strengths(ablated, value[0], others, how),
            apart(ablated, value[0], others, how),
        ]
        rows += [ablated.names | {"against": against} | row for row in found]
    return rows


def row_of(measure: str, n_draws: int, n: int, sides: tuple[float | None, float | None], tested: Tested) -> Any:
    """A row of the table; the verdict is on whether holding value neurons changes the trajectory more."""
    found = tested.found
    reason = found.reason or (ONE_DRAW if n_draws == 1 else None)
    low, high = found.low, found.high
    if measure == "rmse" and low is not None and high is not None:
        low, high = -high, -low
    row = {"measure": measure, "n_draws": n_draws, "n": n, "value": sides[0], "other": sides[1]}
    row |= {"difference": found.value, "ci_low": found.low, "ci_high": found.high, "p_value": tested.p_value}
    return row | {"reason": reason, "verdict": judge_harm(low, high, reason)}


def plain(ablated: Ablated, value: Held, others: list[Held], measure: str, how: Resampling) -> dict[str, object]:
    """Correlation or root-mean-square difference, averaged over all followed neurons."""
    return responses_row(
        ablated, value, others, measure, measure, [list(range(len(ablated.neurons)))] * len(others), how
    )


def apart(ablated: Ablated, value: Held, others: list[Held], how: Resampling) -> dict[str, object]:
    """Correlation, against each draw over the neurons whose own coordinate neither condition holds."""
    free = [np.flatnonzero((value.own_layers == 0) & (one.own_layers == 0)).tolist() for one in others]
    usable = [(one, places) for one, places in zip(others, free, strict=True) if places]
    held, places = [one for one, _ in usable], [place for _, place in usable]
    row = responses_row(ablated, value, held, "correlation", "correlation_apart", places, how)
    if not usable:
        row["reason"] = "each followed neuron's own coordinate is among those held"
    return row


def responses_row(
    ablated: Ablated,
    value: Held,
    others: list[Held],
    name: str,
    measure: str,
    places: list[list[int]],
    how: Resampling,
) -> dict[str, object]:
    """A contrast of means over responses, against each draw over its own places of neurons."""
    pairs = [
        (getattr(value, name)[mine].mean(0), getattr(one, name)[mine].mean(0))
        for one, mine in zip(others, places, strict=True)
    ]
    n = len(ablated.groups)
    gaps = np.stack([first - second for first, second in pairs], axis=1) if pairs else np.zeros((n, 0))
    there = ~np.isnan(gaps).any(1)
    sides: tuple[float | None, float | None] = (None, None)
    if pairs and there.any():
        sides = (float(np.mean([a[there] for a, _ in pairs])), float(np.mean([b[there] for _, b in pairs])))
    row = row_of(
        measure, len(others), int(there.sum()) if pairs else 0, sides, contrast_means(gaps, ablated.groups, how)
    )
    return row | {"n_neurons": len({place for mine in places for place in mine})}


def strengths(ablated: Ablated, value: Held, others: list[Held], how: Resampling) -> dict[str, object]:
    """|Spearman correlation with the TD error| over kept paragraphs."""
    kept, delta = ablated.kept, ablated.delta[ablated.kept]
    mine, theirs = value.means[:, kept], np.stack([one.means[:, kept] for one in others])
    tested = contrast_strengths(mine, theirs, delta, ablated.paragraph_groups[kept], how)
    sides: tuple[float | None, float | None] = (None, None)
    if tested.found.value is not None:
        sides = (mean_strength(mine, delta), float(np.mean([mean_strength(one, delta) for one in theirs])))
    return row_of("spearman", len(others), len(delta), sides, tested) | {"n_neurons": len(ablated.neurons)}
