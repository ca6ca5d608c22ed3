"""Select the neurons that interventions change from measures of neurons (method, section 6).

All selections of a share have the same size. Ranked selections take the neurons with the largest scores, equal ones in
the order of their index; random ones come from streams named by seed, layer and draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.probes.pruning import selected_count
from workflow_scripts.lib.seeds import generator

NEIGHBOURS = 10
"""Number of neurons nearest in log RMS among which a matched one is drawn."""

SINK_FACTOR = 100.0
"""Factor over the median at which a neuron's absolute value at the first position is a massive activation. Massive
activations exceed the others by orders of magnitude, and the other neurons are close together: two orders separate
them."""

SHARES = "configuration: interventions.share, interventions.dose_shares or interventions.dose_factor_share"


LayerScores = Mapping[int, Float[np.ndarray, " d"]]
"""Layer -> scores of its neurons [d]."""


@dataclass(frozen=True)
class LayerMeasures:
    """The inputs of the selections of one layer. `scores`: ranked selection -> [d]; `rms` and `first` [d].

    Inputs that no configured selection needs may be left empty.
    """

    layer: int
    d: int
    scores: dict[str, Float[np.ndarray, " d"]]
    rms: Float[np.ndarray, " d"] = field(default_factory=lambda: np.empty(0))
    first: Float[np.ndarray, " d"] = field(default_factory=lambda: np.empty(0))


def top(scores: Float[np.ndarray, " d"], k: int) -> list[int]:
    """Return the k neurons with the largest scores, the largest first."""
    return np.argsort(-scores, kind="stable")[:k].tolist()


def random_neurons(d: int, k: int, seed: int, layer: int, draw: int) -> list[int]:
    """Draw any k neurons; a larger k begins with the neurons of a smaller one."""
    return generator("random neurons", seed, layer, draw).permutation(d)[:k].tolist()


def sinks(first: Float[np.ndarray, " d"]) -> Bool[np.ndarray, " d"]:
    """Say which neurons have a massive activation at the first position."""
    return first > SINK_FACTOR * np.median(first)


def sink_free_neurons(first: Float[np.ndarray, " d"], k: int, seed: int, layer: int, draw: int) -> list[int]:
    """Draw any k neurons without a massive activation; a larger k begins with the neurons of a smaller one.

    Raises:
        UserError: there are fewer.
    """
    free = np.flatnonzero(~sinks(first))
    if len(free) < k:
        raise UserError(
            f"{SHARES}: {k} of layer {layer}'s neurons are asked for, but only {len(free)} have no massive activation; "
            "ask for fewer"
        )
    return generator("random sink-free neurons", seed, layer, draw).permutation(free)[:k].tolist()


def matched_neurons(value: Sequence[int], rms: Float[np.ndarray, " d"], seed: int, layer: int, draw: int) -> list[int]:
    """Draw for each value neuron in turn one of the `NEIGHBOURS` nearest in log RMS, each at most once.

    Value neurons are never taken. Equally near ones count in the order of their index.

    Raises:
        UserError: more than half of the neurons are value neurons.
    """
    if 2 * len(value) > len(rms):
        raise UserError(
            f"{SHARES}: {len(value)} value neurons of layer {layer}'s {len(rms)} leave too few for random_matched; "
            "ask for half at most"
        )
    log_rms = np.log(np.maximum(rms, np.finfo(float).tiny))  # a neuron that is always 0 is near others of its kind
    stream, left, chosen = generator("matched neurons", seed, layer, draw), np.ones(len(rms), dtype=bool), []
    left[list(value)] = False
    for neuron in value:
        candidates = np.flatnonzero(left)
        distance = np.abs(log_rms[candidates] - log_rms[neuron])
        nearest = candidates[np.argsort(distance, kind="stable")[:NEIGHBOURS]]
        chosen.append(int(stream.choice(nearest)))
        left[chosen[-1]] = False
    return chosen


def select(selection: str, share: float, draw: int, seed: int, measures: LayerMeasures) -> list[int]:
    """Return the neurons of one selection at one layer, the most important first, or in the order drawn."""
    k, layer = selected_count(share, measures.d), measures.layer
    if selection == "random":
        return random_neurons(measures.d, k, seed, layer, draw)
    if selection == "random_sink_free":
        return sink_free_neurons(measures.first, k, seed, layer, draw)
    if selection == "random_matched":
        return matched_neurons(top(measures.scores["value"], k), measures.rms, seed, layer, draw)
    return top(measures.scores[selection], k)
