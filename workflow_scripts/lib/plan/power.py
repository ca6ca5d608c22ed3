"""Power before a study runs: for every claim, the smallest effect that its numbers of problems can decide.

An effect is a distance from the claim's margin, decided with 80 % power at the interval that the judge computes
(`lib/claims/decide.py`). Rates and correlations that only data can tell are assumed, in the section `verdicts` of
`resources/plan/assumptions.yaml`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.decide import smallest_effect
from workflow_scripts.lib.claims.paper_claims import TESTS
from workflow_scripts.lib.plan.work import training_share
from workflow_scripts.lib.statistics.estimands import FEWEST_PROBLEMS, FEWEST_RARER, auc_variance
from workflow_scripts.lib.statistics.joint_intervals import FEWEST_MEMBERS, Spread

STAGES = {
    "value": "value_probes",
    "dopamine": "dopamine_probes",
    "masks": "interventions",
    "confidence": "confidence",
    "search": "search",
    "trajectories": "trajectories",
    "ablated": "trajectories",
    "overlap": "transfer",
    "neurons": "interventions",
}
"""The section of the configuration whose runs give each table of scores."""
VALUED = ("dopamine", "trajectories", "ablated")
"""Tables whose problems are the valued ones."""


@dataclass(frozen=True)
class Power:
    """What a study can decide about a claim before it runs.

    `n`: problems (probe seeds, for sets of neurons), over the data sets; `effect`: None where nothing can be decided;
    `why`: what then stands in the way.
    """

    key: str
    n: int
    effect: float | None
    why: str | None = None


def powers(claims: Sequence[Claim], config: Mapping[str, Any], assumed: Mapping[str, Any]) -> list[Power]:
    """Compute the smallest decidable effect of every claim.

    Args:
        claims: the entries of `resources/published/claims.yaml`.
        config: a study, complete.
        assumed: the section `verdicts` of the assumptions.
    """
    return [power(claim, config, {name: one["value"] for name, one in assumed.items()}) for claim in claims]


def power(claim: Claim, config: Mapping[str, Any], assumed: Mapping[str, float]) -> Power:
    """Compute the smallest decidable effect of one claim."""
    test = TESTS[claim.key]
    stated = config[STAGES[test.table]]["runs"]
    runs = [run for run in stated if run in (claim.runs or ())] or stated
    datasets = list(dict.fromkeys(run.partition("/")[2] for run in runs))
    problems = [held_out(config, test.table, dataset, assumed) for dataset in datasets]
    members = number_of_members(config)
    if test.family == "sets":
        return of_sets(claim.key, members, assumed) if runs else Power(claim.key, members, None, "no run has it")
    n, least = sum(problems), FEWEST_PROBLEMS if test.table in VALUED else FEWEST_RARER
    rarer = [
        count if test.table in VALUED else round(count * min(assumed["accuracy"], 1 - assumed["accuracy"]))
        for count in problems
    ]
    if not runs or min(rarer) < least:
        what = "problems with a kept paragraph" if test.table in VALUED else "problems of the rarer outcome"
        return Power(claim.key, n, None, f"about {min(rarer, default=0)} {what}, {least} needed")
    if members < FEWEST_MEMBERS:
        return Power(claim.key, n, None, f"{members} probe seeds or draws, {FEWEST_MEMBERS} needed")
    variances = [shared(variance(test.family, test.table, count, assumed), len(runs), assumed) for count in problems]
    spread = Spread(float(np.mean(variances)) / len(variances), n - 1, assumed["members"] ** 2 / members, members - 1)
    comparisons = max(len(claim.against), 1)
    return Power(claim.key, n, smallest_effect(spread, 1 - 0.05 / comparisons))


def held_out(config: Mapping[str, Any], table: str, dataset: str, assumed: Mapping[str, float]) -> int:
    """Count the problems of a data set that a table of scores has: validation ones; all, where a model only answers."""
    total = config["datasets"][dataset]["n_problems"]
    stage = "values" if table in VALUED else STAGES[table]
    stated = config[stage].get("n_problems") if table in (*VALUED, "masks", "search") else None
    if table == "masks":
        return min(stated or total, total)
    validation = 1 - training_share(config)
    if table in VALUED:
        return round(min(stated or total, total) * validation * assumed["kept_problems"])
    return min(stated or total, round(total * validation))


def number_of_members(config: Mapping[str, Any]) -> int:
    """Count probe seeds: those of the probes that have fewest."""
    return min(len(config[section]["seeds"]) for section in ("value_probes", "dopamine_probes"))


def variance(family: str, table: str, n: int, assumed: Mapping[str, float]) -> float:
    """Compute the variance of one cell's number over problems."""
    different = 2 * (1 - assumed["paired"])
    if table in ("masks", "search"):
        return assumed["discordant"] / n + 2 / (n + 2) ** 2
    if table in VALUED:
        level = (1 - assumed["spearman"] ** 2) ** 2 / n
        return level if family == "spearman_level" else different * level
    few = round(n * assumed["accuracy"])
    level = auc_variance(assumed["auc"], few, n - few)
    return level if family in ("auc_level", "auc_high") else different * level


def shared(one: float, runs: int, assumed: Mapping[str, float]) -> float:
    """Compute the variance of a mean over runs that answer the same problems."""
    return one * (1 + (runs - 1) * assumed["same_problems"]) / runs


def of_sets(key: str, seeds: int, assumed: Mapping[str, float]) -> Power:
    """Compute the smallest decidable effect of a claim about sets of neurons, whose unit is the probe seed."""
    if seeds < FEWEST_MEMBERS:
        return Power(key, seeds, None, f"{seeds} probe seeds, {FEWEST_MEMBERS} needed")
    return Power(key, seeds, smallest_effect(Spread(assumed["overlap"] ** 2 / seeds, seeds - 1)))


def lines(found: Sequence[Power], claims: Sequence[Claim], assumed: Mapping[str, Any]) -> list[str]:
    """Print the smallest decidable effects, and the claims that the study cannot decide."""
    margins = {claim.key: claim.margin for claim in claims}
    printed = [f"{'claim':22}{'problems':>9}{'margin':>9}{'smallest effect':>17}"]
    for one in found:
        effect = "-" if one.effect is None else f"{one.effect:.3f}"
        printed.append(f"{one.key:22}{one.n:>9}{margins[one.key]:>9g}{effect:>17}")
    undecided = [f"{one.key} ({one.why})" for one in found if one.effect is None]
    large = [one.key for one in found if one.effect is not None and one.effect > assumed["largest"]["value"]]
    if undecided:
        printed.append(f"Cannot be decided: {'; '.join(undecided)}.")
    if large:
        printed.append(
            f"Decided only beyond an effect of {assumed['largest']['value']:g}, which few effects reach: "
            f"{', '.join(large)}."
        )
    return printed
