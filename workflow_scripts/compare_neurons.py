"""Rule `compare_neurons`: compare neurons found by probes across data sets and related models (method, section 7).

Neurons are compared by number. Models trained independently, from different bases, have no common neurons by number,
because nothing relates the coordinates of one to those of the other. So models are compared only within families:
models made from one base.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.neurons import importances, overlap, transfer_rise
from workflow_scripts.lib.storage.result_tables import with_columns, write_table
from workflow_scripts.lib.storage.tables import write_parquet

CONTROLS = ("same_seed", "shuffled", "within", "reason")
OVERLAP = (
    *overlap.KEYS,
    *("prune_ratio", "n_kept", "d", "iou", "iou_low", "iou_high", "n_pairs", "same_seed"),
    *("random_mean", "random_low", "random_high", "shuffled", "within", "reason"),
)
PAIRS = (*overlap.KEYS, "prune_ratio", "n_kept", "d", "seed_a", "seed_b", "iou", "expected")
CORRELATION = (*overlap.KEYS, "d", "n_pairs", "spearman", "ci_low", "ci_high", *CONTROLS)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the probes of all runs, compare every pair, write the tables.

    `transfer`: the overlap of kept inputs; `transfer_rise`: how it changes towards a prune ratio of 1;
    `importance_correlation`: the rank correlation of all importances.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with transfer.families and section pruning")
    parser.add_argument("--value", nargs="*", default=[], type=Path, help="value probes of the runs, in their order")
    parser.add_argument(
        "--dopamine", nargs="*", default=[], type=Path, help="dopamine probes of the runs that have them"
    )
    parser.add_argument("--scores", required=True, type=Path, help="the table of overlaps of single probes, parquet")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    runs = [importances.read(path, kind) for kind in ("value", "dopamine") for path in getattr(arguments, kind)]
    importances.check_versions(runs)
    pairs = overlap.pairs_of(runs, params.transfer.families)
    pruning = params.pruning
    shared = [row for pair in pairs for row in overlap.overlap_rows(pair, pruning.ratios, pruning.confidence)]
    correlation = [row for pair in pairs for row in overlap.correlation_rows(pair, pruning)]
    listed = [row for pair in pairs for row in overlap.pair_rows(pair, pruning.ratios, pruning.confidence)]
    single = with_columns(listed, PAIRS)
    write_parquet(single, arguments.scores)
    rise = with_columns(transfer_rise.rise_rows(single, pruning.confidence), transfer_rise.COLUMNS)
    write_table(rise, "transfer_rise", arguments.output_dir)
    write_table(with_columns(shared, OVERLAP), "transfer", arguments.output_dir)
    write_table(with_columns(correlation, CORRELATION), "importance_correlation", arguments.output_dir)


if __name__ == "__main__":
    run_main(main)
