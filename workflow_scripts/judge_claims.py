"""Rule `judge_claims`: judge every claim of the paper by its test; write verdicts and Table 1 as csv and parquet.

No verdict is written by hand: each follows from the scores per problem by the test next to it (`claims.paper_claims`).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from workflow_scripts.lib.claims.evidence import Evidence
from workflow_scripts.lib.claims.paper_claims import TESTS, claim_of
from workflow_scripts.lib.claims.scores import Scores, read_runs, read_scores
from workflow_scripts.lib.claims.table1 import table1
from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.storage.result_tables import with_columns, write_table
from workflow_scripts.lib.storage.tables import read_parquet

COLUMNS = [
    *("key", "claim", "verdict", "estimand", "value", "ci_low", "ci_high", "margin", "n", "n_rarer", "needed_n"),
    *("evidence", "test", "source", "printed", "place"),
]
TABLES = ("masks", "confidence", "search", "trajectories", "ablated", "overlap")


def judge(entries: Sequence[Mapping[str, Any]], evidence: Evidence) -> pl.DataFrame:
    """Judge each claim: one row per claim, in the order of the list.

    Raises:
        UserError: a claim without a test, or a test without a claim.
    """
    listed = [entry["key"] for entry in entries]
    if set(listed) != set(TESTS):
        unmatched = sorted(set(listed) ^ set(TESTS))
        raise UserError(f"resources/published/claims.yaml: {unmatched[0]}: has no test or no claim; name it in both")
    rows: list[dict[str, object]] = []
    for entry in entries:
        claim, test = claim_of(entry), TESTS[entry["key"]]
        decision = asdict(test.judge(evidence, claim))
        words = {"test": test.words, "source": test.source, "printed": claim.printed, "place": claim.place}
        rows.append({"key": claim.key, "claim": claim.claim} | decision | words)
    return with_columns(rows, COLUMNS)


def main(argv: Sequence[str] | None = None) -> None:
    """Read all scores and write the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON: pruning (...), interventions (share, mode)")
    for name in ("value", "dopamine", *TABLES):
        parser.add_argument(f"--{name}", nargs="*", type=Path, default=[], help="results/scores/...")
    for name in ("neurons", "selected"):
        parser.add_argument(f"--{name}", nargs="*", type=Path, default=[], help="results/neurons/...")
    parser.add_argument("--published", required=True, type=Path, help="the paper's claims (yaml)")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    pruning, masked = params.pruning, params.interventions
    files = {name: getattr(arguments, name) for name in (*TABLES, "neurons")}
    scores = Scores(
        read_scores(arguments.value),
        read_scores(arguments.dopamine),
        selected=read_runs(arguments.selected),
        **{name: read_parquet(paths) if paths else pl.DataFrame() for name, paths in files.items()},
    )
    how = Resampling(pruning.confidence, pruning.bootstrap, pruning.seed)
    evidence = Evidence(scores, how, float(masked.share), masked.mode)
    entries = yaml.safe_load(arguments.published.read_text(encoding="utf-8"))["claims"]
    write_table(judge(entries, evidence), "claims", arguments.output_dir)
    write_table(table1(evidence), "table1", arguments.output_dir)


if __name__ == "__main__":
    run_main(main)
