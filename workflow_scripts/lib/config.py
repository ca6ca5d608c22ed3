"""The configuration as a module sees it: `--params` is canonical JSON of the keys that its rule passes, nothing else.

Snakemake reruns a job when its parameters change, so a rule passes only what its module reads (`section()` in
`rules/common.smk`). A section may therefore arrive with some of its keys; reading a key that the rule did not pass is
an error here, never a silent default. Meaning and default of every key stand in `schemas/config.schema.yaml`.
"""

import json
from dataclasses import dataclass, fields
from typing import Any, TypeVar


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Section:
    """A section of which only the keys that were passed can be read."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"key {name} of {type(self).__name__} is not among the parameters that the rule passes")


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Dataset(Section):
    """One entry of `datasets`; `key` is its name there."""

    key: str
    source: str
    task: str | None
    path: str | None
    url: str | None
    sha256: str | None
    revision: str | None
    subset: str | None
    part: str
    fields: dict[str, Any]
    gold_in: str
    n_problems: int
    content: str | None
    answer: str
    template: str
    instruction: str | None
    response_prefix: str
    shard_size: int


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Split(Section):
    """Training and validation part, by problem."""

    train_ratio: float
    seed: int


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Rollouts(Section):
    """How responses are sampled (paper, Table 6)."""

    runs: list[str]
    engine: str
    max_tokens: int
    temperature: float
    top_p: float
    n_samples: int
    stop: str
    seed: int
    batch_size: int


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Grading(Section):
    """What graders may do."""

    allow_unsandboxed: bool


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Values(Section):
    """Monte-Carlo values of paragraph boundaries and their TD errors (method, section 5)."""

    runs: list[str]
    n_problems: int
    shard_size: int
    n_continuations: int
    gamma: float
    min_abs_delta: float
    seed: int


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Activations(Section):
    """Which hidden states are stored; layer 0 is the embedding output."""

    layers: list[int]
    dtype: str
    batch_tokens: int


@dataclass(frozen=True, init=False, repr=False, eq=False)
class ValueProbes(Section):
    """The value probe and its training (method, section 3; paper, Table 7)."""

    runs: list[str]
    target: str
    td_gradient: str
    td_lambda: float
    gamma: float
    input_scaling: str
    hidden: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seeds: list[int]
    shuffled_seeds: list[int]


@dataclass(frozen=True, init=False, repr=False, eq=False)
class DopamineProbes(Section):
    """The dopamine probe and its training (method, section 5; paper, Table 7)."""

    runs: list[str]
    normalization: str
    input_scaling: str
    hidden: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seeds: list[int]
    shuffled_seeds: list[int]


@dataclass(frozen=True, init=False, repr=False, eq=False)
class NtpProbes(Section):
    """The probe of next tokens and its training (method, section 6)."""

    input_scaling: str
    hidden: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Interventions(Section):
    """Which neurons are held while the model generates, and how (method, section 6; paper, Tables 2 and 5)."""

    runs: list[str]
    layers: list[int]
    n_problems: int | None
    share: float
    selections: list[str]
    draws: int
    mode: str
    dose_layers: list[int]
    dose_selections: list[str]
    dose_shares: list[float]
    dose_factors: list[float]
    dose_factor_share: float
    seed: int


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Pruning(Section):
    """Prune curves, their random and shuffled companions, and their intervals (method, section 4; paper, Table 8)."""

    ratios: list[float]
    random_draws: int
    bootstrap: int
    retrain_pruned: bool
    confidence: float
    seed: int


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
