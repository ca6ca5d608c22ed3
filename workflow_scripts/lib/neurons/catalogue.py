"""The selections of neurons and the modes of intervention: one row each, read by rules, plan, tables and report.

Imports nothing heavy, because rules read it at every start of Snakemake.
"""

from collections.abc import Iterable
from dataclasses import dataclass

UNMASKED = "none"
"""The name under which tables list the run without an intervention."""


@dataclass(frozen=True)
class Selection:
    """One way to select neurons.

    `label`: its name in tables and figures. `needs`: the files that it is made from, named like the options of
    `select_neurons`. `drawn`: at random, so that each draw is another set. `measure`: the measure that it ranks by.
    `from_weights`: that measure is of the output projection of the block's MLP, which not every architecture has.
    """

    label: str
    needs: tuple[str, ...]
    drawn: bool = False
    measure: str | None = None
    from_weights: bool = False


CATALOGUE = {
    "value": Selection("value neurons", ("value_probes",)),
    "value_final": Selection("value neurons (final state)", ("final_probes",)),
    "random": Selection("random neurons", ("measures",), drawn=True),
    "random_matched": Selection("matched random neurons", ("value_probes", "measures"), drawn=True),
    "random_sink_free": Selection("sink-free random neurons", ("measures",), drawn=True),
    "ntp": Selection("NTP neurons", ("ntp_probes",)),
    "magnitude": Selection("neurons by magnitude", ("measures",), measure="magnitude", from_weights=True),
    "wanda": Selection("neurons by Wanda", ("measures",), measure="wanda", from_weights=True),
}
"""Every selection, in the order of the tables; `random` needs the measures to know how many neurons there are."""
FILES = tuple(dict.fromkeys(name for selection in CATALOGUE.values() for name in selection.needs))
"""The files that selections are made from."""
SELECTIONS = {UNMASKED: "no neuron", **{name: selection.label for name, selection in CATALOGUE.items()}}
"""The label of every selection and of the unmasked run, in the order of the tables."""
MODES = {"zero": "set to zero (ablated)", "mean": "set to their mean", "scale": "scaled"}
"""The modes of intervention and their names in tables and figures."""


def is_random(selection: str) -> bool:
    """Say whether the sets of a selection are drawn at random."""
    return selection in CATALOGUE and CATALOGUE[selection].drawn


def users_of(file: str, selections: Iterable[str] = CATALOGUE) -> list[str]:
    """List those of the selections that are made from a file."""
    return [name for name in selections if file in CATALOGUE[name].needs]
