"""Every claim of the paper: which number it is about, and how that number is judged.

Wording, margin, direction, and the layers and runs that the paper names are data (`resources/published/claims.yaml`).
Here stands, for each key, from which cells the number is averaged, and by which kind of test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workflow_scripts.lib.claims.cells import Cell, average
from workflow_scripts.lib.claims.decide import ABOVE, Decision, against_all, decide, keeps
from workflow_scripts.lib.claims.evidence import PARAGRAPH, Evidence
from workflow_scripts.lib.claims.groups import in_every
from workflow_scripts.lib.claims.scores import FULL, SPARSE, runs_of
from workflow_scripts.lib.claims.sets import distinct, shared
from workflow_scripts.lib.statistics.estimands import (
    ACCURACY_DIFFERENCE,
    AUC,
    AUC_DIFFERENCE,
    SPEARMAN,
    SPEARMAN_DIFFERENCE,
    Interval,
    Kind,
)
from workflow_scripts.lib.storage.identity import Run

Comparisons = Mapping[str, Sequence[Cell]]
"""The cells of each comparison that a claim makes, by the name of the opponent (empty where there is only one)."""
BARS = {"initial": 0.55, "final": 0.55, PARAGRAPH: 0.1}
"""Level below which there is nothing to keep: an AUC, or a Spearman correlation."""
ALONE = ""


@dataclass(frozen=True)
class Claim:
    """One entry of `resources/published/claims.yaml`.

    `margin`: fixed, in the units of the estimand; `direction`: on which side of it the paper puts the estimand.
    `layers`, `runs`: those that the paper names (all where it names none, or where a study has none of them);
    `against`: the opponents.
    """

    key: str
    claim: str
    place: str
    printed: str
    estimand: str
    margin: float
    direction: str = ABOVE
    layers: Sequence[int] | None = None
    runs: Sequence[str] | None = None
    against: Sequence[str] = ()

    def named(self, layers: Sequence[int]) -> list[int]:
        """Return those of the layers that the claim is about."""
        return [layer for layer in layers if self.layers is None or layer in self.layers]


@dataclass(frozen=True)
class Test:
    """How a claim is judged: the function, the words, and the table of scores that it reads."""

    judge: Callable[[Evidence, Claim], Decision]
    words: str
    source: str
    family: str
    """The family of estimands on whose simulated worlds the test is calibrated (`benchmarks/bench_verdicts.py`)."""


def probe_cells(
    evidence: Evidence, claim: Claim, place: str, make: Callable[[Run, int], Cell | None]
) -> list[Cell]:
    """Make the cells of a claim on probes: the named runs and layers."""
    table = "dopamine" if place == PARAGRAPH else "value"
    return layered(evidence, claim, table, make)


def layered(evidence: Evidence, claim: Claim, table: str, make: Callable[[Run, int], Cell | None]) -> list[Cell]:
    """Make a cell of each named run and layer of a table, where there is one."""
    runs = runs_of(getattr(evidence.scores, table), claim.runs)
    made = [make(run, layer) for run in runs for layer in claim.named(evidence.layers(table, run))]
    return [cell for cell in made if cell is not None]


def kept(evidence: Evidence, place: str, run: Run, layer: int) -> Cell | None:
    """Return the level with the sparse inputs less that with all of them."""
    sparse, full = evidence.probe(place, run, layer, SPARSE), evidence.probe(place, run, layer)
    return None if sparse is None or full is None else sparse.less(full)


def judged(evidence: Evidence, claim: Claim, kind: Kind, comparisons: Comparisons) -> Decision:
    """Judge the comparisons of a claim; against several opponents, all of them."""
    found = {name: average(kind, cells, evidence.how.confidence) for name, cells in comparisons.items()}
    if list(found) == [ALONE]:
        return alone(found[ALONE], claim)
    return against_all(found, claim.margin, claim.direction, claim.estimand)


def alone(found: Interval | None, claim: Claim) -> Decision:
    """Judge the only number of a claim."""
    if found is None:
        return against_all({}, claim.margin, claim.direction, claim.estimand)
    return decide(found, claim.margin, claim.direction, claim.estimand)


def reads(place: str) -> Callable[[Evidence, Claim], Decision]:
    """Make a test whether probes with all inputs do better than chance, by the margin."""

    def judge(evidence: Evidence, claim: Claim) -> Decision:
        cells = probe_cells(evidence, claim, place, lambda run, layer: evidence.probe(place, run, layer))
        return judged(evidence, claim, SPEARMAN if place == PARAGRAPH else AUC, {ALONE: cells})

    return judge


def is_sparse(place: str) -> Callable[[Evidence, Claim], Decision]:
    """Make a test whether probes keep their level with one percent of the inputs."""

    def judge(evidence: Evidence, claim: Claim) -> Decision:
        level, difference = kinds(place)
        full = probe_cells(evidence, claim, place, lambda run, layer: evidence.probe(place, run, layer))
        gaps = probe_cells(evidence, claim, place, lambda run, layer: kept(evidence, place, run, layer))
        lost, whole = (average(k, cells, evidence.how.confidence) for k, cells in ((difference, gaps), (level, full)))
        if lost is None or whole is None:
            return alone(None, claim)
        return keeps(lost, whole, claim.margin, BARS[place], claim.estimand)

    return judge


def kinds(place: str) -> tuple[Kind, Kind]:
    """Return the kinds of a level at a place, and of a difference of levels."""
    return (SPEARMAN, SPEARMAN_DIFFERENCE) if place == PARAGRAPH else (AUC, AUC_DIFFERENCE)


def is_special(place: str) -> Callable[[Evidence, Claim], Decision]:
    """Make a test whether the most important inputs do better than as many random ones."""

    def judge(evidence: Evidence, claim: Claim) -> Decision:
        cells = probe_cells(
            evidence, claim, place, lambda run, layer: evidence.probe_above_random(place, run, layer, SPARSE)
        )
        return judged(evidence, claim, kinds(place)[1], {ALONE: cells})

    return judge


def final_level(evidence: Evidence, claim: Claim) -> Decision:
    """Judge the level at the last response token, with all inputs and with the sparse ones."""
    comparisons = {
        name: probe_cells(
            evidence, claim, "final", lambda run, layer, ratio=ratio: evidence.probe("final", run, layer, ratio)
        )
        for name, ratio in (("all inputs", FULL), ("one percent of the inputs", SPARSE))
    }
    return judged(evidence, claim, AUC, comparisons)


def end_above_start(evidence: Evidence, claim: Claim) -> Decision:
    """Judge how much better the last state predicts than the first, with all inputs, on the same responses."""

    def gap(run: Run, layer: int) -> Cell | None:
        final, initial = (evidence.probe(place, run, layer) for place in ("final", "initial"))
        return None if final is None or initial is None else final.less(initial)

    return judged(evidence, claim, AUC_DIFFERENCE, {ALONE: probe_cells(evidence, claim, "final", gap)})


def found_in_every(by: str) -> Callable[[Evidence, Claim], Decision]:
    """Make a test whether sparse value neurons are found in each of at least two groups: data sets, models, layers."""

    def judge(evidence: Evidence, claim: Claim) -> Decision:
        levels = grouped(by, probe_cells(evidence, claim, "initial", lambda *at: evidence.probe("initial", *at)))
        gaps = grouped(by, probe_cells(evidence, claim, "initial", lambda *at: kept(evidence, "initial", *at)))
        confidence = evidence.how.confidence
        groups = {
            name: (average(AUC, cells, confidence), average(AUC_DIFFERENCE, gaps.get(name, []), confidence))
            for name, cells in levels.items()
        }
        return in_every(groups, BARS["initial"], claim.margin, claim.estimand)

    return judge


def grouped(by: str, cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Group cells by data set, model or layer."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        name = {"model": cell.run[0], "dataset": cell.run[1], "layer": f"layer {cell.layer}"}[by]
        groups.setdefault(name, []).append(cell)
    return groups


def harm(evidence: Evidence, claim: Claim) -> Decision:
    """Judge what ablating the value neurons does to accuracy, by itself or compared with other neurons."""

    def cells(against: str | None) -> list[Cell]:
        return layered(evidence, claim, "masks", lambda run, layer: evidence.harm(run, layer, against))

    comparisons = {name: cells(name) for name in claim.against} or {ALONE: cells(None)}
    return judged(evidence, claim, ACCURACY_DIFFERENCE, comparisons)


def tracks(evidence: Evidence, claim: Claim) -> Decision:
    """Judge whether single dopamine neurons follow TD errors, and more than other neurons do."""

    def found(kind: Kind, less_random: bool) -> Interval | None:
        cells = layered(
            evidence, claim, "trajectories", lambda run, layer: evidence.tracking(run, layer, less_random)
        )
        return average(kind, cells, evidence.how.confidence)

    level, gap = found(SPEARMAN, False), found(SPEARMAN_DIFFERENCE, True)
    return in_every({"single neurons": (level, gap)}, claim.margin, 0.05, claim.estimand, fewest=1)


def predicts(method: str) -> Callable[[Evidence, Claim], Decision]:
    """Make a test whether a way to read value neurons predicts success better than every baseline."""

    def judge(evidence: Evidence, claim: Claim) -> Decision:
        runs = runs_of(evidence.scores.confidence, claim.runs)
        comparisons = {
            name: [cell for run in runs if (cell := evidence.confidence(run, method, name)) is not None]
            for name in claim.against
        }
        found = judged(evidence, claim, AUC_DIFFERENCE, comparisons)
        partly = [f"{name} in {len(cells)} of {len(runs)} runs" for name, cells in comparisons.items()]
        partly = [words for words, cells in zip(partly, comparisons.values(), strict=True) if len(cells) < len(runs)]
        note = f"; defined for {', '.join(partly)}" if partly and runs else ""
        return replace(found, evidence=f"{found.evidence}{note}")

    return judge


def searched(evidence: Evidence, claim: Claim) -> Decision:
    """Judge whether search by dopamine neurons solves more problems than every other method."""
    runs = runs_of(evidence.scores.search, claim.runs)
    comparisons = {
        name: [cell for run in runs if (cell := evidence.search(run, name)) is not None] for name in claim.against
    }
    return judged(evidence, claim, ACCURACY_DIFFERENCE, comparisons)


def coupled(measure: str) -> Callable[[Evidence, Claim], Decision]:
    """Make a test whether ablating value neurons changes later dopamine neurons more than ablating random ones."""

    def judge(evidence: Evidence, claim: Claim) -> Decision:
        comparisons = {
            name: layered(
                evidence, claim, "ablated", lambda run, layer, name=name: evidence.coupling(run, layer, measure, name)
            )
            for name in claim.against
        }
        return judged(evidence, claim, SPEARMAN_DIFFERENCE, comparisons)

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
SEEDS = (
    "Pairs of independently trained probes; the interval leaves out one seed at a time (jackknife). " + SIDES
)
TRACKING = (
    "Two numbers: the mean correlation of single dopamine neurons with TD errors, and the same less that of each random "
    "neuron, with a margin of 0.05. " + EVERY_ONE
)
TESTS = {
    "value_read": Test(reads("initial"), SIDES, "scores value, position initial", "level"),
    "value_sparse": Test(is_sparse("initial"), KEPT + SIDES, "scores value, position initial", "kept level"),
    "value_special": Test(is_special("initial"), SIDES, "scores value, position initial", "paired AUC"),
    "value_final": Test(final_level, EVERY_ONE, "scores value, position final", "level"),
    "value_end": Test(end_above_start, SIDES, "scores value, both positions", "paired AUC"),
    "value_datasets": Test(found_in_every("dataset"), GROUPS, "scores value, position initial", "kept level"),
    "value_models": Test(found_in_every("model"), GROUPS, "scores value, position initial", "kept level"),
    "value_layers": Test(found_in_every("layer"), GROUPS, "scores value, position initial", "kept level"),
    "value_necessary": Test(harm, SIDES, "scores masks, selection value", "paired accuracy"),
    "value_random": Test(harm, EVERY_ONE, "scores masks", "several opponents"),
    "value_specific": Test(harm, EVERY_ONE, "scores masks", "several opponents"),
    "value_distinct": Test(distinct, SEEDS, "neurons", "sets"),
    "td_final": Test(harm, EVERY_ONE, "scores masks, selection value_final", "paired accuracy"),
    "transfer_datasets": Test(shared("data sets", "value"), SEEDS, "scores overlap, across data sets", "sets"),
    "transfer_models": Test(shared("models", "value"), SEEDS, "scores overlap, across models", "sets"),
    "dopamine_shared": Test(shared("data sets", "dopamine"), SEEDS, "scores overlap, kind dopamine", "sets"),
    "dopamine_read": Test(reads(PARAGRAPH), SIDES, "scores dopamine", "Spearman"),
    "dopamine_sparse": Test(is_sparse(PARAGRAPH), KEPT + SIDES, "scores dopamine", "Spearman difference"),
    "dopamine_special": Test(is_special(PARAGRAPH), SIDES, "scores dopamine", "Spearman difference"),
    "dopamine_tracks": Test(tracks, TRACKING, "scores trajectories", "Spearman difference"),
    "confidence_printed": Test(predicts("value_neurons"), EVERY_ONE, "scores confidence", "several opponents"),
    "confidence_honest": Test(predicts("value_neurons_cv"), EVERY_ONE, "scores confidence", "several opponents"),
    "search": Test(searched, EVERY_ONE, "scores search", "several opponents"),
    "search_tokens": Test(searched, EVERY_ONE, "scores search", "several opponents"),
    "coupled": Test(coupled("correlation_apart"), EVERY_ONE, "scores ablated", "Spearman difference"),
    "coupled_td": Test(coupled("spearman"), EVERY_ONE, "scores ablated and trajectories", "Spearman difference"),
}
"""How every claim is judged, by its key in `resources/published/claims.yaml`."""


def claim_of(entry: Mapping[str, Any]) -> Claim:
    """Build a claim from its entry."""
    return Claim(**entry)
