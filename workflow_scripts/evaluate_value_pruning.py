"""Rule `evaluate_value_pruning`: compute the AUC of pruned value probes on the validation part (method, sections 3, 4).

Scored at `initial` (s_0, before anything is generated) and `final` (s_T). Scores are f(h): V(h) = sigmoid(f(h)) has the
same ranks, but may round distinct states to one number.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import open_activations
from workflow_scripts.lib.probes.data import (
    end_states,
    rewards_of,
    select_responses,
    split_of,
)
from workflow_scripts.lib.probes.perceptrons import load as load_probes
from workflow_scripts.lib.probes.pruning_rows import POSITIONS, Metric, PruningRow, kept_rows, table, untrained
from workflow_scripts.lib.probes.retraining import retrained_value_rows
from workflow_scripts.lib.probes.trainer import MEMORY_GB
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import write_parquet


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
    rows: list[PruningRow] = []
    for layer in layers:
        for position, states in zip(POSITIONS, end_states(source, held_out, layer), strict=True):
            pruned = kept_rows(metric, probes.of(layer=layer), states, pruning)
            rows += [{**row, "position": position} for row in pruned]
        progress.advance()
    if pruning.retrain_pruned:
        parts = (training, held_out)
        rows += retrained_value_rows(source, parts, probes, metric, metadata["config"], pruning, arguments.memory_gb)
    metadata_of_table = table_metadata("value_pruning", source.identity)
    write_parquet(table(rows, "auc", ["position"]), arguments.output, metadata_of_table)


if __name__ == "__main__":
    run_main(main)
