"""Which neurons are followed over responses, and the text of the tokens that they are followed over."""

import codecs
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from workflow_scripts.lib import probes
from workflow_scripts.lib.boundaries import token_bytes
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.selections import top
from workflow_scripts.lib.trajectories import Followed


def mean_importance(path: Path, kind: str, layer: int, identity: Mapping[str, Any]) -> Float[np.ndarray, " d"]:
    """Importance of every neuron of a layer, averaged over the probes trained on true labels.

    Raises:
        UserError: not the probes of this kind, model and data set, or none of this layer.
    """
    stack, _ = probes.load(path, kind=kind, **identity)
    mine = stack.of(layer=layer, labels="true")
    if not mine.specs:
        raise UserError(f"{path}: lacks probes of layer {layer}; add it to activations.layers and run again")
    return probes.importance(mine).double().mean(0).numpy()


def choose_neurons(importance: Float[np.ndarray, " d"], n: int, layer: int, seed: int) -> list[Followed]:
    """The n most important neurons, by rank, and as many random others (all of them where there are fewer).

    Raises:
        UserError: the layer has fewer than n neurons.
    """
    if n > len(importance):
        raise UserError(
            f"configuration: trajectories.n_neurons: {n} of layer {layer}'s {len(importance)} neurons; ask for fewer"
        )
    dopamine = top(importance, n)
    rest = np.setdiff1d(np.arange(len(importance)), dopamine)
    control = generator("random followed neurons", seed, layer).permutation(rest)[:n].tolist()
    chosen = [Followed(neuron, "dopamine", rank) for rank, neuron in enumerate(dopamine, 1)]
    return [*chosen, *(Followed(neuron, "random") for neuron in control)]


def text_pieces(token_ids: Sequence[int], tokenizer: Any) -> list[str]:
    """The text of each token; joined they are the text of the response.

    A character whose bytes lie in several tokens belongs to the token that completes it.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(piece) for piece in token_bytes(token_ids, tokenizer)]
    return [*pieces[:-1], pieces[-1] + decoder.decode(b"", final=True)] if pieces else []
