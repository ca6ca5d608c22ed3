"""Compare important neurons of two runs: intersection over union, rank correlation (paper, Section 3.5, Appendix C).

Probes that share a seed start from the same first weights, in every run, so their importances correlate for no reason
of interest. Agreement is therefore the mean over pairs of different seeds; that over same seeds is listed separately.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import hypergeom

from workflow_scripts.lib.config.sections import Pruning
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.neurons.importances import Importances
from workflow_scripts.lib.probes.pruning import kept_count
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import bootstrap_spearman
from workflow_scripts.lib.statistics.intervals import estimate, finite
from workflow_scripts.lib.statistics.ranks import spearman

TransferRow = dict[str, Any]
Matrix = Float[np.ndarray, "seeds_a seeds_b"]
PairMeasure = Callable[[Importances, Importances], Matrix]
"""A number for every probe of one run with every probe of another."""

DATASETS, MODELS = "data sets", "models"
KEYS = ("across", "model_a", "dataset_a", "model_b", "dataset_b", "kind", "layer")
ONE_SEED = "the runs share their only seed: both probes start from the same first weights"
ONE_SHUFFLED_SEED = "shuffled-label probes share their only seed: they start from the same first weights"
NO_SHUFFLED = "no probe was trained on shuffled labels"
NO_WITHIN = "one seed in a run: no agreement between seeds"
ONE_PAIR = "one pair of seeds: no range"


@dataclass(frozen=True)
class Pair:
    """Two runs to compare, by their probes of one kind."""

    across: str
    a: Importances
    b: Importances

    @property
    def layers(self) -> list[int]:
        """Layers that both runs have probes of."""
        return [layer for layer in self.a.layers if layer in self.b.layers]

    def keys(self, layer: int) -> TransferRow:
        """Return the columns that identify a row."""
        names = (self.across, self.a.model, self.a.dataset, self.b.model, self.b.dataset, self.a.kind, layer)
        return dict(zip(KEYS, names, strict=True))


def pairs_of(runs: Sequence[Importances], families: Sequence[Sequence[str]]) -> list[Pair]:
    """Pair runs of one kind: one model on two data sets, or two models of a family on one data set.

    Raises:
        UserError: two models of a family differ in their number of neurons.
    """
    pairs: dict[str, list[Pair]] = {DATASETS: [], MODELS: []}
    for a, b in combinations(runs, 2):
        related = any(a.model in family and b.model in family for family in families)
        if a.kind == b.kind and a.model == b.model and a.dataset != b.dataset:
            pairs[DATASETS].append(Pair(DATASETS, a, b))
        elif a.kind == b.kind and a.model != b.model and a.dataset == b.dataset and related:
            if a.d != b.d:
                raise UserError(
                    f"transfer.families: {a.model} has {a.d} neurons a layer ({a.path}), {b.model} {b.d} ({b.path}); "
                    "name models of one width"
                )
            pairs[MODELS].append(Pair(MODELS, a, b))
    return [*pairs[DATASETS], *pairs[MODELS]]


def iou(a: Importances, b: Importances, k: int) -> Matrix:
    """Return |A n B| / |A u B| of the k most important inputs of each probe of `a` with those of each probe of `b`."""
    both = (a.places < k).astype(float) @ (b.places < k).astype(float).T
    return both / (2 * k - both)


def rank_correlation(a: Importances, b: Importances) -> Matrix:
    """Return the Spearman correlation of importances of each probe of `a` and `b`; NaN where one is constant."""
    return spearman(a.importance[:, None], b.importance[None])


def random_iou(d: int, k: int, confidence: float) -> tuple[float, float, float]:
    """Return mean and central band of the IoU of two k-sets drawn uniformly from d (paper, Appendix C).

    The size of the intersection is hypergeometric, and IoU grows with it, so its quantiles carry over. The band is
    exact: at least `confidence` of all pairs of sets lie in it.
    """
    size = hypergeom(d, k, k)
    common = np.arange(max(0, 2 * k - d), k + 1)
    low, high = size.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    mean = float(size.pmf(common) @ (common / (2 * k - common)))
    return mean, float(low / (2 * k - low)), float(high / (2 * k - high))


@dataclass(frozen=True)
class Agreement:
    """Pairs of probes summarised. `low`, `high`: lowest and highest pair; `same`: mean over pairs of equal seeds.

    `shared` is true where there are pairs of equal seeds only, and the summary is of those.
    """

    mean: float | None
    low: float | None
    high: float | None
    n_pairs: int
    same: float | None
    shared: bool


def compared(seeds_a: Sequence[int], seeds_b: Sequence[int]) -> np.ndarray:
    """Return which pairs of seeds count, bool [seeds_a, seeds_b]: different ones, or all where no two differ."""
    different = np.asarray(seeds_a)[:, None] != np.asarray(seeds_b)[None, :]
    return different if different.any() else np.ones_like(different)


def agreement(matrix: Matrix, seeds_a: Sequence[int], seeds_b: Sequence[int]) -> Agreement:
    """Summarise a number for every pair of seeds."""
    equal = np.asarray(seeds_a)[:, None] == np.asarray(seeds_b)[None, :]
    chosen, same = matrix[compared(seeds_a, seeds_b)], matrix[equal]
    same_seed = finite(same.mean()) if len(same) else None
    if not len(chosen):
        return Agreement(None, None, None, 0, same_seed, False)
    low, high = (finite(chosen.min()), finite(chosen.max())) if len(chosen) > 1 else (None, None)
    return Agreement(finite(chosen.mean()), low, high, len(chosen), same_seed, bool(equal.all()))


@dataclass(frozen=True)
class Controls:
    """Controls of an agreement, and why one of them is missing.

    `shuffled`: the agreement of probes on shuffled labels, due only to the inputs' scale and the first weights.
    `within`: the agreement between different seeds of one run, averaged over the two runs. These probes share their
    training set and differ only in first weights and batch order, so other data can hardly agree better.
    """

    shuffled: float | None
    within: float | None
    reasons: tuple[str, ...]


def controls_of(pair: Pair, layer: int, measure: PairMeasure) -> Controls:
    """Return the controls of one pair of runs at one layer."""
    reasons = []
    a, b = (run.of(layer, "shuffled") for run in (pair.a, pair.b))
    shuffled = None
    if a.specs and b.specs:
        of_shuffled = agreement(measure(a, b), a.seeds, b.seeds)
        shuffled = of_shuffled.mean
        reasons += [ONE_SHUFFLED_SEED] if of_shuffled.shared else []
    else:
        reasons.append(NO_SHUFFLED)
    runs = [run.of(layer, "true") for run in (pair.a, pair.b)]
    if min(len(run.specs) for run in runs) < 2:
        return Controls(shuffled, None, (*reasons, NO_WITHIN))
    each = [agreement(measure(run, run), run.seeds, run.seeds).mean for run in runs]
    within = None if None in each else float(np.mean([value for value in each if value is not None]))
    return Controls(shuffled, within, tuple(reasons))


def reason_of(observed: Agreement, controls: Controls, *more: str | None) -> str | None:
    """Return in words all that is missing from a row or weaker than it looks; None for nothing."""
    reasons = [ONE_SEED if observed.shared else None, *more, *controls.reasons]
    return "; ".join(reason for reason in reasons if reason) or None


def at_ratios(pair: Pair, ratios: Sequence[float]) -> Iterator[tuple[TransferRow, Importances, Importances, int]]:
    """Yield, for every layer and prune ratio, the columns that name a row, both runs' probes on true labels, and k."""
    for layer in pair.layers:
        a, b = pair.a.of(layer, "true"), pair.b.of(layer, "true")
        for ratio in ratios:
            k = kept_count(ratio, a.d)
            yield pair.keys(layer) | {"prune_ratio": ratio, "n_kept": k, "d": a.d}, a, b, k


