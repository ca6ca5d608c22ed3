"""Rule `evaluate_value_pruning`: AUC of pruned value probes on the validation part (method, sections 3 and 4).

Scored at `initial` (s_0, before anything is generated) and `final` (s_T). Scores are f(h): V(h) = sigmoid(f(h)) has the
same ranks, but may round distinct states to one number.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.lib.config.sections import Pruning, ValueProbes, load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import ActivationFiles, open_activations
from workflow_scripts.lib.probes.data import (
    Responses,
    number_of_states,
    rewards_of,
    select_responses,
    split_of,
    training_units,
)
from workflow_scripts.lib.probes.perceptrons import Probes
from workflow_scripts.lib.probes.perceptrons import load as load_probes
from workflow_scripts.lib.probes.pruning_rows import Metric, Row, kept_rows, retrained_outputs, retrained_rows, table
from workflow_scripts.lib.probes.trainer import MEMORY_GB, layer_groups, training_of, value_loss
from workflow_scripts.lib.probes.training import n_batches
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import write_parquet

POSITIONS = ("initial", "final")


def untrained(metadata: dict[str, Any]) -> str | None:
    """Why probes could not learn anything, if so."""
    if not metadata["n_training"]:
        return "no training responses"
    if metadata["n_right"] in (0, metadata["n_training"]):
        return f"all training responses are {'right' if metadata['n_right'] else 'wrong'}"
    return None


def end_states(source: ActivationFiles, responses: Responses, layer: int) -> list[Tensor]:
    """States [R, d] of the responses at s_0 and at s_T."""
    states, offsets = source.states(layer)
    first, last = offsets[:-1][responses.places], offsets[1:][responses.places] - 1
    return [states[torch.from_numpy(rows)] for rows in (first, last)]


def retrained(
    source: ActivationFiles,
    parts: tuple[Responses, Responses],
    probes: Probes,
    metric: Metric,
    config: dict[str, Any],
    pruning: Pruning,
    memory_gb: float,
) -> list[Row]:
    """Rows of probes trained anew on what each probe on true rewards keeps; layers in groups that fit into memory."""
    section = ValueProbes(config)
    training, true = training_of(section), probes.of(labels="true")
    groups = list(layer_groups(source, 2 * number_of_states(source, parts[0]), section, memory_gb))
    steps = len(groups) * len(pruning.ratios) * n_batches(len(parts[0]), len(section.seeds), training)
    progress = Progress(steps, "steps", "value probes retrained on what is kept")
    rows = []
    for layers in groups:
        units = training_units(source, parts[0], layers)
        held_out = {layer: torch.cat(end_states(source, parts[1], layer)) for layer in layers}
        group = true.select([i for i, spec in enumerate(true.specs) if spec.layer in layers])
        for ratio in pruning.ratios:
            both = retrained_outputs(group, ratio, units, held_out, training, value_loss(section), progress)
            for position, predicted in zip(POSITIONS, np.split(both, 2, axis=1), strict=True):
                rows += [{**row, "position": position} for row in retrained_rows(metric, group, ratio, predicted)]
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Read the validation part's first and last states, prune every probe, write one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with section pruning")
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--rollouts", required=True, nargs="+", type=Path)
    parser.add_argument("--activations", required=True, nargs="+", type=Path)
    parser.add_argument("--probes", required=True, type=Path)
    parser.add_argument("--memory-gb", type=float, default=MEMORY_GB, help="layers are retrained in groups that fit")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    pruning = load(arguments.params).pruning
    source = open_activations(arguments.activations)
    probes, metadata = load_probes(arguments.probes, kind="value", **source.identity)
    same_run(source.identity, problems=arguments.problems, rollouts=arguments.rollouts)
    split, rewards = split_of(arguments.problems), rewards_of(arguments.rollouts)
    training, held_out = (select_responses(source, split, rewards, part) for part in ("train", "validation"))
    metric = Metric("auc", held_out.rewards, held_out.problem_ids, untrained(metadata))
    layers = list(dict.fromkeys(spec.layer for spec in probes.specs))
    progress = Progress(len(layers), "layers", f"pruning, {len(held_out)} validation responses")
    rows: list[Row] = []
    for layer in layers:
        for position, states in zip(POSITIONS, end_states(source, held_out, layer), strict=True):
            found = kept_rows(metric, probes.of(layer=layer), states, pruning)
            rows += [{**row, "position": position} for row in found]
        progress.advance()
    if pruning.retrain_pruned:
        parts = (training, held_out)
        rows += retrained(source, parts, probes, metric, metadata["config"], pruning, arguments.memory_gb)
    written = table(rows, "auc", ["position"])
    write_parquet(written, arguments.output, table_metadata("value_pruning", source.identity))


if __name__ == "__main__":
    run_main(main)
