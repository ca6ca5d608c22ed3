"""What each response, paragraph or problem contributes to the number of a claim, in one run and layer.

The mean of an AUC's placements over either class is the AUC (DeLong et al. 1988), the mean of products of standardised
ranks is Spearman's correlation, and the mean of paired differences is the difference. So a contribution says how much
one response speaks for a claim, and the least of them speaks most against it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy.stats import rankdata

from workflow_scripts.lib.claims.outcome_cells import masked, predictions, scored_by_both, stacked
from workflow_scripts.lib.claims.probe_cells import PARAGRAPH, part_of
from workflow_scripts.lib.claims.scores import FULL, SPARSE, Scores, listed
from workflow_scripts.lib.statistics.intervals import Array
from workflow_scripts.lib.statistics.joint import without_noise
from workflow_scripts.lib.storage.identity import Run


class Term(NamedTuple):
    """Scores that are counted for (+1) or against (-1): a place, a prune ratio, a column of the scores."""

    sign: int
    place: str
    ratio: float
    column: str = "true"


def read(place: str) -> tuple[Term, ...]:
    """Count the level with all inputs."""
    return (Term(1, place, FULL),)


def lost(place: str) -> tuple[Term, ...]:
    """Count the level with few inputs less that with all of them."""
    return (Term(1, place, SPARSE), Term(-1, place, FULL))


def special(place: str) -> tuple[Term, ...]:
    """Count the level with the most important inputs less that with random ones."""
    return (Term(1, place, SPARSE), Term(-1, place, SPARSE, "random"))


TERMS: Mapping[str, tuple[Term, ...]] = {
    "value_read": read("initial"),
    "value_sparse": lost("initial"),
    "value_special": special("initial"),
    "value_final": read("final"),
    "value_end": (Term(1, "final", FULL), Term(-1, "initial", FULL)),
    **dict.fromkeys(("value_datasets", "value_models", "value_layers"), lost("initial")),
    "dopamine_read": read(PARAGRAPH),
    "dopamine_sparse": lost(PARAGRAPH),
    "dopamine_special": special(PARAGRAPH),
}
"""What is counted for each claim on probes."""
END = {"one percent of the inputs": (Term(1, "final", SPARSE),)}
"""What is counted in a comparison that is not of all inputs, by its name."""
METHODS = {"confidence_printed": "value_neurons", "confidence_honest": "value_neurons_cv"}
"""How value neurons are read for each claim on confidence."""


def of_probes(scores: Scores, terms: tuple[Term, ...], run: Run, layer: int) -> pl.DataFrame | None:
    """Return the contribution of each response or paragraph."""
    total, rows = np.zeros(1), None
    for term in terms:
        part = part_of(scores, term.place, run, layer, term.ratio)
        if part is None or not len(part[term.column][0]):
            return None
        measure, truth = (rank_products, "delta") if term.place == PARAGRAPH else (placements, "reward")
        total = total + term.sign * measure(listed(part[term.column]), part[truth].cast(pl.Float64).to_numpy())
        rows = part
    assert rows is not None
    names = [name for name in ("problem_id", "sample", "paragraph") if name in rows.columns]
    return rows.select(names).with_columns(contribution=pl.Series(total))


def of_masks(scores: Scores, run: Run, layer: int, against: str) -> pl.DataFrame | None:
    """Return for each response the reward with value neurons ablated, less that with others or with none ablated."""
    value, others = (masked(scores, run, layer, name) for name in ("value", against or "value"))
    if not value or not others:
        return None
    keys = ["problem_id", "sample"]
    other = pl.concat(others).group_by(keys).agg(other=pl.col("reward" if against else "unmasked").mean())
    return (
        value[0]
        .join(other, on=keys, maintain_order="left")
        .select(*keys, contribution=pl.col("reward").cast(pl.Float64) - pl.col("other"))
    )


def of_confidence(scores: Scores, run: Run, method: str, against: str) -> pl.DataFrame | None:
    """Return for each response how much better value neurons place it than another method does."""
    both = [predictions(scores, run, name) for name in (method, against)]
    known = scored_by_both(*both)
    if not known.any():
        return None
    rows = next(iter(both[0].values())).filter(pl.Series(known))
    rewards = rows["reward"].cast(pl.Float64).to_numpy()
    first, second = (placements(stacked(parts)[:, known], rewards) for parts in both)
    return rows.select("problem_id", "sample").with_columns(contribution=pl.Series(first - second))


def of_search(scores: Scores, run: Run, against: str) -> pl.DataFrame | None:
    """Return for each problem and seed the reward of search by dopamine neurons less that of another method."""
    parts = scores.tables["search"].parts
    guided, other = (parts.get((*run, name)) for name in ("dopamine", against))
    if guided is None or other is None:
        return None
    mean = other.group_by("problem_id").agg(other=pl.col("reward").mean())
    return guided.join(mean, on="problem_id", maintain_order="left").select(
        "problem_id", "seed", contribution=pl.col("reward").cast(pl.Float64) - pl.col("other")
    )


def placements(scores: Float[Array, "members n"], rewards: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return for each response the share of those of the other outcome that it is ranked rightly against.

    The mean over members; a tie counts one half; NaN where there is no other outcome.
    """
    scores, correct = without_noise(scores), rewards > 0.5
    found = np.full(scores.shape, np.nan)
    for own, row in zip(found, scores, strict=True):
        everyone, same = rankdata(row), np.zeros(len(row))
        for outcome in (correct, ~correct):
            same[outcome] = rankdata(row[outcome])
        below, others = everyone - same, np.where(correct, (~correct).sum(), correct.sum())
        np.divide(np.where(correct, below, others - below), others, out=own, where=others > 0)
    return np.asarray(found.mean(0))


def rank_products(scores: Float[Array, "members n"], target: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return for each paragraph the product of its standardised ranks by score and TD error, the mean over members."""

    def standardised(row: Array) -> Array:
        ranks = rankdata(row)
        spread = ranks.std()
        return np.asarray((ranks - ranks.mean()) / spread if spread else np.zeros(len(row)))

    return np.asarray(np.mean([standardised(row) for row in without_noise(scores)], axis=0) * standardised(target))
