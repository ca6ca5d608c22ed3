"""How much memory and time jobs ask for, and which come first. A change of these reruns nothing."""

from functools import cache

from workflow_scripts.lib.models.size import weights_mb

FIRST = 1
"""Priority of the rules that masks and searches, the longest jobs, wait for, and of these. Jobs that nothing long waits
for fill the cores that these leave idle."""


def more_each_attempt(amount):
    """Make a resource (MB, minutes) that grows with each attempt: what was too little once is too little again."""
    return lambda wildcards, attempt: amount * attempt


@cache
def weights_of(model):
    """Compute the memory (MB) of a model's weights, once for all jobs with it."""
    return weights_mb(config["models"][model])


def with_weights(amount, *others):
    """Compute the memory (MB) of a job with models: an amount and their weights; it grows with each attempt."""

    def megabytes(wildcards, attempt):
        models = [wildcards.model, *(name for name in others if name)]
        return attempt * (amount + sum(map(weights_of, models)))

    return megabytes


def with_inputs(amount):
    """Compute the memory (MB) of a job that holds its inputs, in part as float32; it grows with each attempt."""
    return lambda wildcards, input, attempt: attempt * (amount + int(1.5 * input.size_mb))
