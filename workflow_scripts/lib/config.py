"""The configuration as a module sees it: `--params` is canonical JSON of the keys that its rule passes, nothing else.

Snakemake reruns a job when its parameters change, so a rule passes only what its module reads (`section()` in
`rules/common.smk`). A section may therefore arrive with some of its keys; reading a key that the rule did not pass is
an error here, never a silent default. Meaning and default of every key stand in `schemas/config.schema.yaml`.
"""

import json
from dataclasses import fields
from typing import Any, TypeVar

from workflow_scripts.lib.sections import (
    Activations,
    Confidence,
    Dataset,
    DopamineProbes,
    Grading,
    Interventions,
    NtpProbes,
    Pruning,
    Rollouts,
    Search,
    Section,
    Split,
    Trajectories,
    Transfer,
    ValueProbes,
    Values,
)

S = TypeVar("S", bound=Section)


def build(kind: type[S], values: dict[str, Any]) -> S:
    """An instance of `kind` that holds the given keys.

    Raises:
        KeyError: a key that `kind` does not have (a rule and its module disagree).
    """
    known = {field.name for field in fields(kind)}
    if unknown := set(values) - known:
        raise KeyError(f"{kind.__name__} has no key {', '.join(sorted(unknown))}")
    made = object.__new__(kind)
    for key, value in values.items():
        object.__setattr__(made, key, value)
    return made


class Params:
    """The parsed `--params`: one attribute per section, `raw` for the plain dictionaries."""

    def __init__(self, text: str) -> None:
        self.raw: dict[str, Any] = json.loads(text)

    @property
    def model(self) -> dict[str, Any]:
        """The entry of `models` with its name as `key` (`lib.models.ModelConfig` is built from it)."""
        return self.raw["model"]

    @property
    def dataset(self) -> Dataset:
        """The entry of `datasets` with its name as `key`."""
        return build(Dataset, self.raw["dataset"])

    @property
    def split(self) -> Split:
        """Section `split`."""
        return build(Split, self.raw["split"])

    @property
    def rollouts(self) -> Rollouts:
        """Section `rollouts`."""
        return build(Rollouts, self.raw["rollouts"])

    @property
    def grading(self) -> Grading:
        """Section `grading`."""
        return build(Grading, self.raw["grading"])

    @property
    def values(self) -> Values:
        """Section `values`."""
        return build(Values, self.raw["values"])

    @property
    def activations(self) -> Activations:
        """Section `activations`."""
        return build(Activations, self.raw["activations"])

    @property
    def value_probes(self) -> ValueProbes:
        """Section `value_probes`."""
        return build(ValueProbes, self.raw["value_probes"])

    @property
    def dopamine_probes(self) -> DopamineProbes:
        """Section `dopamine_probes`."""
        return build(DopamineProbes, self.raw["dopamine_probes"])

    @property
    def ntp_probes(self) -> NtpProbes:
        """Section `ntp_probes`."""
        return build(NtpProbes, self.raw["ntp_probes"])

    @property
    def interventions(self) -> Interventions:
        """Section `interventions`."""
        return build(Interventions, self.raw["interventions"])

    @property
    def transfer(self) -> Transfer:
        """Section `transfer`."""
        return build(Transfer, self.raw["transfer"])

    @property
    def confidence(self) -> Confidence:
        """Section `confidence`."""
        return build(Confidence, self.raw["confidence"])

    @property
    def search(self) -> Search:
        """Section `search`."""
        return build(Search, self.raw["search"])

    @property
    def trajectories(self) -> Trajectories:
        """Section `trajectories`."""
        return build(Trajectories, self.raw["trajectories"])

    @property
    def pruning(self) -> Pruning:
        """Section `pruning`."""
        return build(Pruning, self.raw["pruning"])

    @property
    def figures(self) -> dict[str, Any]:
        """Section `figures`: which runs and layers each figure draws."""
        return self.raw["figures"]


def load(text: str) -> Params:
    """Read the value of `--params`."""
    return Params(text)
