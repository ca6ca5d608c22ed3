"""Rules `evaluate_value_pruning`, `evaluate_dopamine_pruning`: compute the curves of pruned probes from their scores.

The AUC of value probes against rewards (method, sections 3 and 4), or the Spearman correlation of dopamine probes with
Monte-Carlo TD errors (section 5). No probe and no state is read, so that other intervals cost little.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.probes.pruning_rows import METRICS, PruningRow, pruning_rows, table
from workflow_scripts.lib.probes.scores import read_scores
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import write_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Read the scores part by part, compute the metric of every entry and of the mean over seeds, write one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON: pruning (bootstrap, confidence, seed)")
    parser.add_argument("--kind", required=True, choices=METRICS, help="which probes the scores are of")
    parser.add_argument("--scores", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    pruning, kind = load(arguments.params).pruning, arguments.kind
    identity = same_run({}, **{f"{kind}_scores": arguments.scores})
    about, parts = read_scores(arguments.scores, kind)
    progress = Progress(len(about.parts), "parts", f"curves of {kind} probes")
    rows: list[PruningRow] = []
    for part in parts:
        rows += pruning_rows(METRICS[kind], about, part, pruning)
        progress.advance()
    more = [name for name in about.parts[0] if name != "layer"]
    write_parquet(table(rows, METRICS[kind], more), arguments.output, table_metadata(f"{kind}_pruning", identity))


if __name__ == "__main__":
    run_main(main)
