"""A typical and a worst case for each claim: one response that speaks for it as the average does, one against it.

They come from the run and layer whose own number is nearest to that of the claim, so that neither is chosen for looks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.comparison import Comparisons
from workflow_scripts.lib.claims.contributions import (
    END,
    METHODS,
    TERMS,
    of_confidence,
    of_masks,
    of_probes,
    of_search,
    read,
)
from workflow_scripts.lib.claims.decide import BELOW
from workflow_scripts.lib.claims.groups import LEVEL
from workflow_scripts.lib.claims.paper_claims import Test
from workflow_scripts.lib.claims.scores import Scores
from workflow_scripts.lib.storage.identity import Run
from workflow_scripts.lib.storage.result_tables import with_columns

COLUMNS = [
    *("key", "case", "comparison", "model", "dataset", "layer", "problem_id", "sample", "paragraph", "seed"),
    *("contribution", "average", "origin"),
]
TYPICAL, WORST = "typical", "worst"
ORIGINS = {"masks": "masked", "search": "search"}
"""Which responses a table of scores is about, if not the unmasked ones."""


def claim_cases(claims: Sequence[Claim], tests: Mapping[str, Test], scores: Scores) -> pl.DataFrame:
    """Return two rows for each claim that rests on responses."""
    return with_columns([row for claim in claims for row in cases(claim, tests[claim.key], scores)], COLUMNS)


def cases(claim: Claim, test: Test, scores: Scores) -> list[dict[str, Any]]:
    """Return the typical and the worst case of one claim; none where its number rests on no single response."""
    place = nearest(test.compare(scores, claim), test.judge(scores, claim).value, scores.confidence)
    if place is None:
        return []
    comparison, run, layer = place
    found = contributions(claim, test.table, comparison, scores, run, layer)
    if found is None or found["contribution"].is_nan().all():
        return []
    found = found.filter(~pl.col("contribution").is_nan()).sort("problem_id", maintain_order=True)
    sign, average = -1 if claim.direction == BELOW else 1, float(np.mean(found["contribution"].to_numpy()))
    chosen = {
        TYPICAL: (found["contribution"] - average).abs().round(9).arg_min(),
        WORST: (sign * found["contribution"]).round(9).arg_min(),
    }
    where: dict[str, Any] = {
        "key": claim.key,
        "comparison": comparison,
        "model": run[0],
        "dataset": run[1],
        "layer": layer,
    }
    where |= {"average": average, "origin": ORIGINS.get(test.table, "rollouts")}
    return [{**where, "case": name, **found.row(at, named=True)} for name, at in chosen.items()]


def nearest(comparisons: Comparisons, value: float | None, confidence: float) -> tuple[str, Run, int | None] | None:
    """Return comparison, run and layer of the number nearest to that of the claim; the first of equal ones."""
    if value is None:
        return None
    parts = [(name, part) for name, one in comparisons.items() for part in one.parts(confidence)]
    known = [(name, part) for name, part in parts if part.interval.value is not None and " and " not in part.runs]
    if not known:
        return None
    name, part = min(known, key=lambda pair: round(abs((pair[1].interval.value or 0.0) - value), 9))
    model, _, dataset = part.runs.partition("/")
    return name, (model, dataset), part.layer


def contributions(
    claim: Claim, table: str, comparison: str, scores: Scores, run: Run, layer: int | None
) -> pl.DataFrame | None:
    """Return what each response, paragraph or problem contributes; None where the claim rests on none."""
    if claim.key in TERMS and layer is not None:
        terms = END.get(comparison, TERMS[claim.key])
        return of_probes(scores, read(terms[0].place) if comparison.endswith(LEVEL) else terms, run, layer)
    if table == "masks" and layer is not None:
        return of_masks(scores, run, layer, comparison)
    if claim.key in METHODS:
        return of_confidence(scores, run, METHODS[claim.key], comparison)
    return of_search(scores, run, comparison) if table == "search" else None
