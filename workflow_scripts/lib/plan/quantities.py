"""The quantities of a plan: the size of a model, the lengths of its responses, and the work of a rule."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A model: parameters, width of the residual stream, blocks, vocabulary, and width of a block's keys."""

    parameters: float
    hidden_size: int
    n_layers: int
    vocabulary: int
    key_width: int


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a prompt and a response, its paragraphs; at a mean boundary the tokens before and after it.

    `n_continuations` is what a boundary takes, `asked` the share of questions that the model is asked its confidence
    in, `unparsed` the share of these that are asked again; all None unless measured. `source` names the source of the
    numbers.
    """

    prompt: float
    response: float
    paragraphs: float
    source: str
    before: float | None = None
    remaining: float | None = None
    n_continuations: float | None = None
    asked: float | None = None
    unparsed: float | None = None

    @property
    def offset(self) -> float:
        """Response tokens before a mean boundary k = 0..K-1: paragraphs of one length, if nothing was measured."""
        return self.response * (self.paragraphs - 1) / (2 * self.paragraphs) if self.before is None else self.before

    @property
    def rest(self) -> float:
        """Tokens of a mean continuation: what the response had left, if nothing was measured."""
        return self.response - self.offset if self.remaining is None else self.remaining


@dataclass(frozen=True)
class Shares:
    """The assumptions of `resources/plan/assumptions.yaml` that are neither a length nor a rate, at one end of each."""

    kept_paragraphs: float
    unparsed: float
    reread: float
    rollout_bytes: float
    response_bytes: float
    adaptive: int
    """Which end of an adaptive number of continuations: 0 the first, 1 the budget."""


@dataclass(frozen=True)
class Work:
    """The work of one rule for one run, over all its shards: tokens, floating-point operations, responses, bytes.

    `fitted`: responses x layers x folds x neurons that confidence is fitted on. `sequences`: how many there are to
    decode side by side; `longest`: tokens that the last of a shard may take.
    """

    rule: str
    model: str = ""
    dataset: str = ""
    generated: float = 0
    read: float = 0
    flops: float = 0
    graded: float = 0
    fitted: float = 0
    moved: float = 0
    disk: float = 0
    sequences: float = 0
    longest: float = 0
