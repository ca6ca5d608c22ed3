"""Compare trajectories of dopamine neurons with and without value neurons of earlier layers (method, section 10)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import ActivationFiles
from workflow_scripts.lib.models.proof import MaskCheck
from workflow_scripts.lib.models.states import Response, read_responses
from workflow_scripts.lib.probes.data import select_responses, take
from workflow_scripts.lib.probes.features import RESPONSE, Normalize, ResponseKey
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.statistics.ranks import pearson
from workflow_scripts.lib.trajectories import ablation
from workflow_scripts.lib.trajectories.ablation import Ablation, passes, relative_gap, tolerance
from workflow_scripts.lib.trajectories.traces import Traced, means_between

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCHEMA: dict[str, Any] = {
    "problem_id": pl.String,
    "sample": pl.Int64,
    "split": pl.String,
    "neuron": pl.Int64,
    "condition": pl.String,
    "draw": pl.Int64,
    "correlation": pl.Float64,
    "rmse": pl.Float64,
    "own_layers": pl.Int64,
    "means": pl.List(pl.Float32),
    "trajectory": pl.List(pl.Float32),
}
AblationRow = dict[str, Any]


@dataclass(frozen=True)
class AblationRun:
    """The inputs that all conditions share. `responses` are those of `traced`, in its order; `neurons` are followed."""

    traced: Traced
    responses: list[Response]
    source: ActivationFiles
    neurons: list[int]
    normalize: Normalize
    dtype: torch.dtype
    batch_tokens: int

    @cached_property
    def metadata(self) -> dict[ResponseKey, tuple[str, list[int]]]:
        """Part of the split and boundaries of each response."""
        columns = self.traced.responses.select(*RESPONSE, "split", "boundaries")
        return {(problem_id, sample): (split, ends) for problem_id, sample, split, ends in columns.iter_rows()}

    def trajectories(self, states: Float[Tensor, "T+1 d"]) -> Float[np.ndarray, "neurons T"]:
        """Return normalised activations of the followed neurons."""
        return self.normalize(states[:, torch.tensor(self.neurons)]).T.double().numpy()


def traced_responses(traced: Traced, rollouts: pl.DataFrame) -> list[Response]:
    """Return the validation responses of the trajectories, in their order; those without tokens are left out.

    Raises:
        UserError: one is missing or has another number of tokens.
    """
    known = {(one.problem_id, one.sample): one for one in read_responses(rollouts)}
    responses = []
    for problem_id, sample, pieces in traced.of("validation").responses.select(*RESPONSE, "pieces").iter_rows():
        one = known.get((problem_id, sample))
        if one is None or len(one.response_ids) != len(pieces):
            raise UserError(
                f"rollouts: problem {problem_id}, sample {sample} is missing or another response than the traced one; "
                "delete the trajectories of this model and data set and run again"
            )
        responses.append(one)
    return [one for one in responses if one.response_ids]


def training_rms(source: ActivationFiles, layer: int, split: dict[str, str]) -> Float[np.ndarray, " d"] | None:
    """Return the root mean square of every neuron over the states of training responses; None where there are none."""
    rewards = {(problem_id, sample): 0.0 for problem_id, sample, _ in source.rows}
    known = {problem_id: split.get(problem_id, "") for problem_id, _, _ in source.rows}
    rows = select_responses(source, known, rewards, "train").rows
    if not len(rows):
        return None
    states, _ = take(*source.states(layer), rows)
    return states.double().square().mean(0).sqrt().numpy()


def check_unablated(
    run: AblationRun, model: "PreTrainedModel", report: Any
) -> tuple[list[Float[np.ndarray, "n T"]], float]:
    """Return trajectories of the unablated pass, and its largest relative gap to the stored activations.

    Raises:
        UserError: the states are not those that were stored, within rounding.
    """
    layer = run.traced.layer
    states, offsets = run.source.states(layer)
    rows = {(problem_id, sample): row for row, (problem_id, sample, _) in enumerate(run.source.rows)}
    by_response: list[Any] = [None] * len(run.responses)
    allowed, largest = tolerance(run.dtype, model.dtype), 0.0
    for index, computed in passes(
        model, run.responses, layer, Ablation("none"), run.dtype, run.batch_tokens, report, {}
    ):
        one = run.responses[index]
        row = rows.get((one.problem_id, one.sample))
        stored = states[:0] if row is None else states[offsets[row] : offsets[row + 1]]
        gap = relative_gap(computed, stored) if stored.shape == computed.shape else float("inf")
        if gap > allowed:
            raise UserError(
                f"{run.source.paths[0].parent}: problem {one.problem_id}, sample {one.sample}: the stored states are "
                f"not those of the model (relative gap {gap:.2g}); delete the activations of this model and run again"
            )
        by_response[index], largest = run.trajectories(computed), max(largest, gap)
    return by_response, largest


def compared(ablated: Float[np.ndarray, " T"], unablated: Float[np.ndarray, " T"]) -> tuple[float | None, float]:
    """Return Pearson correlation (None if a side does not vary) and root-mean-square difference of two trajectories."""
    correlation = float(pearson(ablated, unablated))
    rmse = float(np.sqrt(np.square(ablated - unablated).mean()))
    return (correlation if np.isfinite(correlation) else None), rmse


def rows_of(
    run: AblationRun, condition: Ablation, index: int, trajectories: np.ndarray, unablated: np.ndarray
) -> Iterator[AblationRow]:
    """Yield a row for each followed neuron over one response."""
    one = run.responses[index]
    split, boundaries = run.metadata[one.problem_id, one.sample]
    means = means_between(trajectories, boundaries)
    for place, neuron in enumerate(run.neurons):
        none = condition.name == "none"
        correlation, rmse = (None, None) if none else compared(trajectories[place], unablated[place])
        yield {
            "problem_id": one.problem_id,
            "sample": one.sample,
            "split": split,
            "neuron": neuron,
            "condition": condition.name,
            "draw": condition.draw,
            "correlation": correlation,
            "rmse": rmse,
            "own_layers": condition.own_layers(neuron),
            "means": means[place].tolist(),
            "trajectory": trajectories[place].tolist(),
        }


def mask_check_rows(condition: Ablation, checks: dict[int, MaskCheck]) -> list[AblationRow]:
    """Return one row per ablated layer with its mask check.

    Raises:
        RuntimeError: the mask of a layer was not applied at every position.
    """
    if failed := [layer for layer in condition.ablated if not checks[layer].complete]:
        where = f"condition {condition.name}, draw {condition.draw}, layer {failed[0]}"
        raise RuntimeError(f"{where}: the mask was not applied at every position")
    return [
        {"condition": condition.name, "draw": condition.draw, "layer": layer, "n_neurons": len(neurons)}
        | {"neurons": neurons, **vars(checks[layer])}
        for layer, neurons in condition.ablated.items()
    ]


def ablate(
    run: AblationRun, model: "PreTrainedModel", every: Sequence[Ablation]
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return rows of all conditions, sorted by response, neuron, condition and draw; mask checks and gap of the passes.

    Raises:
        UserError: the unablated pass does not give the stored states.
    """
    progress = Progress(len(run.responses) * len(every), "responses", "ablate_value_neurons")
    unablated, gap = check_unablated(run, model, progress.advance)
    rows = [row for i, one in enumerate(unablated) for row in rows_of(run, every[0], i, one, one)]
    checks: list[AblationRow] = []
    for condition in every[1:]:
        layer_checks: dict[int, MaskCheck] = {}
        layer = run.traced.layer
        for i, states in passes(
            model, run.responses, layer, condition, run.dtype, run.batch_tokens, progress.advance, layer_checks
        ):
            rows += rows_of(run, condition, i, run.trajectories(states), unablated[i])
        checks += mask_check_rows(condition, layer_checks) if run.responses else []
    place = pl.col("condition").replace_strict({name: i for i, name in enumerate(ablation.CONDITIONS)})
    frame = pl.DataFrame(rows, schema=SCHEMA).sort("problem_id", "sample", "neuron", place, "draw")
    return frame, {"proofs": checks, "largest_gap": gap}
