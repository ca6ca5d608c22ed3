"""Trace neurons over the tokens of valued responses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch

from workflow_scripts.lib.config.sections import Trajectories
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import ActivationFiles, read_layer
from workflow_scripts.lib.models.states import States
from workflow_scripts.lib.models.tokens import text_pieces
from workflow_scripts.lib.neurons.importances import mean_importances
from workflow_scripts.lib.probes.features import RESPONSE, ResponseKey, normalizer, rows_of
from workflow_scripts.lib.trajectories.followed import choose_neurons
from workflow_scripts.lib.trajectories.traces import NUMBERS, SCHEMA, Followed

STATE_COLUMNS = dict(zip(NUMBERS, ("value", "ci_low", "ci_high", "delta", "delta_low", "delta_high"), strict=True))
"""Column of the trajectories -> column of the values."""


def nested_values(values: pl.DataFrame) -> dict[ResponseKey, dict[str, Any]]:
    """Return response -> its boundaries, values and TD errors as lists.

    TD errors and `kept` begin at the first paragraph.
    """
    lists = [pl.col(old).alias(new) for new, old in STATE_COLUMNS.items()]
    nested = values.sort("boundary").group_by(RESPONSE).agg(pl.col("offset").alias("boundaries"), *lists, "kept")
    by_response = {}
    for row in nested.iter_rows(named=True):
        for name in ("deltas", "delta_low", "delta_high", "kept"):
            row[name] = row[name][1:]
        by_response[row["problem_id"], row["sample"]] = row
    return by_response


def trajectories(
    source: ActivationFiles,
    layer: int,
    neurons: Sequence[int],
    normalization: str,
    boundaries: dict[ResponseKey, list[int]],
    split: dict[str, str],
) -> dict[ResponseKey, list[list[float]]]:
    """Return response -> normalised activations [neurons, T], for responses with tokens.

    Raises:
        UserError: the stored states are not those of the valued responses.
    """
    rows = rows_of(source, boundaries)
    states = read_layer(source.paths, layer, expect=source.identity)
    followed = States(states.rows, states.offsets, {layer: states.layers[layer][:, torch.tensor(list(neurons))]})
    normalize, offsets = normalizer(normalization, followed, layer, split), followed.offsets.tolist()
    spans = {response: slice(offsets[row], offsets[row + 1]) for response, row in rows.items()}
    return {response: normalize(followed.layers[layer][span]).T.tolist() for response, span in spans.items()}


def response_rows(
    values: dict[ResponseKey, dict[str, Any]],
    activations: dict[ResponseKey, list[list[float]]],
    rollouts: pl.DataFrame,
    split: dict[str, str],
    tokenizer: Any,
    n_neurons: int,
) -> pl.DataFrame:
    """Return one row for each valued response, sorted by problem and sample.

    Raises:
        UserError: a valued response is not among the rollouts, is another one there, or has no problem.
    """
    columns = rollouts.select(*RESPONSE, "response_ids", "reward").iter_rows()
    known = {(problem_id, sample): (ids, reward) for problem_id, sample, ids, reward in columns}
    rows = []
    for response in sorted(values):
        ids, reward = known.get(response, (None, None))
        if ids is None or len(ids) != values[response]["boundaries"][-1] or response[0] not in split:
            raise UserError(
                f"rollouts: problem {response[0]}, sample {response[1]} is missing or another response than the valued "
                "one; delete the values of this model and data set and run again"
            )
        row = values[response] | {"split": split[response[0]], "reward": int(reward)}
        row |= {"pieces": text_pieces(ids, tokenizer), "activations": activations.get(response, [[]] * n_neurons)}
        rows.append({name: row[name] for name in SCHEMA})
    return pl.DataFrame(rows, schema=SCHEMA)


def followed_neurons(path: Path, section: Trajectories, source: ActivationFiles) -> list[Followed]:
    """Return the neurons to follow, not yet oriented."""
    importance = mean_importances(path, "dopamine", [section.layer], **source.identity)[section.layer]
    return choose_neurons(importance, section.n_neurons, section.layer, section.seed)
