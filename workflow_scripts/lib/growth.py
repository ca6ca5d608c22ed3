"""What a job may use, and more of it when it is tried again."""

from collections.abc import Callable
from typing import Any


def grows(amount: int) -> Callable[[Any, int], int]:
    """A resource of a rule (MB or minutes) that is `amount` at the first attempt, twice that at the second, and so on.

    A cluster ends jobs that outgrow their request; what was too little once is too little again. Where nothing is tried
    again (`retries: 0`, the workstation), it is `amount`.
    """
    return lambda wildcards, attempt: amount * attempt
