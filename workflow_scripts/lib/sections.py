"""The sections of the configuration, one class each. Meaning and default of every key: `schemas/config.schema.yaml`."""

from dataclasses import dataclass
from typing import Any


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
    adaptive: dict[str, Any] | None
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
class Transfer(Section):
    """Which probes are compared for the neurons they find (method, section 7; paper, Figures 2 and 8)."""

    runs: list[str]
    families: list[list[str]]


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Confidence(Section):
    """Predicting from the question alone whether the answer will be right (method, section 8; paper, Table 3)."""

    runs: list[str]
    layers: list[int]
    folds: int
    verbal_tries: int
    verbal_tokens: int
    bins: int
    strata: int
    seed: int


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Search(Section):
    """Search guided by paragraph scores (method, section 9; paper, Table 4)."""

    runs: list[str]
    methods: list[str]
    reference: str | None
    n_problems: int | None
    layer: int
    candidates: int
    seeds: list[int]


@dataclass(frozen=True, init=False, repr=False, eq=False)
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


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Pruning(Section):
    """Prune curves, their random and shuffled companions, and their intervals (method, section 4; paper, Table 8)."""

    ratios: list[float]
    random_draws: int
    bootstrap: int
    retrain_pruned: bool
    confidence: float
    seed: int