def overlap_rows(pair: Pair, ratios: Sequence[float], confidence: float) -> list[TransferRow]:
    """Return rows of table `transfer`: IoU of the kept inputs at every layer and prune ratio, with the chance level."""
    rows = []
    for row, a, b, k in at_ratios(pair, ratios):
        observed = agreement(iou(a, b, k), a.seeds, b.seeds)
        controls = controls_of(pair, row["layer"], lambda x, y, k=k: iou(x, y, k))  # type: ignore[misc]
        mean, low, high = random_iou(a.d, k, confidence)
        row |= {"iou": observed.mean, "iou_low": observed.low, "iou_high": observed.high, "n_pairs": observed.n_pairs}
        row |= {"same_seed": observed.same, "random_mean": mean, "random_low": low, "random_high": high}
        row |= {"shuffled": controls.shuffled, "within": controls.within}
        rows.append(row | {"reason": reason_of(observed, controls, ONE_PAIR if observed.n_pairs == 1 else None)})
    return rows


def pair_rows(pair: Pair, ratios: Sequence[float], confidence: float) -> list[TransferRow]:
    """Return rows of the scores `overlap`: the IoU of each pair of probes on true labels, and its expectation."""
    rows = []
    for row, a, b, k in at_ratios(pair, ratios):
        row["expected"] = random_iou(a.d, k, confidence)[0]
        for (i, j), value in np.ndenumerate(iou(a, b, k)):
            rows.append(row | {"seed_a": a.seeds[i], "seed_b": b.seeds[j], "iou": value})
    return rows


