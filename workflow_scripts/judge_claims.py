"""Rule `judge_claims`: judge every claim of the paper by its test; write csv and parquet.

`claims`: a verdict each; `claim_cells`: the number of each run and layer behind it; `claim_cases`: which responses are
a typical and a worst case; `selectivity`: true against shuffled labels; `table1`: the paper's Table 1. No verdict is
written by hand: each follows from the scores per problem by the test next to it (`claims.paper_claims`).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from workflow_scripts.lib.claims.cases import claim_cases
from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.claim_cells import claim_cells
from workflow_scripts.lib.claims.paper_claims import TESTS
from workflow_scripts.lib.claims.scores import KEYS, Scores, Table, read_runs, read_scores
from workflow_scripts.lib.claims.selectivity import selectivity
from workflow_scripts.lib.claims.table1 import table1
from workflow_scripts.lib.config.sections import Params, load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.storage.result_tables import with_columns, write_table
from workflow_scripts.lib.storage.tables import read_parquet

COLUMNS = [
    *("key", "claim", "verdict", "estimand", "value", "ci_low", "ci_high", "margin", "n", "n_rarer", "needed_n"),
    *("evidence", "test", "direction", "source", "printed", "place"),
]
PROBES = ("value", "dopamine")
OTHERS = ("masks", "confidence", "search", "trajectories", "ablated", "overlap", "neurons")


def read_claims(entries: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Read the claims, in the order of the list.

    Raises:
        UserError: a claim without a test, or a test without a claim.
    """
    listed = [entry["key"] for entry in entries]
    if set(listed) != set(TESTS):
        unmatched = sorted(set(listed) ^ set(TESTS))
        raise UserError(f"resources/published/claims.yaml: {unmatched[0]}: has no test or no claim; name it in both")
    return [Claim(**entry) for entry in entries]


def judge(claims: Sequence[Claim], scores: Scores) -> pl.DataFrame:
    """Judge each claim: one row per claim."""
    rows: list[dict[str, object]] = []
    for claim in claims:
        test = TESTS[claim.key]
        decision = asdict(test.judge(scores, claim))
        words = {"test": test.words, "direction": claim.direction, "source": test.source}
        words |= {"printed": claim.printed, "place": claim.place}
        rows.append({"key": claim.key, "claim": claim.claim} | decision | words)
    return with_columns(rows, COLUMNS)


def main(argv: Sequence[str] | None = None) -> None:
    """Read all scores and write the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON: pruning (...), interventions (share, mode)")
    for name in (*PROBES, *OTHERS, "selected"):
        parser.add_argument(f"--{name}", nargs="*", type=Path, default=[], help="files of results/scores or neurons")
    parser.add_argument("--published", required=True, type=Path, help="the paper's claims (yaml)")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    scores = read_all(arguments, load(arguments.params))
    claims = read_claims(yaml.safe_load(arguments.published.read_text(encoding="utf-8"))["claims"])
    tables = {
        "claims": judge(claims, scores),
        "claim_cells": claim_cells(claims, TESTS, scores),
        "claim_cases": claim_cases(claims, TESTS, scores),
        "selectivity": selectivity(scores),
        "table1": table1(scores),
    }
    for name, table in tables.items():
        write_table(table, name, arguments.output_dir)


def read_all(arguments: argparse.Namespace, params: Params) -> Scores:
    """Read all scores and resample their problems."""
    pruning, ablated = params.pruning, params.interventions
    how = Resampling(pruning.confidence, pruning.bootstrap, pruning.seed)
    frames = {name: read_scores(getattr(arguments, name)) for name in PROBES}
    given = {name: getattr(arguments, name) for name in OTHERS}
    frames |= {name: read_parquet(paths) if paths else pl.DataFrame() for name, paths in given.items()}
    tables = {name: Table.of(name, frames[name], how) for name in KEYS}
    sets = frames["overlap"], frames["neurons"], read_runs(arguments.selected)
    return Scores(tables, *sets, float(ablated.share), ablated.mode, how.confidence)


if __name__ == "__main__":
    run_main(main)
