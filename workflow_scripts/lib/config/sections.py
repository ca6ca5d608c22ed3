"""The sections of the configuration, one class each, as a module reads them from `--params`.

`--params` is canonical JSON of the keys that a rule passes, nothing else. Snakemake reruns a job when its parameters
change, so a rule passes only what its module reads (`section()` in `rules/common.smk`). A section may therefore arrive
with some of its keys; reading a key that the rule did not pass is an error, never a silent default. Meaning and default
of every key: `schemas/config.schema.yaml`.
"""

import json
from collections.abc import Mapping
from typing import Any, get_type_hints


class Section:
    """A section of which only the keys that were passed can be read, and none can be set.

    Raises:
        KeyError: a key that the section does not have (a rule and its module disagree).
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        if unknown := set(given) - set(get_type_hints(type(self))):
            raise KeyError(f"{type(self).__name__} has no key {', '.join(sorted(unknown))}")
        vars(self).update(given)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"key {name} of {type(self).__name__} is not among the parameters that the rule passes")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set: a section is what the configuration says")


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
    hub_split: str
    fields: dict[str, Any]
    gold_in: str
    n_problems: int
    content: str | None
    answer: str
    template: str
    instruction: str | None
    response_prefix: str
    shard_size: int


class Split(Section):
    """Training and validation part, by problem."""

    train_ratio: float
    seed: int


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


class Grading(Section):
    """What graders may do."""

    allow_unsandboxed: bool


class Values(Section):
    """Monte-Carlo values of paragraph boundaries and their TD errors (method, section 5)."""

    runs: list[str]
    n_problems: int
    shard_size: int
    n_continuations: int
    adaptive: dict[str, Any] | None
    gamma: float
    min_abs_delta: float
    seed: int


class Activations(Section):
    """Which hidden states are stored; layer 0 is the embedding output."""

    layers: list[int]
    dtype: str
    batch_tokens: int


class ProbeTraining(Section):
    """How probes of any kind are trained (paper, Table 7)."""

    input_scaling: str
    hidden: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float


class ValueProbes(ProbeTraining):
    """The value probe and its training (method, section 3; paper, Table 7)."""

    runs: list[str]
    target: str
    td_gradient: str
    td_lambda: float
    gamma: float
    seeds: list[int]
    shuffled_seeds: list[int]


class DopamineProbes(ProbeTraining):
    """The dopamine probe and its training (method, section 5; paper, Table 7)."""

    runs: list[str]
    normalization: str
    seeds: list[int]
    shuffled_seeds: list[int]


class NtpProbes(ProbeTraining):
    """The probe of next tokens and its training (method, section 6)."""

    seed: int


class Interventions(Section):
    """Neurons ablated or scaled while the model generates (method, section 6; paper, Tables 2 and 5)."""

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


class Transfer(Section):
    """Which probes are compared for the neurons they find (method, section 7; paper, Figures 2 and 8)."""

    runs: list[str]
    families: list[list[str]]


class Confidence(Section):
    """Predicting from the question alone whether the answer will be right (method, section 8; paper, Table 3)."""

    runs: list[str]
    layers: list[int]
    folds: int
    verbal_tries: int
    verbal_tokens: int
    verbal_pilot: int | None
    bins: int
    strata: int
    seed: int


class Search(Section):
    """Search guided by paragraph scores (method, section 9; paper, Table 4)."""

    runs: list[str]
    methods: list[str]
    reference: str | None
    n_problems: int | None
    layer: int
    candidates: int
    seeds: list[int]


class Trajectories(Section):
    """Dopamine neurons over responses (method, section 10; paper, Figures 3, 9 and 10)."""

    runs: list[str]
    layer: int
    n_neurons: int
    ablated_layers: list[int]
    ablated_share: float
    draws: int
    page_responses: int
    seed: int


class Pruning(Section):
    """Prune curves, their random and shuffled companions, and their intervals (method, section 4; paper, Table 8)."""

    ratios: list[float]
    random_draws: int
    bootstrap: int
    retrain_pruned: bool
    confidence: float
    seed: int


class Params:
    """The parsed `--params`: one attribute per section that was passed, `raw` for the plain dictionaries."""

    model: dict[str, Any]
    """The entry of `models` with its name as `key` (`models.load.ModelConfig` is built from it)."""
    dataset: Dataset
    """The entry of `datasets` with its name as `key`."""
    split: Split
    rollouts: Rollouts
    grading: Grading
    values: Values
    activations: Activations
    value_probes: ValueProbes
    dopamine_probes: DopamineProbes
    ntp_probes: NtpProbes
    interventions: Interventions
    transfer: Transfer
    confidence: Confidence
    search: Search
    trajectories: Trajectories
    pruning: Pruning
    figures: dict[str, Any]
    """Which runs and layers each figure draws."""

    def __init__(self, text: str) -> None:
        self.raw: dict[str, Any] = json.loads(text)
        kinds = get_type_hints(Params)
        for name, given in self.raw.items():
            kind = kinds.get(name)
            setattr(self, name, kind(given) if isinstance(kind, type) and issubclass(kind, Section) else given)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"section {name} is not among the parameters that the rule passes")


def load(text: str) -> Params:
    """Read the value of `--params`."""
    return Params(text)
