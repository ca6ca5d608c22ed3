"""Rule `tabulate_search`: tabulate accuracy and cost of searches, as csv and parquet (method, section 9).

`table4`: every method and seed, and the mean over seeds (seed empty). `search_contrasts`: the search by dopamine
neurons minus every other method, paired by problem, seeds together. A number that cannot be computed stays empty, and
the column `reason` says why.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.search.outcome_tables import SCORES, tabulate
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.storage.result_tables import write_table
from workflow_scripts.lib.storage.tables import write_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Read the searches of all runs and seeds and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: search (methods, seeds), pruning (bootstrap, ...)")
    parser.add_argument("--search", nargs="*", type=Path, default=[], help="the responses, one file per run and seed")
    parser.add_argument("--scores", required=True, type=Path, help="the table of rewards per response, parquet")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    pruning = params.pruning
    how = Resampling(pruning.confidence, pruning.bootstrap, pruning.seed)
    tables = tabulate(arguments.search, params.search.methods, params.search.seeds, how)
    write_parquet(tables.pop(SCORES), arguments.scores)
    for name, frame in tables.items():
        write_table(frame, name, arguments.output_dir)


if __name__ == "__main__":
    run_main(main)
