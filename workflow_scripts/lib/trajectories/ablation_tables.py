"""Trajectories under ablation, as arrays over validation responses and paragraphs, and their contrasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.statistics.paired import ONE_DRAW, Tested
from workflow_scripts.lib.trajectories.contrasts import contrast_means, contrast_strengths, mean_strength, numbered
from workflow_scripts.lib.trajectories.traces import Traced

CONTRAST_COLUMNS = [
    *("model", "dataset", "layer", "against", "measure", "n_draws", "n", "value", "other", "difference", "ci_low"),
    *("ci_high", "p_value", "reason", "n_neurons"),
]
AGAINST = ("random", "random_matched")


@dataclass(frozen=True)
class AblatedDraw:
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
    draw) -> `AblatedDraw`, in the order of the file.
    """

    names: dict[str, Any]
    neurons: list[int]
    signs: Float[np.ndarray, " neurons"]
    groups: Int[np.ndarray, " responses"]
    paragraph_groups: Int[np.ndarray, " paragraphs"]
    delta: Float[np.ndarray, " paragraphs"]
    kept: Bool[np.ndarray, " paragraphs"]
    by: dict[tuple[str, int], AblatedDraw]

    @classmethod
    def of(cls, traced: Traced, frame: pl.DataFrame, metadata: dict[str, Any]) -> "Ablated":
        """Build from the trajectories of a run and the table of its ablations."""
        followed = [traced.neurons[place] for place in traced.places("dopamine")]
        responses = traced.of("validation").responses.filter(pl.col("pieces").list.len() > 0)
        validation = frame.filter(pl.col("split") == "validation").join(
            responses.select("problem_id", "sample").with_row_index("response"), on=["problem_id", "sample"]
        )
        misses = {(one["condition"], one["draw"]): 0.0 for one in metadata["proofs"]}
        for one in metadata["proofs"]:
            key = (one["condition"], one["draw"])
            misses[key] = max(misses[key], one["largest_miss"])
        neurons = [one.neuron for one in followed]
        groups = numbered(responses["problem_id"].to_list())
        n_paragraphs = responses["deltas"].list.len().to_numpy()
        by = {
            (str(key[0]), int(str(key[1]))): ablated_draw(part, neurons, misses.get((str(key[0]), int(str(key[1])))))
            for key, part in validation.group_by("condition", "draw", maintain_order=True)
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

    def draws(self, name: str) -> list[AblatedDraw]:
        """Return all draws of a condition."""
        return [draw for (condition, _), draw in self.by.items() if condition == name]


def ablated_draw(part: pl.DataFrame, neurons: Sequence[int], miss: float | None) -> AblatedDraw:
    """Return rows of one condition and draw as arrays, neurons in the given order, responses by problem and sample."""
    rows = [part.filter(pl.col("neuron") == neuron).sort("response") for neuron in neurons]

    def stacked(name: str) -> np.ndarray:
        return np.stack([one[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for one in rows])

    means = np.stack([np.array(one["means"].explode().drop_nulls(), dtype=float) for one in rows])
    own_layers = np.array([one["own_layers"][0] if len(one) else 0 for one in rows])
    return AblatedDraw(stacked("correlation"), stacked("rmse"), means, own_layers, miss)


def contrast_rows(ablated: Ablated, how: Resampling) -> list[dict[str, object]]:
    """Compare value neurons with each kind of random ones, by every measure; means over the followed neurons.

    `correlation` and `rmse` are of trajectories with the unablated ones; `spearman` is |Spearman| with the TD error;
    `correlation_apart` is `correlation` over neurons whose own coordinate is ablated under neither condition, because
    an ablated coordinate is no longer the same signal.
    """
    rows: list[dict[str, object]] = []
    value = ablated.draws("value")
    for against in AGAINST:
        others = ablated.draws(against)
        if value and others:
            contrast = Contrast(ablated, value[0], others, how)
            of_measures = [
                contrast.all_neurons("correlation"),
                contrast.all_neurons("rmse"),
                contrast.strengths(),
                contrast.untouched_neurons(),
            ]
            rows += [ablated.names | {"against": against} | row for row in of_measures]
    return rows


def row_of(measure: str, n_draws: int, n: int, sides: tuple[float | None, float | None], tested: Tested) -> Any:
    """Return a row of the table."""
    interval = tested.found
    reason = interval.reason or (ONE_DRAW if n_draws == 1 else None)
    row = {"measure": measure, "n_draws": n_draws, "n": n, "value": sides[0], "other": sides[1]}
    row |= {"difference": interval.value, "ci_low": interval.low, "ci_high": interval.high, "p_value": tested.p_value}
    return row | {"reason": reason}


@dataclass(frozen=True)
class Contrast:
    """The value neurons against draws of one kind of random neurons; each method returns a row for one measure."""

    ablated: Ablated
    value: AblatedDraw
    others: list[AblatedDraw]
    how: Resampling

    def all_neurons(self, measure: str) -> dict[str, object]:
        """Compare correlation or root-mean-square difference, averaged over all followed neurons."""
        every = list(range(len(self.ablated.neurons)))
        return self.over_responses(measure, measure, [(other, every) for other in self.others])

    def untouched_neurons(self) -> dict[str, object]:
        """Compare correlation, with each draw over the neurons whose own coordinate neither condition ablates."""
        untouched = [
            np.flatnonzero((self.value.own_layers == 0) & (one.own_layers == 0)).tolist() for one in self.others
        ]
        usable = [(other, neurons) for other, neurons in zip(self.others, untouched, strict=True) if neurons]
        row = self.over_responses("correlation", "correlation_apart", usable)
        if not usable:
            row["reason"] = "each followed neuron's own coordinate is among the ablated ones"
        return row

    def over_responses(
        self, column: str, measure: str, others: list[tuple[AblatedDraw, list[int]]]
    ) -> dict[str, object]:
        """Compare means of a column over responses, with each draw over its own list of neurons."""
        pairs = [
            (getattr(self.value, column)[neurons].mean(0), getattr(other, column)[neurons].mean(0))
            for other, neurons in others
        ]
        groups = self.ablated.groups
        gaps = np.stack([first - second for first, second in pairs], axis=1) if pairs else np.zeros((len(groups), 0))
        defined = ~np.isnan(gaps).any(1)
        sides: tuple[float | None, float | None] = (None, None)
        if pairs and defined.any():
            sides = (float(np.mean([a[defined] for a, _ in pairs])), float(np.mean([b[defined] for _, b in pairs])))
        n = int(defined.sum()) if pairs else 0
        row = row_of(measure, len(others), n, sides, contrast_means(gaps, groups, self.how))
        return row | {"n_neurons": len({neuron for _, neurons in others for neuron in neurons})}

    def strengths(self) -> dict[str, object]:
        """Compare |Spearman correlation with the TD error| over kept paragraphs."""
        kept, delta = self.ablated.kept, self.ablated.delta[self.ablated.kept]
        value, others = self.value.means[:, kept], np.stack([one.means[:, kept] for one in self.others])
        tested = contrast_strengths(value, others, delta, self.ablated.paragraph_groups[kept], self.how)
        sides: tuple[float | None, float | None] = (None, None)
        if tested.found.value is not None:
            sides = (mean_strength(value, delta), float(np.mean([mean_strength(one, delta) for one in others])))
        return row_of("spearman", len(self.others), len(delta), sides, tested) | {
            "n_neurons": len(self.ablated.neurons)
        }
