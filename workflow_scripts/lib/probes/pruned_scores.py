"""Scores of pruned probes on held-out states: kept by importance, with shuffled labels, and at random (method, 4)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.config.sections import Pruning
from workflow_scripts.lib.probes.perceptrons import LABELS, Probes, ranking
from workflow_scripts.lib.probes.pruning import curve, kept_count, random_rankings
from workflow_scripts.lib.probes.scores import About, Key, entries


def pruned_scores(
    probes: Probes, states: Float[Tensor, "n d"], pruning: Pruning
) -> dict[str, Float[np.ndarray, "ratios entries n"]]:
    """Return f(h) of one layer's pruned probes at each state, by column of the scores."""
    stacks = {labels: probes.of(labels=labels) for labels in LABELS}
    columns = {labels: curve(stack, states, ranking(stack), pruning.ratios) for labels, stack in stacks.items()}
    true, d = stacks["true"], states.shape[1]
    orders = [random_rankings(true.specs, d, draw, pruning.seed) for draw in range(pruning.random_draws)]
    return {**columns, "random": np.concatenate([curve(true, states, one, pruning.ratios) for one in orders], axis=1)}


def about_scores(probes: Probes, pruning: Pruning, untrained: str | None, positions: Sequence[str] = ()) -> About:
    """Say what the scores of a file's probes are; `positions` are those of value probes."""
    layers = dict.fromkeys(spec.layer for spec in probes.specs)
    parts: list[Key] = [{"layer": layer} for layer in layers]
    if positions:
        parts = [{**part, "position": position} for part in parts for position in positions]
    seeds, shuffled = (list(dict.fromkeys(one.seed for one in probes.of(labels=kind).specs)) for kind in LABELS)
    return About(
        parts,
        list(pruning.ratios),
        [kept_count(ratio, probes.w1.shape[2]) for ratio in pruning.ratios],
        entries(seeds, shuffled, pruning.random_draws, pruning.retrain_pruned),
        untrained,
    )


def untrained_value(metadata: dict[str, Any]) -> str | None:
    """Say why value probes could not learn anything; None if they could."""
    if not metadata["n_training"]:
        return "no training responses"
    if metadata["n_right"] in (0, metadata["n_training"]):
        return f"all training responses are {'correct' if metadata['n_right'] else 'incorrect'}"
    return None


def untrained_dopamine(metadata: dict[str, Any]) -> str | None:
    """Say why dopamine probes could not learn anything; None if they could."""
    return None if metadata["n_training"] else "no training paragraph passes the threshold"
