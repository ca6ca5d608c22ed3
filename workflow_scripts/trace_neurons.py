"""Rule `trace_neurons`: activations of dopamine neurons, and of random others, over the tokens of valued responses.

Neurons are chosen and oriented by training problems alone. Activations are normalised as the dopamine probes saw them
(method, section 10; paper, Section 4.4).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch

from workflow_scripts.lib.config.sections import Trajectories, load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.models.activation_files import ActivationFiles, open_activations, read_layer
from workflow_scripts.lib.models.load import ModelConfig, load_tokenizer
from workflow_scripts.lib.models.states import States
from workflow_scripts.lib.models.tokens import text_pieces
from workflow_scripts.lib.neurons.importances import mean_importance
from workflow_scripts.lib.probes.data import split_of
from workflow_scripts.lib.probes.features import RESPONSE, ResponseKey, boundaries_of, normalizer, places_of
from workflow_scripts.lib.storage.identity import same_run
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.trajectories.followed import choose_neurons
from workflow_scripts.lib.trajectories.traces import NUMBERS, SCHEMA, Followed, Traced, orient, write_trace

STATE_COLUMNS = dict(zip(NUMBERS, ("value", "ci_low", "ci_high", "delta", "delta_low", "delta_high"), strict=True))
"""Column of the trajectories -> column of the values."""


def nested_values(values: pl.DataFrame) -> dict[ResponseKey, dict[str, Any]]:
    """Response -> its boundaries, values and TD errors as lists; TD errors and `kept` begin at the first paragraph."""
    lists = [pl.col(old).alias(new) for new, old in STATE_COLUMNS.items()]
    nested = values.sort("boundary").group_by(RESPONSE).agg(pl.col("offset").alias("boundaries"), *lists, "kept")
    found = {}
    for row in nested.iter_rows(named=True):
        for name in ("deltas", "delta_low", "delta_high", "kept"):
            row[name] = row[name][1:]
        found[row["problem_id"], row["sample"]] = row
    return found


def trajectories(
    source: ActivationFiles,
    layer: int,
    neurons: Sequence[int],
    normalization: str,
    boundaries: dict[ResponseKey, list[int]],
    split: dict[str, str],
) -> dict[ResponseKey, list[list[float]]]:
    """Response -> normalised activations [neurons, T] of those with tokens.

    Raises:
        UserError: the stored states are not those of the valued responses.
    """
    places = places_of(source, boundaries)
    states = read_layer(source.paths, layer, expect=source.identity)
    mine = States(states.rows, states.offsets, {layer: states.layers[layer][:, torch.tensor(list(neurons))]})
    normalize, offsets = normalizer(normalization, mine, layer, split), mine.offsets.tolist()
    spans = {response: slice(offsets[place], offsets[place + 1]) for response, place in places.items()}
    return {response: normalize(mine.layers[layer][span]).T.tolist() for response, span in spans.items()}


def response_rows(
    values: dict[ResponseKey, dict[str, Any]],
    activations: dict[ResponseKey, list[list[float]]],
    rollouts: pl.DataFrame,
    split: dict[str, str],
    tokenizer: Any,
    n_neurons: int,
) -> pl.DataFrame:
    """One row for each valued response, sorted by problem and sample.

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
    """The neurons to follow, not yet oriented."""
    importance = mean_importance(path, "dopamine", section.layer, source.identity)
    return choose_neurons(importance, section.n_neurons, section.layer, section.seed)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--params", required=True, help="JSON: model, trajectories (layer, n_neurons, seed), dopamine_probes"
    )
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--probes", required=True, type=Path, help="the dopamine probes")
    parser.add_argument("--values", required=True, type=Path)
    for name in ("rollouts", "paragraphs", "activations"):
        parser.add_argument(f"--{name}", required=True, nargs="+", type=Path, help="shards that hold valued problems")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    section, normalization = params.trajectories, params.dopamine_probes.normalization
    source, split = open_activations(arguments.activations, [section.layer]), split_of(arguments.problems)
    tables = {name: getattr(arguments, name) for name in ("problems", "values", "rollouts", "paragraphs")}
    same_run(source.identity, **tables)
    values = read_parquet(arguments.values)
    boundaries = boundaries_of(values, read_parquet(arguments.paragraphs))
    neurons = followed_neurons(arguments.probes, section, source)
    indices = [one.neuron for one in neurons]
    found = trajectories(source, section.layer, indices, normalization, boundaries, split)
    tokenizer = load_tokenizer(ModelConfig.from_entry(params.model))
    rollouts = read_parquet(arguments.rollouts)
    rows = response_rows(nested_values(values), found, rollouts, split, tokenizer, len(neurons))
    model, dataset = source.metadata["model"], source.metadata["dataset"]
    traced = Traced(model, dataset, section.layer, normalization, neurons, rows)
    write_trace(Traced(**(vars(traced) | {"neurons": orient(traced)})), arguments.output, **source.identity)


if __name__ == "__main__":
    run_main(main)
