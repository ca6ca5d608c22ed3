"""Choose the neurons that are followed over responses."""

import numpy as np
from jaxtyping import Float

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.neurons.selections import top
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.trajectories.traces import Followed


def choose_neurons(importance: Float[np.ndarray, " d"], n: int, layer: int, seed: int) -> list[Followed]:
    """Choose the n most important neurons, by rank, and n random others (all of them where there are fewer).

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
