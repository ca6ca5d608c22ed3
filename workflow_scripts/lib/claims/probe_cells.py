"""Cells of probes: how well they predict with all inputs, with the most important ones, and with random ones."""

import numpy as np
import polars as pl

from workflow_scripts.lib.claims.scores import FULL, SPARSE, Scores, Table, listed
from workflow_scripts.lib.statistics.cells import Cell, Members
from workflow_scripts.lib.statistics.joint import auc_cell, spearman_cell
from workflow_scripts.lib.statistics.samples import size_of
from workflow_scripts.lib.storage.identity import Run

PARAGRAPH = "paragraph"
"""The place of dopamine probes' scores; those of value probes are `initial` and `final`."""


def table_of(scores: Scores, place: str) -> Table:
    """Return the table of scores of a place."""
    return scores.tables["dopamine" if place == PARAGRAPH else "value"]


def part_of(scores: Scores, place: str, run: Run, layer: int, ratio: float) -> pl.DataFrame | None:
    """Return the scores of one layer at one place and prune ratio; None where there are none."""
    key = (*run, layer, ratio) if place == PARAGRAPH else (*run, layer, place, ratio)
    return table_of(scores, place).parts.get(key)


def level(scores: Scores, place: str, run: Run, layer: int, ratio: float = FULL) -> Cell | None:
    """Return the level of probes: AUC of value probes, Spearman correlation of dopamine probes; a member a seed."""
    part = part_of(scores, place, run, layer, ratio)
    if part is None:
        return None
    return cell(scores, place, run, layer, part, measured(scores, place, part, "true"))


def random_level(scores: Scores, place: str, run: Run, layer: int) -> Cell | None:
    """Return the level of probes with the sparse number of random inputs; a member a draw."""
    part = part_of(scores, place, run, layer, SPARSE)
    if part is None or not len(part["random"][0]):
        return None
    return cell(scores, place, run, layer, part, by_draw_and_seed(scores, place, part).mean(1))


def above_random(scores: Scores, place: str, run: Run, layer: int) -> Cell | None:
    """Return the level of probes with the sparse most important inputs less that with as many random ones."""
    part = part_of(scores, place, run, layer, SPARSE)
    if part is None or not len(part["random"][0]):
        return None
    true, random = measured(scores, place, part, "true"), by_draw_and_seed(scores, place, part)
    of_seeds, of_draws = true - random.mean(0), random.mean((0, 1)) - random.mean(1)
    return cell(scores, place, run, layer, part, of_seeds, of_draws)


def kept(scores: Scores, place: str, run: Run, layer: int) -> Cell | None:
    """Return the level with the sparse most important inputs less that with all of them."""
    sparse, full = level(scores, place, run, layer, SPARSE), level(scores, place, run, layer)
    return None if sparse is None or full is None else sparse.less(full)


def end_less_start(scores: Scores, run: Run, layer: int) -> Cell | None:
    """Return the AUC at the last response token less that before the response, with all inputs."""
    final, initial = (level(scores, place, run, layer) for place in ("final", "initial"))
    return None if final is None or initial is None else final.less(initial)


def measured(scores: Scores, place: str, part: pl.DataFrame, column: str) -> Members:
    """Compute the metric of each entry of a column, in the data and in every resample; only once."""
    key = (place, column, *part.select("model", "dataset", "layer", "prune_ratio").row(0))
    if key not in scores.levels:
        sample, dataset = table_of(scores, place).sample, part["dataset"][0]
        weights = sample.weights(dataset, sample.rows(dataset, part["problem_id"]))
        metric, truth = (spearman_cell, "delta") if place == PARAGRAPH else (auc_cell, "reward")
        scores.levels[key] = metric(listed(part[column]), part[truth].cast(pl.Float64).to_numpy(), weights)
    return scores.levels[key]


def by_draw_and_seed(scores: Scores, place: str, part: pl.DataFrame) -> np.ndarray:
    """Return the metric with random inputs, [draws, seeds, 1 + resamples]: entries are in the order draw, seed."""
    random = measured(scores, place, part, "random")
    return random.reshape(-1, len(part["true"][0]), random.shape[1])


def cell(scores: Scores, place: str, run: Run, layer: int, part: pl.DataFrame, *sampled: Members) -> Cell:
    """Make a cell of probes; for AUCs, the problems of the rarer outcome count."""
    problems = table_of(scores, place).sample.rows(run[1], part["problem_id"])
    rewards = None if place == PARAGRAPH else part["reward"].cast(pl.Float64).to_numpy()
    return Cell(run, layer, size_of(problems, rewards), sampled)
