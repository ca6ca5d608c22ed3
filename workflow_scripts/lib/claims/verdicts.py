"""The verdicts on a claim, and the rule that turns the interval of a difference into one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

SUPPORTED, CONTRADICTED, UNDECIDED, NOT_JUDGED = "supported", "contradicted", "undecided", "not judged"
VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_JUDGED)


@dataclass(frozen=True)
class Rule:
    """A claim and how it is judged: a short name for table heads, the claim, the rule."""

    short: str
    claim: str
    rule: str


HARM = Rule(
    "More harm than others",
    "Ablating the value neurons lowers accuracy more than ablating the same number of other neurons.",
    "The difference is the accuracy with the value neurons ablated less the accuracy with the others ablated; for "
    "random ones, the mean over their draws. Its interval resamples problems and draws, and is widened where draws are "
    "few. Supported: the whole interval lies below 0. Contradicted: the whole interval lies at or above 0. Undecided: "
    "anything else, and wherever there is no interval or random neurons were drawn only once.",
)


@dataclass(frozen=True)
class Finding:
    """A verdict on one claim for one curve, and the numbers it rests on."""

    verdict: str
    evidence: str


def judge_harm(low: float | None, high: float | None, reason: str | None = None) -> str:
    """Judge a difference by the rule `HARM`; `reason` says what its interval leaves out."""
    if low is None or high is None or reason:
        return UNDECIDED
    if high < 0:
        return SUPPORTED
    return CONTRADICTED if low >= 0 else UNDECIDED


def judge_gain(low: float | None, high: float | None) -> str:
    """Support a difference whose interval lies above 0, contradict one at or below it; else leave it undecided."""
    if low is None or high is None:
        return UNDECIDED
    if low > 0:
        return SUPPORTED
    return CONTRADICTED if high <= 0 else UNDECIDED


def with_verdicts(contrasts: pl.DataFrame, judge: Callable[[dict[str, Any]], str]) -> pl.DataFrame:
    """Fill the column `verdict` of a table of contrasts, row by row."""
    verdicts = pl.Series("verdict", [judge(row) for row in contrasts.to_dicts()], dtype=pl.String)
    return contrasts.with_columns(verdicts)


def harm(row: dict[str, Any]) -> str:
    """Judge a contrast that is claimed to lie below 0; a `reason` says what its interval leaves out."""
    return judge_harm(row["ci_low"], row["ci_high"], row["reason"])


def gain(row: dict[str, Any]) -> str:
    """Judge a contrast that is claimed to lie above 0."""
    return judge_gain(row["ci_low"], row["ci_high"])
