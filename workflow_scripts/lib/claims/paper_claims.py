"""Every claim of the paper: which number it is about, and how that number is judged.

Wording, margin, direction, and the layers and runs that the paper names are data (`resources/published/claims.yaml`).
Here stands, for each key, from which cells the number is averaged, and by which kind of test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from workflow_scripts.lib.claims.cells import Cell, average
from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.decide import Decision, against_all, decide, keeps, unmeasured
from workflow_scripts.lib.claims.groups import in_every
from workflow_scripts.lib.claims.neuron_cells import coupling, tracking, tracking_above_random
from workflow_scripts.lib.claims.outcome_cells import confidence, harm, search
from workflow_scripts.lib.claims.probe_cells import PARAGRAPH, above_random, end_less_start, kept, level
from workflow_scripts.lib.claims.scores import FULL, SPARSE, Scores
from workflow_scripts.lib.claims.sets import distinct, shared
from workflow_scripts.lib.statistics.estimands import (
    ACCURACY_DIFFERENCE,
    AUC,
    AUC_DIFFERENCE,
    MEAN,
    SPEARMAN,
    SPEARMAN_DIFFERENCE,
    Kind,
)
from workflow_scripts.lib.storage.identity import Run

Judge = Callable[[Scores, Claim], Decision]
ProbeCell = Callable[[Scores, str, Run, int], Cell | None]
Comparisons = Mapping[str, Sequence[Cell]]
"""The cells of each comparison that a claim makes, by the name of the opponent (empty where there is only one)."""
BARS = {"initial": 0.55, "final": 0.55, PARAGRAPH: 0.1}
"""Level below which there is nothing to keep: an AUC, or a Spearman correlation."""
ABOVE_RANDOM = 0.05
"""How much more single dopamine neurons must follow TD errors than random ones."""
ALONE = ""
"""The name of the only comparison."""


@dataclass(frozen=True)
class Test:
    """How a claim is judged: the function, the words, the table of scores that it reads and where."""

    judge: Judge
    words: str
    table: str
    """The table of scores."""
    source: str
    """Where in it."""
    family: str
    """The made-up worlds on which the test is calibrated (`FAMILIES` in `benchmarks/bench_verdicts.py`)."""


def layered(scores: Scores, claim: Claim, table: str, make: Callable[[Run, int], Cell | None]) -> list[Cell]:
    """Make a cell of each named run and layer of a table, where there is one."""
    found = scores.tables[table]
    at = [(run, layer) for run in found.runs(claim.runs) for layer in claim.named(found.layers(run))]
    return [cell for run, layer in at if (cell := make(run, layer)) is not None]


def probed(scores: Scores, claim: Claim, place: str, make: ProbeCell) -> list[Cell]:
    """Make the cells of a claim on probes at one place."""
    table = "dopamine" if place == PARAGRAPH else "value"
    return layered(scores, claim, table, lambda run, layer: make(scores, place, run, layer))


def judged(scores: Scores, claim: Claim, kind: Kind, comparisons: Comparisons) -> Decision:
    """Judge the comparisons of a claim: one number by itself, or against every opponent."""
    found = {name: average(kind, cells, scores.confidence) for name, cells in comparisons.items()}
    only = found.get(ALONE)
    if only is not None:
        return decide(only, claim.margin, claim.direction, claim.estimand)
    return against_all(found, claim.margin, claim.direction, claim.estimand)


def kinds(place: str) -> tuple[Kind, Kind]:
    """Return the kinds of a level at a place, and of a difference of levels."""
    return (SPEARMAN, SPEARMAN_DIFFERENCE) if place == PARAGRAPH else (AUC, AUC_DIFFERENCE)


def reads(place: str) -> Judge:
    """Make a test whether probes with all inputs do better than chance, by the margin."""

    def judge(scores: Scores, claim: Claim) -> Decision:
        return judged(scores, claim, kinds(place)[0], {ALONE: probed(scores, claim, place, level)})

    return judge


def is_sparse(place: str) -> Judge:
    """Make a test whether probes keep their level with one percent of the inputs."""

    def judge(scores: Scores, claim: Claim) -> Decision:
        made = zip(kinds(place), (level, kept), strict=True)
        whole, lost = (average(kind, probed(scores, claim, place, make), scores.confidence) for kind, make in made)
        if whole is None or lost is None:
            return unmeasured(claim.margin, claim.estimand)
        return keeps(lost, whole, claim.margin, BARS[place], claim.estimand)

    return judge


def is_special(place: str) -> Judge:
    """Make a test whether the most important inputs do better than as many random ones."""

    def judge(scores: Scores, claim: Claim) -> Decision:
        return judged(scores, claim, kinds(place)[1], {ALONE: probed(scores, claim, place, above_random)})

    return judge


def final_level(scores: Scores, claim: Claim) -> Decision:
    """Judge the level at the last response token, with all inputs and with one percent of them."""

    def at(ratio: float) -> list[Cell]:
        return layered(scores, claim, "value", lambda run, layer: level(scores, "final", run, layer, ratio))

    return judged(scores, claim, AUC, {"all inputs": at(FULL), "one percent of the inputs": at(SPARSE)})


def end_above_start(scores: Scores, claim: Claim) -> Decision:
    """Judge how much better the last state predicts than the first, with all inputs, on the same responses."""
    cells = layered(scores, claim, "value", lambda run, layer: end_less_start(scores, run, layer))
    return judged(scores, claim, AUC_DIFFERENCE, {ALONE: cells})


def found_in_every(by: str) -> Judge:
    """Make a test whether sparse value neurons are found in each of at least two groups: data sets, models, layers."""

    def judge(scores: Scores, claim: Claim) -> Decision:
        levels, gaps = (
            {
                name: average(kind, cells, scores.confidence)
                for name, cells in grouped(by, probed(scores, claim, "initial", make)).items()
            }
            for kind, make in zip(kinds("initial"), (level, kept), strict=True)
        )
        groups = {name: (found, gaps.get(name)) for name, found in levels.items()}
        return in_every(groups, BARS["initial"], claim.margin, claim.estimand)

    return judge


def grouped(by: str, cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Group cells by data set, model or layer."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        name = {"model": cell.run[0], "dataset": cell.run[1], "layer": f"layer {cell.layer}"}[by]
        groups.setdefault(name, []).append(cell)
    return groups


def harms(scores: Scores, claim: Claim) -> Decision:
    """Judge what ablating the value neurons does to accuracy, by itself or compared with other neurons."""

    def cells(against: str | None) -> list[Cell]:
        return layered(scores, claim, "masks", lambda run, layer: harm(scores, run, layer, against))

    comparisons = {name: cells(name) for name in claim.against} or {ALONE: cells(None)}
    return judged(scores, claim, ACCURACY_DIFFERENCE, comparisons)


def tracks(scores: Scores, claim: Claim) -> Decision:
    """Judge whether single dopamine neurons follow TD errors, and more than other neurons do."""
    made = ((SPEARMAN, tracking), (SPEARMAN_DIFFERENCE, tracking_above_random))
    level, gap = (
        average(kind, layered(scores, claim, "trajectories", partial(make, scores)), scores.confidence)
        for kind, make in made
    )
    return in_every({"single neurons": (level, gap)}, claim.margin, ABOVE_RANDOM, claim.estimand, fewest=1)


def predicts(method: str) -> Judge:
    """Make a test whether a way to read value neurons predicts success better than every baseline.

    A run where one baseline is undefined stays in the comparison with the others.
    """

    def judge(scores: Scores, claim: Claim) -> Decision:
        runs = scores.tables["confidence"].runs(claim.runs)
        comparisons = {
            name: [cell for run in runs if (cell := confidence(scores, run, method, name)) is not None]
            for name in claim.against
        }
        found = judged(scores, claim, AUC_DIFFERENCE, comparisons)
        partly = [f"{name}: {len(cells)} of {len(runs)} runs" for name, cells in comparisons.items()]
        partly = [words for words, cells in zip(partly, comparisons.values(), strict=True) if len(cells) < len(runs)]
        return replace(found, evidence="; ".join([found.evidence.removesuffix("."), *partly]))

    return judge


def solves_more(scores: Scores, claim: Claim) -> Decision:
    """Judge whether search by dopamine neurons solves more problems than every other method."""
    runs = scores.tables["search"].runs(claim.runs)
    comparisons = {
        name: [cell for run in runs if (cell := search(scores, run, name)) is not None] for name in claim.against
    }
    return judged(scores, claim, ACCURACY_DIFFERENCE, comparisons)


def coupled(measure: str) -> Judge:
    """Make a test whether ablating value neurons changes later dopamine neurons more than ablating random ones."""

    def judge(scores: Scores, claim: Claim) -> Decision:
        def cells(against: str) -> list[Cell]:
            return layered(scores, claim, "ablated", lambda run, layer: coupling(scores, run, layer, measure, against))

        kind = SPEARMAN_DIFFERENCE if measure == "spearman" else MEAN
        return judged(scores, claim, kind, {name: cells(name) for name in claim.against})

    return judge


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
TESTS = {
    "value_read": Test(reads("initial"), SIDES, "value", "scores value, position initial", "auc_level"),
    "value_sparse": Test(is_sparse("initial"), KEPT + SIDES, "value", "scores value, position initial", "auc_kept"),
    "value_special": Test(is_special("initial"), SIDES, "value", "scores value, position initial", "auc_difference"),
    "value_final": Test(final_level, EVERY_ONE, "value", "scores value, position final", "auc_high"),
    "value_end": Test(end_above_start, SIDES, "value", "scores value, both positions", "auc_difference"),
    "value_datasets": Test(found_in_every("dataset"), GROUPS, "value", "scores value, position initial", "auc_kept"),
    "value_models": Test(found_in_every("model"), GROUPS, "value", "scores value, position initial", "auc_kept"),
    "value_layers": Test(found_in_every("layer"), GROUPS, "value", "scores value, position initial", "auc_kept"),
    "value_necessary": Test(harms, SIDES, "masks", "scores masks, selection value", "accuracy"),
    "value_random": Test(harms, EVERY_ONE, "masks", "scores masks", "accuracy_random"),
    "value_specific": Test(harms, EVERY_ONE, "masks", "scores masks", "opponents_one_at"),
    "value_distinct": Test(distinct, SEEDS, "neurons", "neurons", "sets"),
    "td_final": Test(harms, EVERY_ONE, "masks", "scores masks, selection value_final", "accuracy"),
    "transfer_datasets": Test(
        shared("data sets", "value"), SEEDS, "overlap", "scores overlap, across data sets", "sets"
    ),
    "transfer_models": Test(shared("models", "value"), SEEDS, "overlap", "scores overlap, across models", "sets"),
    "dopamine_shared": Test(shared("data sets", "dopamine"), SEEDS, "overlap", "scores overlap, kind dopamine", "sets"),
    "dopamine_read": Test(reads(PARAGRAPH), SIDES, "dopamine", "scores dopamine", "spearman_level"),
    "dopamine_sparse": Test(is_sparse(PARAGRAPH), KEPT + SIDES, "dopamine", "scores dopamine", "spearman_kept"),
    "dopamine_special": Test(is_special(PARAGRAPH), SIDES, "dopamine", "scores dopamine", "spearman_difference"),
    "dopamine_tracks": Test(tracks, TRACKING, "trajectories", "scores trajectories", "spearman_difference"),
    "confidence_printed": Test(
        predicts("value_neurons"), EVERY_ONE, "confidence", "scores confidence", "opponents_undefined"
    ),
    "confidence_honest": Test(
        predicts("value_neurons_cv"), EVERY_ONE, "confidence", "scores confidence", "opponents_undefined"
    ),
    "search": Test(solves_more, EVERY_ONE, "search", "scores search", "opponents_one_at"),
    "search_tokens": Test(solves_more, EVERY_ONE, "search", "scores search", "opponents_one_at"),
    "coupled": Test(coupled("correlation_apart"), EVERY_ONE, "ablated", "scores ablated", "spearman_difference"),
    "coupled_td": Test(
        coupled("spearman"), EVERY_ONE, "ablated", "scores ablated and trajectories", "spearman_difference"
    ),
}
"""How every claim is judged, by its key in `resources/published/claims.yaml`."""
