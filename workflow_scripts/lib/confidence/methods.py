"""The methods of Table 3: one row each, read by rules, plan, tables, figures and report.

Imports nothing heavy, because rules read it at every start of Snakemake.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One way to predict success from the question alone.

    `label`: its name in tables and figures; `explained`: its name in the report, where that says more. `chosen_on`: the
    data for its free choices (prune ratio, layer, regularisation, sign). `value_neurons`: whether it reads value
    neurons; the others are baselines.
    """

    label: str
    chosen_on: str
    explained: str = ""
    value_neurons: bool = False


CATALOGUE = {
    "value_neurons": Method("value neurons", "validation", "value neurons, ratio chosen on validation", True),
    "value_neurons_cv": Method(
        "value neurons (folds)", "training folds", "value neurons, ratio chosen on training", True
    ),
    "lcd": Method("class means (LCD)", "training folds", "latent correctness direction"),
    "lcd_logistic": Method("logistic regression", "training folds"),
    "verbal": Method("verbal confidence", "nothing"),
    "token": Method("token confidence", "nothing"),
    "question_length": Method("question length", "training"),
}
"""Every method, in the order of tables and figures."""
METHODS = {name: method.label for name, method in CATALOGUE.items()}
EXPLAINED = {name: method.explained or method.label for name, method in CATALOGUE.items()}
CHOSEN_ON = {name: method.chosen_on for name, method in CATALOGUE.items()}
VALUE_METHODS = tuple(name for name, method in CATALOGUE.items() if method.value_neurons)
BASELINES = [name for name, method in CATALOGUE.items() if not method.value_neurons]
