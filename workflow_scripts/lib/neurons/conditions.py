"""The conditions under which neurons are intervened on: one list, for selecting, masking, tables and plans.

A kind of condition is a selection at a share under a mode; a random selection has it once for each draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from workflow_scripts.lib.config.sections import Interventions
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.neurons.catalogue import is_random


@dataclass(frozen=True)
class Kind:
    """A selection of a share of the neurons and the mode of intervention; `factor` is 0 unless they are scaled."""

    selection: str
    share: float
    mode: str
    factor: float = 0.0


@dataclass(frozen=True)
class Condition:
    """One set of neurons of a layer and the intervention on it."""

    layer: int
    selection: str
    draw: int
    share: float
    mode: str
    factor: float


def table_kinds(study: Interventions) -> list[Kind]:
    """List the kinds of conditions of Tables 2 and 5."""
    return [Kind(selection, float(study.share), study.mode) for selection in study.selections]


def dose_kinds(study: Interventions) -> list[Kind]:
    """List the kinds of conditions of the dose-response, including those of the tables that are doses as well."""
    shares = [*study.dose_shares, *([study.share] if study.mode == "zero" else [])]
    kinds = []
    for selection in study.dose_selections:
        kinds += [Kind(selection, float(share), "zero") for share in shares]
        kinds += [Kind(selection, float(study.dose_factor_share), "scale", float(f)) for f in study.dose_factors]
    return list(dict.fromkeys(kinds))


def kinds_of(study: Interventions, layer: int) -> list[Kind]:
    """List every kind of condition of a layer, each once: those of the tables, then the doses that are new."""
    doses = dose_kinds(study) if layer in study.dose_layers else []
    return list(dict.fromkeys([*table_kinds(study), *doses]))


def shares_of(study: Interventions, layer: int, selection: str) -> list[float]:
    """List the shares at which a selection is made at a layer, each once, whatever is then done to the neurons.

    Mode and factors play no part, so that another factor selects no neurons again.
    """
    shares = [study.share]
    if layer in study.dose_layers and selection in study.dose_selections:
        shares += [*study.dose_shares, study.dose_factor_share]
    return list(dict.fromkeys(map(float, shares)))


def n_draws(study: Interventions, selection: str) -> int:
    """Count the sets of neurons of a selection."""
    return study.draws if is_random(selection) else 1


def n_conditions(study: Interventions, layer: int) -> int:
    """Count the conditions of a layer, draws included."""
    return sum(n_draws(study, kind.selection) for kind in kinds_of(study, layer))


def conditions(neurons: pl.DataFrame, layer: int, study: Interventions) -> dict[Condition, list[int]]:
    """Give every condition of a layer its neurons, from the table that `select_neurons` writes.

    Raises:
        UserError: the table lacks the neurons of a condition.
    """
    sets: dict[tuple[str, float], list[tuple[int, list[int]]]] = {}
    rows = neurons.filter(pl.col("layer") == layer).select("selection", "share", "draw", "neurons")
    for selection, share, draw, chosen in rows.iter_rows():
        sets.setdefault((selection, share), []).append((draw, chosen))
    by_condition: dict[Condition, list[int]] = {}
    for kind in kinds_of(study, layer):
        if (kind.selection, kind.share) not in sets:
            where = f"layer {layer}, {kind.selection}, share {kind.share}"
            raise UserError(f"neurons: none for {where}; delete the table and run again")
        for draw, chosen in sets[kind.selection, kind.share]:
            by_condition[Condition(layer, kind.selection, draw, kind.share, kind.mode, kind.factor)] = chosen
    return by_condition


def kind_table(layers: Sequence[int], kinds: Sequence[Kind]) -> pl.DataFrame:
    """Tabulate kinds at layers: layer, selection, share, mode, factor."""
    rows = [(layer, kind.selection, kind.share, kind.mode, kind.factor) for layer in layers for kind in kinds]
    types = {"layer": pl.Int64, "selection": pl.String, "share": pl.Float64, "mode": pl.String, "factor": pl.Float64}
    return pl.DataFrame(rows, schema=types, orient="row")


def condition_words(layer: int, selection: str, draw: int, share: float, mode: str, factor: float) -> str:
    """Name one condition in a message: `layer 2, random draw 1, share 0.01, zero`."""
    drawn = f" draw {draw}" if is_random(selection) else ""
    by = f" by {factor:g}" if mode == "scale" else ""
    return f"layer {layer}, {selection}{drawn}, share {share:g}, {mode}{by}"
