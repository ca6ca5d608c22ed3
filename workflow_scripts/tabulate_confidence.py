"""Rule `tabulate_confidence`: tabulate how well each method separates correct from incorrect answers (csv, parquet).

Table 3 of the paper with intervals, Brier scores and calibration errors, and AUC within strata of question length; the
value neurons and every baseline, paired; the points of the reliability diagram. AUC of value neurons is the mean over
layers and probe seeds of the AUC of each. Everything is measured on validation responses; the prune ratios of
`value_neurons` are chosen on the same ones (`chosen_on`), which makes its numbers optimistic. Strata of length are
quantiles of the validation problems' and stay as they are in all bootstrap samples.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.confidence import tables
from workflow_scripts.lib.confidence.rows import (
    CONTRAST_COLUMNS,
    RELIABILITY_COLUMNS,
    TABLE_COLUMNS,
    contrast_rows,
    method_rows,
    read_scores,
    reliability_rows,
    runs_of,
)
from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.storage.result_tables import with_columns, write_table
from workflow_scripts.lib.storage.tables import write_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Read the scores of all runs and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--params", required=True, help="canonical JSON: confidence.bins,strata, pruning (bootstrap, confidence, seed)"
    )
    for name in ("predictions", "choices"):
        parser.add_argument(f"--{name}", nargs="*", type=Path, default=[])
    parser.add_argument("--scores", required=True, type=Path, help="the table of scores per response, parquet")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    pruning, section = params.pruning, params.confidence
    how = tables.MeasureSettings(pruning.confidence, pruning.bootstrap, pruning.seed, section.bins, section.strata)
    scores, chosen = read_scores(arguments)
    runs = runs_of(scores, chosen, how)
    write_parquet(scores, arguments.scores)
    write_table(with_columns(method_rows(runs, chosen, how), TABLE_COLUMNS), "table3", arguments.output_dir)
    contrasts = with_columns(contrast_rows(runs, how), CONTRAST_COLUMNS)
    write_table(contrasts, "confidence_contrasts", arguments.output_dir)
    reliability = with_columns(reliability_rows(runs, how), RELIABILITY_COLUMNS)
    write_table(reliability, "reliability", arguments.output_dir)


if __name__ == "__main__":
    run_main(main)
