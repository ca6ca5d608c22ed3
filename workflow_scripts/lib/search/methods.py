"""The methods of a search (paper, Table 4): one row each, read by rules, plan, tables and report.

Imports nothing heavy, because rules read it at every start of Snakemake.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One way to answer a problem by search.

    `label`: its name in the report. `kind`: `guided` (chooses among candidate paragraphs by a score), `whole` (picks
    among whole responses that cost as much as `dopamine`), `alone` (one response). `needs`: the inputs that it scores
    with, named like those of rule `guide_search`; all of it enters the origin of a search.
    """

    label: str
    kind: str
    needs: tuple[str, ...] = ()


CATALOGUE = {
    "dopamine": Method("dopamine neurons", "guided", ("dopamine_probes",)),
    "implicit_prm": Method("implicit reward model", "guided", ("reference",)),
    "random": Method("random candidate", "guided"),
    "greedy": Method("greedy decoding", "alone"),
    "best_of_n": Method("best of n by value probe", "whole", ("value_probes",)),
    "majority": Method("majority of n", "whole"),
}
"""Every method, in the order of the tables, in which they are run: `whole` ones spend what `dopamine` has spent."""
METHODS = tuple(CATALOGUE)
GUIDE = "dopamine"
"""The method whose tokens the `whole` ones spend."""
LABELS = {name: method.label for name, method in CATALOGUE.items()}
GUIDED = tuple(name for name, method in CATALOGUE.items() if method.kind == "guided")
PROBES = tuple(
    dict.fromkeys(need for method in CATALOGUE.values() for need in method.needs if need.endswith("_probes"))
)
"""The probe files that methods score with."""


def needs_of(methods: Iterable[str]) -> set[str]:
    """Collect the inputs that some methods score with."""
    return {need for name in methods for need in CATALOGUE[name].needs}
