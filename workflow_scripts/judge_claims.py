"""Rule `judge_claims`: judge every claim of the paper by its test; write evidence and verdict as csv and parquet.

No verdict is written by hand: each follows from the tables by the test next to it (`claims.paper_claims`).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from workflow_scripts.lib.claims.paper_claims import TESTS, Tables
from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.storage.result_tables import with_columns, write_table
from workflow_scripts.lib.storage.tables import read_parquet

COLUMNS = ["key", "claim", "verdict", "evidence", "test", "source", "printed", "place"]


def judge(entries: Sequence[dict[str, Any]], tables: Tables, confidence: float) -> pl.DataFrame:
    """Judge each claim: one row per claim, in the order of the list.

    Raises:
        UserError: a claim without a test, or a test without a claim.
    """
    listed = [entry["key"] for entry in entries]
    if set(listed) != set(TESTS):
        unmatched = sorted(set(listed) ^ set(TESTS))
        raise UserError(f"resources/published/claims.yaml: {unmatched[0]}: has no test or no claim; name it in both")
    rows = []
    for entry in entries:
        test = TESTS[entry["key"]]
        finding = test.judge(tables, confidence)
        judged = {"verdict": finding.verdict, "evidence": finding.evidence, "test": test.words, "source": test.source}
        rows.append({key: entry[key] for key in ("key", "claim", "printed", "place")} | judged)
    return with_columns(rows, COLUMNS)


def main(argv: Sequence[str] | None = None) -> None:
    """Read all tables and write the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON: pruning (confidence)")
    parser.add_argument("--tables", required=True, nargs="+", type=Path, help="all other tables, parquet")
    parser.add_argument("--published", required=True, type=Path, help="the paper's claims (yaml)")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    tables = {path.stem: read_parquet(path) for path in arguments.tables}
    entries = yaml.safe_load(arguments.published.read_text(encoding="utf-8"))["claims"]
    write_table(judge(entries, tables, load(arguments.params).pruning.confidence), "claims", arguments.output_dir)


if __name__ == "__main__":
    run_main(main)