def resampled_correlation(a: Importances, b: Importances, draws: int, seed: int) -> Float[np.ndarray, " draws"]:
    """Return the mean rank correlation over the pairs that count, in bootstrap samples of neurons.

    The samples are the same for all pairs.
    """
    chosen, groups = compared(a.seeds, b.seeds), np.arange(a.d)
    total = np.zeros(draws)
    for column in np.flatnonzero(chosen.any(0)):
        rng = generator("bootstrap neurons", seed)
        rows = a.importance[chosen[:, column]]
        total += bootstrap_spearman(rows, b.importance[column], groups, draws, rng).sum(0)
    return np.round(total / chosen.sum(), 12)  # rounding must not make an interval of draws that are all equal


def correlation_undefined(a: Importances, b: Importances) -> str:
    """Say why importances have no rank correlation."""
    if a.d < 3:
        return f"{a.d} neurons: too few for a correlation"
    flat = next((run for run in (a, b) if (np.ptp(run.importance, axis=1) == 0).any()), None)
    return "undefined" if flat is None else f"all importances of a probe on {flat.model}/{flat.dataset} are equal"


def correlation_rows(pair: Pair, pruning: Pruning) -> list[TransferRow]:
    """Return rows of table `importance_correlation`: rank correlation of all importances at every layer.

    Its interval resamples neurons: it shows how much the correlation depends on a few of them, not how it varies with
    the training data.
    """
    rows = []
    for layer in pair.layers:
        a, b = pair.a.of(layer, "true"), pair.b.of(layer, "true")
        matrix = rank_correlation(a, b) if a.d > 2 else np.full((len(a.specs), len(b.specs)), np.nan)
        observed = agreement(matrix, a.seeds, b.seeds)
        value = np.nan if observed.mean is None else observed.mean
        drawn = np.full(pruning.bootstrap, np.nan)
        if np.isfinite(value):
            drawn = resampled_correlation(a, b, pruning.bootstrap, pruning.seed)
        interval = estimate(value, drawn, pruning.confidence, correlation_undefined(a, b))
        controls = controls_of(pair, layer, rank_correlation)
        row = pair.keys(layer) | {"d": a.d, "n_pairs": observed.n_pairs}
        row |= {
            "spearman": interval.value,
            "ci_low": interval.low,
            "ci_high": interval.high,
            "same_seed": observed.same,
        }
        row |= {"shuffled": controls.shuffled, "within": controls.within}
        rows.append(row | {"reason": reason_of(observed, controls, interval.reason)})
    return rows
