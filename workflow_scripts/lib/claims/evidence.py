"""From scores to cells: one method for each kind of number that a claim is about."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from workflow_scripts.lib.claims.cells import Cell, Members
from workflow_scripts.lib.claims.scores import FULL, Sample, Scores, listed, size_of
from workflow_scripts.lib.neurons.catalogue import is_random
from workflow_scripts.lib.statistics.intervals import Array, Resampling
from workflow_scripts.lib.statistics.joint import auc_cell, mean_cell, paired_cell, spearman_cell, within_problems
from workflow_scripts.lib.storage.identity import Run

PARAGRAPH = "paragraph"
"""The place of dopamine probes' scores; those of value probes are `initial` and `final`."""
Parts = dict[tuple[Any, ...], pl.DataFrame]


def parted(frame: pl.DataFrame, *columns: str) -> Parts:
    """Split a table by columns; a table without rows has no parts."""
    return frame.partition_by(columns, as_dict=True, maintain_order=True) if len(frame) else {}


@dataclass(frozen=True, eq=False)
class Evidence:
    """The scores of a study with the resamples of their problems; every cell is computed once."""

    scores: Scores
    how: Resampling
    share: float
    """Share of the neurons that Tables 2 and 5 ablate."""
    mode: str
    """How they are ablated there."""

    @cache
    def sample(self, name: str) -> Sample:
        """Return the problems of a table of scores, resampled."""
        return Sample.of(name, getattr(self.scores, name), self.how)

    @cache
    def parts(self, name: str, *columns: str) -> Parts:
        """Return a table of scores, split."""
        return parted(getattr(self.scores, name), *columns)

    def layers(self, name: str, run: Run) -> list[int]:
        """List the layers at which a table has scores of a run."""
        return sorted({key[2] for key in self.parts(name, "model", "dataset", "layer") if key[:2] == run})

    # Probes (Sections 3.2, 4.2)

    def probe(self, place: str, run: Run, layer: int, ratio: float = FULL) -> Cell | None:
        """Return the level of probes: AUC of value probes, Spearman correlation of dopamine probes."""
        part = self.probe_part(place, run, layer, ratio)
        return None if part is None else self.probe_cell(place, run, layer, part, (self.level(place, part, "true"),))

    def probe_above_random(self, place: str, run: Run, layer: int, ratio: float) -> Cell | None:
        """Return the level of probes with their most important inputs less that with as many random ones."""
        part = self.probe_part(place, run, layer, ratio)
        if part is None or not len(part["random"][0]):
            return None
        true = self.level(place, part, "true")
        random = self.level(place, part, "random").reshape(-1, len(true), true.shape[1])  # draws, seeds, resamples
        by_seed, by_draw = true - random.mean(0), random.mean((0, 1)) - random.mean(1)
        return self.probe_cell(place, run, layer, part, (by_seed, by_draw))

    def probe_random(self, place: str, run: Run, layer: int, ratio: float) -> Cell | None:
        """Return the level of probes with as many random inputs, a member a draw."""
        part = self.probe_part(place, run, layer, ratio)
        if part is None or not len(part["random"][0]):
            return None
        random = self.level(place, part, "random")
        draws = random.reshape(-1, len(part["true"][0]), random.shape[1]).mean(1)
        return self.probe_cell(place, run, layer, part, (draws,))

    def probe_part(self, place: str, run: Run, layer: int, ratio: float) -> pl.DataFrame | None:
        """Return the scores of one layer at one place and prune ratio."""
        if place == PARAGRAPH:
            return self.parts("dopamine", "model", "dataset", "layer", "prune_ratio").get((*run, layer, ratio))
        columns = ("model", "dataset", "layer", "position", "prune_ratio")
        return self.parts("value", *columns).get((*run, layer, place, ratio))

    def level(self, place: str, part: pl.DataFrame, column: str) -> Members:
        """Compute the metric of each probe in the data and in every resample."""
        name, truth, metric = ("dopamine", "delta", spearman_cell) if place == PARAGRAPH else ("value", "reward", auc_cell)
        dataset = part["dataset"][0]
        sample = self.sample(name)
        weights = sample.weights(dataset, sample.rows(dataset, part["problem_id"]))
        return metric(listed(part[column]), part[truth].cast(pl.Float64).to_numpy(), weights)

    def probe_cell(
        self, place: str, run: Run, layer: int, part: pl.DataFrame, sampled: tuple[Members, ...]
    ) -> Cell:
        """Make a cell of probes; the rewards of its problems count for AUCs."""
        problems = self.sample("dopamine" if place == PARAGRAPH else "value").rows(run[1], part["problem_id"])
        rewards = None if place == PARAGRAPH else part["reward"].cast(pl.Float64).to_numpy()
        return Cell(run, layer, size_of(problems, rewards), sampled)

    # Ablation while the model generates (Section 3.4)

    def harm(self, run: Run, layer: int, against: str | None = None) -> Cell | None:
        """Return accuracy with ablated value neurons less that with others ablated, or (None) with nothing ablated."""
        value, other = self.masked(run, layer, "value"), self.masked(run, layer, against or "value")
        if value is None or other is None:
            return None
        problems, rewards, unmasked = value
        gaps = rewards - (unmasked if against is None else other[1])
        drawn = paired_cell(gaps, self.sample("masks").of_problems(run[1], problems))
        size = size_of(problems, unmasked[0])
        if against is not None and is_random(against):
            return Cell(run, layer, size, (drawn,))
        return Cell(run, layer, size, fixed=drawn.mean(0))

    @cache
    def masked(self, run: Run, layer: int, selection: str) -> tuple[Array, Array, Array] | None:
        """Return problems, rewards [draws, problems] with a selection ablated, and unmasked ones [1, problems]."""
        part = self.parts("masks", "model", "dataset", "layer", "selection").get((*run, layer, selection))
        part = None if part is None else part.filter(pl.col("share") == self.share, pl.col("mode") == self.mode)
        if part is None or part.is_empty():
            return None
        draws = [self.by_problem("masks", run[1], one, ["reward", "unmasked"]) for one in parted(part, "draw").values()]
        return draws[0][0], np.stack([rewards[0] for _, rewards in draws]), draws[0][1][1:]

    def by_problem(
        self, name: str, dataset: str, part: pl.DataFrame, columns: list[str]
    ) -> tuple[Array, Float[Array, "columns problems"]]:
        """Return the problems of some rows, ascending, and the mean of each column within each problem."""
        rows = self.sample(name).rows(dataset, part["problem_id"])
        problems, places = np.unique(rows, return_inverse=True)
        values = part.select(pl.col(column).cast(pl.Float64) for column in columns).to_numpy().T
        return problems, within_problems(values, places, len(problems))

    # Applications (Section 5)

    def confidence(self, run: Run, method: str, against: str) -> Cell | None:
        """Return the AUC of value neurons, a member a probe seed, less that of another method, on what both score."""
        value, other = (self.predictions(run, name) for name in (method, against))
        if value is None or other is None:
            return None
        known = ~np.isnan(np.concatenate([value, other], axis=0)).any((0, 1))
        part = self.parts("confidence", "model", "dataset", "method", "layer", "seed")
        frame = next(one for key, one in part.items() if key[:3] == (*run, method)).filter(pl.Series(known))
        if frame.is_empty():
            return None
        problems, rewards = self.sample("confidence").rows(run[1], frame["problem_id"]), frame["reward"].to_numpy()
        weights = self.sample("confidence").weights(run[1], problems)
        first, second = (
            np.mean([auc_cell(layer[:, known], rewards, weights) for layer in one], axis=0) for one in (value, other)
        )
        size = size_of(problems, rewards.astype(float))
        return Cell(run, None, size, (first,), -second.mean(0))

    def predictions(self, run: Run, method: str) -> Float[Array, "layers seeds rows"] | None:
        """Return the scores of a method by layer and seed; None where it has none in this run."""
        parts = self.parts("confidence", "model", "dataset", "method", "layer", "seed")
        mine = {key[3:]: part["score"].to_numpy() for key, part in parts.items() if key[:3] == (*run, method)}
        if not mine or all(np.isnan(scores).all() for scores in mine.values()):
            return None
        layers = {layer: [scores for key, scores in mine.items() if key[0] == layer] for layer, _ in mine}
        return np.stack([np.stack(scores) for scores in layers.values()])

    def search(self, run: Run, against: str) -> Cell | None:
        """Return the accuracy of search by dopamine neurons less that of another method; seeds count within problems."""
        parts = self.parts("search", "model", "dataset", "method")
        guided, other = (parts.get((*run, name)) for name in ("dopamine", against))
        if guided is None or other is None:
            return None
        problems, rewards = self.by_problem("search", run[1], guided, ["reward"])
        _, others = self.by_problem("search", run[1], other, ["reward"])
        drawn = paired_cell(rewards - others, self.sample("search").of_problems(run[1], problems))
        return Cell(run, None, size_of(problems, others[0]), fixed=drawn[0])

    # Single neurons (Section 4.4, Appendix H)

    def tracking(self, run: Run, layer: int, less_random: bool) -> Cell | None:
        """Return the mean Spearman correlation of dopamine neurons with TD errors, less that of each random neuron."""
        parts = self.parts("trajectories", "model", "dataset", "layer", "kind")
        dopamine, random = (self.correlations(parts.get((*run, layer, kind))) for kind in ("dopamine", "random"))
        if dopamine is None or (less_random and random is None):
            return None
        mean, problems = dopamine[0].mean(0), dopamine[1]
        if less_random and random is not None:
            return Cell(run, layer, size_of(problems), (mean - random[0],))
        return Cell(run, layer, size_of(problems), fixed=mean)

    def correlations(self, part: pl.DataFrame | None) -> tuple[Members, Array] | None:
        """Return the correlation of each neuron with the TD errors of kept paragraphs, and the paragraphs' problems."""
        if part is None:
            return None
        kept = part.explode("deltas", "kept", "means").filter(pl.col("kept"))
        neurons = list(parted(kept, "neuron").values())
        if not neurons:
            return None
        dataset, sample = part["dataset"][0], self.sample("trajectories")
        problems = sample.rows(dataset, neurons[0]["problem_id"])
        means = np.stack([one["means"].to_numpy() for one in neurons]).astype(np.float32)
        delta = neurons[0]["deltas"].cast(pl.Float64).to_numpy()
        return spearman_cell(means, delta, sample.weights(dataset, problems)), problems

    def coupling(self, run: Run, layer: int, measure: str, against: str) -> Cell | None:
        """Return what ablated value neurons leave of trajectories less what each draw of others leaves.

        `correlation_apart`: the correlation with the unablated trajectory, over neurons whose own coordinate is ablated
        under neither condition. `spearman`: the correlation with TD errors.
        """
        parts = self.parts("ablated", "model", "dataset", "layer", "condition", "draw")
        value = parts.get((*run, layer, "value", 0))
        others = [part for key, part in parts.items() if key[:4] == (*run, layer, against)]
        compared = [one for other in others if (one := self.left(run, value, other, measure))] if value is not None else []
        if not compared:
            return None
        problems = compared[0][1]
        return Cell(run, layer, size_of(problems), (np.stack([gap for gap, _ in compared]),))

    def left(
        self, run: Run, value: pl.DataFrame, other: pl.DataFrame, measure: str
    ) -> tuple[Float[Array, " 1+draws"], Array] | None:
        """Compare one draw with the value neurons: the difference in every resample, and the rows' problems."""
        if measure == "spearman":
            first, second = (self.correlations(self.with_errors(part)) for part in (value, other))
            return None if first is None or second is None else (first[0].mean(0) - second[0].mean(0), first[1])
        keys = ["neuron", "problem_id", "sample"]
        both = value.join(other, on=keys, suffix="_other", maintain_order="left")
        apart = both.filter(pl.col("own_layers") == 0, pl.col("own_layers_other") == 0)
        gaps = apart.with_columns(pl.col("correlation", "correlation_other").fill_nan(None))
        gaps = gaps.filter(~pl.all_horizontal(pl.col("correlation", "correlation_other").is_null())).with_columns(
            gap=pl.col("correlation").fill_null(0) - pl.col("correlation_other").fill_null(0)
        )
        if gaps.is_empty():
            return None
        problems, means = self.by_problem("ablated", run[1], gaps, ["gap"])
        return mean_cell(means, self.sample("ablated").weights(run[1], problems))[0], problems

    def with_errors(self, part: pl.DataFrame) -> pl.DataFrame:
        """Join the TD errors of the paragraphs to trajectories under ablation."""
        keys = ["model", "dataset", "layer", "neuron", "problem_id", "sample"]
        errors = self.scores.trajectories.filter(pl.col("kind") == "dopamine").select(*keys, "deltas", "kept")
        return part.join(errors, on=keys, maintain_order="left")
