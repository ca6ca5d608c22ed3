"""Rule `evaluate_dopamine_pruning`: compute the Spearman correlation of pruned dopamine probes with TD errors.

Method, sections 4 and 5. Scored on the validation part's kept paragraphs, against the Monte-Carlo estimate of their TD
error.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.probes.data import read_features
from workflow_scripts.lib.probes.perceptrons import load as load_probes
from workflow_scripts.lib.probes.pruning_rows import Metric, PruningRow, kept_rows, table
from workflow_scripts.lib.probes.retraining import retrained_dopamine_rows
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import KEYS, table_metadata
from workflow_scripts.lib.storage.tables import write_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Read the validation part's kept paragraphs, prune every probe, write one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with section pruning")
    parser.add_argument("--features", required=True, type=Path)
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--probes", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    pruning = load(arguments.params).pruning
    part_of, identity = read_features(arguments.features, arguments.problems)
    run = {key: identity[key] for key in KEYS if key in identity}
    probes, metadata = load_probes(arguments.probes, kind="dopamine", **run)
    parts = part_of("train"), part_of("validation")
    untrained = None if metadata["n_training"] else "no training paragraph passes the threshold"
    metric = Metric("spearman", parts[1].delta, parts[1].problem_ids, untrained)
    progress = Progress(len(parts[1].layers), "layers", f"pruning, {len(parts[1].delta)} validation paragraphs")
    rows: list[PruningRow] = []
    for layer, states in parts[1].layers.items():
        rows += kept_rows(metric, probes.of(layer=layer), states, pruning)
        progress.advance()
    if pruning.retrain_pruned:
        rows += retrained_dopamine_rows(parts, probes, metric, metadata["config"], pruning)
    write_parquet(table(rows, "spearman"), arguments.output, table_metadata("dopamine_pruning", run))


if __name__ == "__main__":
    run_main(main)
