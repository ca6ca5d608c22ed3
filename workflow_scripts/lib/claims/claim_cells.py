"""The numbers behind a claim, one by one: every run and layer with an interval of its own.

Rows of layers and runs that the paper does not name stand beside the others and decide nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.paper_claims import Test
from workflow_scripts.lib.claims.scores import Scores
from workflow_scripts.lib.storage.result_tables import with_columns

COLUMNS = [
    *("key", "comparison", "run", "layer", "decides", "value", "ci_low", "ci_high", "margin", "direction"),
    *("n", "n_rarer", "reason"),
]


def claim_cells(claims: Sequence[Claim], tests: Mapping[str, Test], scores: Scores) -> pl.DataFrame:
    """Return one row for each claim, comparison, run (or pair of runs) and layer."""
    return with_columns([row for claim in claims for row in rows_of(claim, tests[claim.key], scores)], COLUMNS)


def rows_of(claim: Claim, test: Test, scores: Scores) -> list[dict[str, object]]:
    """Return the rows of one claim; `decides` where its verdict rests on the number."""
    wide = replace(claim, layers=None, runs=None)
    comparisons = test.compare(scores, claim)
    named = {name: set(one.places) for name, one in comparisons.items()}
    rows: list[dict[str, object]] = []
    for name, comparison in (comparisons if wide == claim else test.compare(scores, wide)).items():
        for part in comparison.parts(scores.confidence):
            found = part.interval
            place = {"run": part.runs, "layer": part.layer}
            limits = {"value": found.value, "ci_low": found.low, "ci_high": found.high}
            sides = {"margin": comparison.margin, "direction": claim.direction}
            size = {"n": found.n, "n_rarer": found.n_rarer, "reason": found.reason}
            decides = (part.runs, part.layer) in named.get(name, set())
            rows.append({"key": claim.key, "comparison": name} | place | {"decides": decides} | limits | sides | size)
    return rows
