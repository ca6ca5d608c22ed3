"""The methods of Table 3: their names, their order, what their choices are made on."""

import numpy as np
from jaxtyping import Float

Array = np.ndarray
METHODS = {
    "value_neurons": "value neurons",
    "value_neurons_cv": "value neurons (folds)",
    "lcd": "class means (LCD)",
    "lcd_logistic": "logistic regression",
    "verbal": "verbal confidence",
    "token": "token confidence",
    "question_length": "question length",
}
"""The methods in the order of tables and figures, and what to call them."""
VALUE_METHODS = ("value_neurons", "value_neurons_cv")
BASELINES = [name for name in METHODS if name not in VALUE_METHODS]
CHOSEN_ON = {
    "value_neurons": "validation",
    "value_neurons_cv": "training folds",
    "lcd": "training folds",
    "lcd_logistic": "training folds",
    "verbal": "nothing",
    "token": "nothing",
    "question_length": "training",
}
"""What the free choices of a method (prune ratio, layer, regularisation, sign) were made on."""


def one_class(rewards: Float[Array, " n"], part: str) -> str | None:
    """Why nothing can be learned or measured on these responses, if so."""
    if not len(rewards):
        return f"no {part} responses"
    if rewards.min() == rewards.max():
        return f"all {part} responses are {'right' if rewards[0] else 'wrong'}"
    return None
