"""Rule `tabulate_trajectories`: relate followed neurons to TD errors, and measure what ablation does to them.

Tables as csv and parquet, on validation problems. `trajectories`: each neuron's mean activation over a paragraph,
oriented by its sign on training paragraphs, and the paragraph's TD error. `peaks`: that against the TD errors of the
neighbouring paragraphs. `trajectory_ablation`: trajectories with ablated neurons of earlier layers, and the unablated
ones. `ablation_contrasts`: ablated value neurons minus ablated random ones. A number that cannot be computed stays
empty, and a reason says why (method, section 10; paper, Appendices G and H).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.storage.result_tables import write_table
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.trajectories.trace_tables import ABLATED_SCORES, SCORES, tabulate


def main(argv: Sequence[str] | None = None) -> None:
    """Read the trajectories of all runs and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON: pruning (bootstrap, confidence, seed)")
    parser.add_argument("--traced", nargs="*", type=Path, default=[], help="results/trajectories/*/*.parquet")
    parser.add_argument("--ablated", nargs="*", type=Path, default=[], help="results/trajectories/*/*/ablated.parquet")
    parser.add_argument("--scores", required=True, type=Path, help="the table of activations by paragraph, parquet")
    parser.add_argument("--ablated-scores", required=True, type=Path, help="the same under ablation, parquet")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    pruning = load(arguments.params).pruning
    how = Resampling(pruning.confidence, pruning.bootstrap, pruning.seed)
    tables = tabulate(arguments.traced, arguments.ablated, how)
    write_parquet(tables.pop(SCORES), arguments.scores)
    write_parquet(tables.pop(ABLATED_SCORES), arguments.ablated_scores)
    for name, frame in tables.items():
        write_table(frame, name, arguments.output_dir)


if __name__ == "__main__":
    run_main(main)
