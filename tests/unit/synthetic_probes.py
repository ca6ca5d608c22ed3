"""Hand-made files of probes whose inputs have the importances that a test gives them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workflow_scripts.lib.probes.perceptrons import Probes, Spec, save

Key = tuple[int, int, str]
"""Layer, seed, labels."""


def write(folder: Path, run: str, importances: Mapping[Key, np.ndarray], kind: str = "value", **metadata: Any) -> Path:
    """`{folder}/probes/{run}/{kind}.safetensors`; an input's weights have both signs and its importance as L1 norm."""
    model, dataset = run.split("/")
    specs = [Spec(*key) for key in importances]
    found = torch.tensor(np.array(list(importances.values())), dtype=torch.float32)
    w1 = torch.stack([0.75 * found, -0.25 * found], dim=1)
    n, d = found.shape
    tensors = {"w1": w1, "b1": torch.zeros(n, 2), "w2": torch.ones(n, 2), "b2": torch.zeros(n)}
    probes = Probes(specs, **tensors, mean=torch.zeros(n, d), scale=torch.ones(n, d))
    facts = {"model": model, "dataset": dataset, "kind": kind, "revision": None, "fingerprint": f"of {model}"}
    path = folder / "probes" / run / f"{kind}.safetensors"
    save(probes, {**facts, "config": {"hidden": 2}, "n_training": 8, **metadata}, path)
    return path


def top(d: int, neurons: list[int]) -> np.ndarray:
    """Importances that rank the given neurons first, in this order, and the others after them by number."""
    order = [*neurons, *(i for i in range(d) if i not in neurons)]
    found = np.empty(d)
    found[order] = np.arange(d, 0, -1)
    return found


def noisy(
    d: int, seeds: list[int], shared: float, stream: int, layers: tuple[int, ...] = (2,)
) -> dict[Key, np.ndarray]:
    """Probes of several seeds, on true and shuffled labels.

    First weights belong to the seed alone; on true labels `shared` times a signal common to all runs is added.
    """
    found = {}
    signal = np.random.default_rng(99).random(d)
    for layer in layers:
        for labels in ("true", "shuffled"):
            for seed in seeds:
                start = np.random.default_rng([1, seed]).random(d)
                own = np.random.default_rng([2, seed, stream, layer, labels == "true"]).random(d)
                found[layer, seed, labels] = start + 0.3 * own + (shared * signal if labels == "true" else 0)
    return found
