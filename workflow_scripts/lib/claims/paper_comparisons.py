"""What each claim of the paper compares: from which cells a number is averaged, against which others."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.comparison import ALONE, Comparisons, OfCells
from workflow_scripts.lib.claims.groups import DIFFERENCE, LEVEL, part_of
from workflow_scripts.lib.claims.neuron_cells import coupling, tracking, tracking_above_random
from workflow_scripts.lib.claims.outcome_cells import confidence, harm, search
from workflow_scripts.lib.claims.probe_cells import PARAGRAPH, above_random, end_less_start, kept, level
from workflow_scripts.lib.claims.scores import FULL, SPARSE, Scores
from workflow_scripts.lib.statistics.cells import Cell
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

Compare = Callable[[Scores, Claim], Comparisons]
ProbeCell = Callable[[Scores, str, Run, int], Cell | None]


def layered(scores: Scores, claim: Claim, table: str, make: Callable[[Run, int], Cell | None]) -> list[Cell]:
    """Make a cell of each named run and layer of a table, where there is one."""
    found = scores.tables[table]
    at = [(run, layer) for run in found.runs(claim.runs) for layer in claim.named(found.layers(run))]
    return [cell for run, layer in at if (cell := make(run, layer)) is not None]


def probed(scores: Scores, claim: Claim, place: str, make: ProbeCell) -> list[Cell]:
    """Make the cells of a claim on probes at one place."""
    table = "dopamine" if place == PARAGRAPH else "value"
    return layered(scores, claim, table, lambda run, layer: make(scores, place, run, layer))


def bar(claim: Claim) -> float:
    """Return the level that a claim on a difference asks for."""
    assert claim.bar is not None, f"{claim.key}: has no bar"
    return claim.bar


def kinds(place: str) -> tuple[Kind, Kind]:
    """Return the kinds of a level at a place, and of a difference of levels."""
    return (SPEARMAN, SPEARMAN_DIFFERENCE) if place == PARAGRAPH else (AUC, AUC_DIFFERENCE)


def reads(place: str) -> Compare:
    """Measure how well probes with all inputs predict."""
    return lambda scores, claim: {ALONE: OfCells(kinds(place)[0], probed(scores, claim, place, level), claim.margin)}


def few_less_all(place: str) -> Compare:
    """Measure the level with all inputs, and what of it is lost with one percent of them."""

    def compare(scores: Scores, claim: Claim) -> Comparisons:
        of_level, of_difference = kinds(place)
        return {
            LEVEL: OfCells(of_level, probed(scores, claim, place, level), bar(claim)),
            DIFFERENCE: OfCells(of_difference, probed(scores, claim, place, kept), claim.margin),
        }

    return compare


def few_less_random(place: str) -> Compare:
    """Measure how much better the most important inputs do than as many random ones."""
    return lambda scores, claim: {
        ALONE: OfCells(kinds(place)[1], probed(scores, claim, place, above_random), claim.margin)
    }


def at_the_end(scores: Scores, claim: Claim) -> Comparisons:
    """Measure the level at the last response token, with all inputs and with one percent of them."""

    def at(ratio: float) -> OfCells:
        cells = layered(scores, claim, "value", lambda run, layer: level(scores, "final", run, layer, ratio))
        return OfCells(AUC, cells, claim.margin)

    return {"all inputs": at(FULL), "one percent of the inputs": at(SPARSE)}


def end_above_start(scores: Scores, claim: Claim) -> Comparisons:
    """Measure how much better the last state predicts than the first, with all inputs, on the same responses."""
    cells = layered(scores, claim, "value", lambda run, layer: end_less_start(scores, run, layer))
    return {ALONE: OfCells(AUC_DIFFERENCE, cells, claim.margin)}


def grouped(by: str) -> Compare:
    """Measure level and loss in every group by itself: data sets, models or layers."""

    def compare(scores: Scores, claim: Claim) -> Comparisons:
        both = few_less_all("initial")(scores, claim)
        return {
            part_of(group, part): replace(one, cells=cells)
            for part, one in both.items()
            if isinstance(one, OfCells)
            for group, cells in groups(by, one.cells).items()
        }

    return compare


def groups(by: str, cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Group cells by data set, model or layer."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        name = {"model": cell.run[0], "dataset": cell.run[1], "layer": f"layer {cell.layer}"}[by]
        found.setdefault(name, []).append(cell)
    return found


def harms(scores: Scores, claim: Claim) -> Comparisons:
    """Measure what ablating the value neurons does to accuracy, by itself or compared with other neurons."""

    def cells(against: str | None) -> OfCells:
        found = layered(scores, claim, "masks", lambda run, layer: harm(scores, run, layer, against))
        return OfCells(ACCURACY_DIFFERENCE, found, claim.margin)

    return {name: cells(name) for name in claim.against} or {ALONE: cells(None)}


def tracks(scores: Scores, claim: Claim) -> Comparisons:
    """Measure how single dopamine neurons follow TD errors, and how much more than other neurons do."""
    made = (
        (LEVEL, SPEARMAN, tracking, bar(claim)),
        (DIFFERENCE, SPEARMAN_DIFFERENCE, tracking_above_random, claim.margin),
    )
    return {
        part_of("single neurons", part): OfCells(
            kind, layered(scores, claim, "trajectories", partial(make, scores)), margin
        )
        for part, kind, make, margin in made
    }


def of_runs(table: str, kind: Kind, make: Callable[[Scores, Run, str], Cell | None]) -> Compare:
    """Compare with every opponent, in each run where it is defined.

    A run where one opponent is undefined stays in the comparison with the others.
    """

    def compare(scores: Scores, claim: Claim) -> Comparisons:
        runs = scores.tables[table].runs(claim.runs)
        return {
            name: OfCells(kind, [cell for run in runs if (cell := make(scores, run, name)) is not None], claim.margin)
            for name in claim.against
        }

    return compare


def predicts(method: str) -> Compare:
    """Measure how much better a way to read value neurons predicts success than every baseline."""
    return of_runs("confidence", AUC_DIFFERENCE, lambda scores, run, name: confidence(scores, run, method, name))


solves_more = of_runs("search", ACCURACY_DIFFERENCE, search)
"""Measure how many more problems search by dopamine neurons solves than every other method."""


def coupled(measure: str) -> Compare:
    """Measure how much more later dopamine neurons change with value neurons ablated than with random ones."""

    def compare(scores: Scores, claim: Claim) -> Comparisons:
        kind = SPEARMAN_DIFFERENCE if measure == "spearman" else MEAN

        def cells(against: str) -> list[Cell]:
            return layered(scores, claim, "ablated", lambda run, layer: coupling(scores, run, layer, measure, against))

        return {name: OfCells(kind, cells(name), claim.margin) for name in claim.against}

    return compare
