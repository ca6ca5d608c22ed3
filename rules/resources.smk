"""How much memory and time jobs ask for. A change of these reruns nothing."""

from workflow_scripts.lib.models.size import weights_mb


def more_each_attempt(amount):
    """Make a resource (MB, minutes) that grows with each attempt: what was too little once is too little again."""
    return lambda wildcards, attempt: amount * attempt


def with_weights(amount, *others):
    """Compute the memory (MB) of a job with models: an amount and their weights; it grows with each attempt."""

    def megabytes(wildcards, attempt):
        models = [wildcards.model, *(name for name in others if name)]
        return attempt * (amount + sum(weights_mb(config["models"][name]) for name in models))

    return megabytes


def with_inputs(amount):
    """Compute the memory (MB) of a job that holds its inputs, in part as float32; it grows with each attempt."""
    return lambda wildcards, input, attempt: attempt * (amount + int(1.5 * input.size_mb))
