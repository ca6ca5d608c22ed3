"""Every claim of the paper: what it compares, and by which rule that becomes a verdict.

Wording, margin, direction, and the layers and runs that the paper names are data (`resources/published/claims.yaml`);
what each key compares stands in `paper_comparisons`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.comparison import ALONE, Measured, measure
from workflow_scripts.lib.claims.decide import Decision, against_all, decide, keeps, unmeasured
from workflow_scripts.lib.claims.groups import DIFFERENCE, LEVEL, in_every
from workflow_scripts.lib.claims.paper_comparisons import (
    Compare,
    at_the_end,
    coupled,
    end_above_start,
    few_less_all,
    few_less_random,
    grouped,
    harms,
    predicts,
    reads,
    solves_more,
    tracks,
)
from workflow_scripts.lib.claims.probe_cells import PARAGRAPH
from workflow_scripts.lib.claims.scores import Scores
from workflow_scripts.lib.claims.sets import distinct, shared

Rule = Callable[[Mapping[str, Measured], Claim], Decision]


@dataclass(frozen=True)
class Test:
    """How a claim is judged: what it compares, by which rule, in words, and which table of scores that needs."""

    compare: Compare
    rule: Rule
    words: str
    table: str
    """The table of scores."""
    source: str
    """Where in it."""
    family: str
    """The made-up worlds on which the test is calibrated (`FAMILIES` in `benchmarks/bench_verdicts.py`)."""

    def judge(self, scores: Scores, claim: Claim) -> Decision:
        """Average each comparison over the runs and layers that the claim names, and apply the rule."""
        return self.rule(measure(self.compare(scores, claim), scores.confidence), claim)


def by_itself(found: Mapping[str, Measured], claim: Claim) -> Decision:
    """Judge one number against its margin."""
    interval = found[ALONE].interval
    if interval is None:
        return unmeasured(claim.margin, claim.estimand)
    return decide(interval, claim.margin, claim.direction, claim.estimand)


def against_every_one(found: Mapping[str, Measured], claim: Claim) -> Decision:
    """Judge the comparison with every opponent; say where one was measured less often than another."""
    intervals = {name: one.interval for name, one in found.items()}
    decision = against_all(intervals, claim.margin, claim.direction, claim.estimand)
    most = max(one.parts for one in found.values())
    partly = [f"{name}: {one.parts} of {most} runs or layers" for name, one in found.items() if one.parts < most]
    return replace(decision, evidence="; ".join([decision.evidence.removesuffix("."), *partly]))


def keeps_level(found: Mapping[str, Measured], claim: Claim) -> Decision:
    """Judge what is lost of a level, where there is one."""
    level, lost = found[LEVEL].interval, found[DIFFERENCE].interval
    if level is None or lost is None:
        return unmeasured(claim.margin, claim.estimand)
    return keeps(lost, level, claim.margin, found[LEVEL].margin, claim.estimand)


def in_every_group(fewest: int) -> Rule:
    """Make the rule that at least `fewest` groups each need a level and a difference."""
    return lambda found, claim: in_every(found, claim.estimand, fewest)


SIDES = (
    "Supported: the whole interval lies on the claim's side of the margin. Contradicted: it lies on the other side. "
    "Undecided: else. "
)
KEPT = (
    "The level with one percent of the inputs less that with all of them, paired. Asked only where the interval of the "
    "level with all inputs lies above 0.55 (AUC) or 0.1 (Spearman): else there is nothing to keep. "
)
EVERY_ONE = (
    "Supported: in every comparison the whole interval lies on the claim's side of the margin, and all were measured. "
    "Contradicted: in one it lies on the other side, intervals widened for their number (Bonferroni). The row holds "
    "the comparison that decides. "
)
GROUPS = (
    "Each of at least two groups must predict (interval above 0.55) and keep its level with one percent of the inputs. "
    "Contradicted: one group does not, intervals widened for the number of comparisons (Bonferroni). "
)
SEEDS = "Pairs of independently trained probes; the interval leaves out one seed at a time (jackknife). " + SIDES
TRACKING = (
    "Two numbers: the mean correlation of single dopamine neurons with TD errors, and the same less that of each "
    "random neuron, with a margin of 0.05. " + EVERY_ONE
)
INITIAL, MASKS = "scores value, position initial", "scores masks"
CONFIDENCE, SEARCH = "scores confidence", "scores search"
SPECIAL, KEEPS = "spearman_difference", "auc_kept"
TESTS = {
    "value_read": Test(reads("initial"), by_itself, SIDES, "value", INITIAL, "auc_level"),
    "value_sparse": Test(few_less_all("initial"), keeps_level, KEPT + SIDES, "value", INITIAL, KEEPS),
    "value_special": Test(few_less_random("initial"), by_itself, SIDES, "value", INITIAL, "auc_difference"),
    "value_final": Test(at_the_end, against_every_one, EVERY_ONE, "value", "scores value, position final", "auc_high"),
    "value_end": Test(end_above_start, by_itself, SIDES, "value", "scores value, both positions", "auc_difference"),
    "value_datasets": Test(grouped("dataset"), in_every_group(2), GROUPS, "value", INITIAL, KEEPS),
    "value_models": Test(grouped("model"), in_every_group(2), GROUPS, "value", INITIAL, KEEPS),
    "value_layers": Test(grouped("layer"), in_every_group(2), GROUPS, "value", INITIAL, KEEPS),
    "value_necessary": Test(harms, by_itself, SIDES, "masks", f"{MASKS}, selection value", "accuracy"),
    "value_random": Test(harms, against_every_one, EVERY_ONE, "masks", MASKS, "accuracy_random"),
    "value_specific": Test(harms, against_every_one, EVERY_ONE, "masks", MASKS, "opponents_one_at"),
    "value_distinct": Test(distinct, by_itself, SEEDS, "neurons", "neurons", "sets"),
    "td_final": Test(harms, against_every_one, EVERY_ONE, "masks", f"{MASKS}, selection value_final", "accuracy"),
    "transfer_datasets": Test(
        shared("data sets", "value"), by_itself, SEEDS, "overlap", "scores overlap, across data sets", "sets"
    ),
    "transfer_models": Test(
        shared("models", "value"), by_itself, SEEDS, "overlap", "scores overlap, across models", "sets"
    ),
    "dopamine_shared": Test(
        shared("data sets", "dopamine"), by_itself, SEEDS, "overlap", "scores overlap, kind dopamine", "sets"
    ),
    "dopamine_read": Test(reads(PARAGRAPH), by_itself, SIDES, "dopamine", "scores dopamine", "spearman_level"),
    "dopamine_sparse": Test(
        few_less_all(PARAGRAPH), keeps_level, KEPT + SIDES, "dopamine", "scores dopamine", "spearman_kept"
    ),
    "dopamine_special": Test(few_less_random(PARAGRAPH), by_itself, SIDES, "dopamine", "scores dopamine", SPECIAL),
    "dopamine_tracks": Test(tracks, in_every_group(1), TRACKING, "trajectories", "scores trajectories", SPECIAL),
    "confidence_printed": Test(
        predicts("value_neurons"), against_every_one, EVERY_ONE, "confidence", CONFIDENCE, "opponents_undefined"
    ),
    "confidence_honest": Test(
        predicts("value_neurons_cv"), against_every_one, EVERY_ONE, "confidence", CONFIDENCE, "opponents_undefined"
    ),
    "search": Test(solves_more, against_every_one, EVERY_ONE, "search", SEARCH, "opponents_one_at"),
    "search_tokens": Test(solves_more, against_every_one, EVERY_ONE, "search", SEARCH, "opponents_one_at"),
    "coupled": Test(coupled("correlation_apart"), against_every_one, EVERY_ONE, "ablated", "scores ablated", SPECIAL),
    "coupled_td": Test(
        coupled("spearman"), against_every_one, EVERY_ONE, "ablated", "scores ablated and trajectories", SPECIAL
    ),
}
"""How every claim is judged, by its key in `resources/published/claims.yaml`."""
