"""Rule `predict_confidence`: predict from the question whether the answer will be correct (method, section 8).

The methods are those of Table 3 of the paper, and others. Every method except the two that ask the model reads the
state s_0, the last prompt token, or the prompt's length.

- `value_neurons`: the value probes of the configured layers, pruned to the inputs of the largest weights. The prune
  ratio of each layer is the one with the best AUC on validation, the split that the method is scored on, as in the
  paper: its AUC is optimistic.
- `value_neurons_cv`: the same probes at the ratio that is best on average over folds of the training problems, with
  probes trained again on the other folds (with the first seed). Its AUC is not optimistic.
- `lcd`: projection on the difference of the class means, centred between them; `lcd_logistic`: logistic regression.
  Layer (and regularisation) are those with the best AUC over the folds; both are then fitted to all training data.
- `verbal`, `token`: the results of `ask_confidence`. `question_length`: prompt tokens, the sign chosen on the
  training part.

Probabilities are isotonic fits to training data. If a method was fitted to training data, its scores there are too
good, so the fit uses out-of-fold scores. These come from the folds' fits, which saw less data, and from the first seed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.confidence.predictions import (
    all_outcomes,
    choices,
    predictions,
    read_study,
)
from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.probes.perceptrons import load as load_probes
from workflow_scripts.lib.probes.trainer import MEMORY_GB
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Read one run, choose and fit on its training part, write scores of every response and what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--params", required=True, help="canonical JSON: confidence (layers, folds, seed), pruning.ratios"
    )
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    for name in ("rollouts", "activations", "asked"):
        parser.add_argument(f"--{name}", required=True, nargs="+", type=Path)
    parser.add_argument("--probes", required=True, type=Path)
    parser.add_argument("--memory-gb", type=float, default=MEMORY_GB, help="layers are trained in groups that fit")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--choices", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    how, ratios = params.confidence, params.pruning.ratios
    study = read_study(arguments, how.folds, how.seed)
    tables = {name: getattr(arguments, name) for name in ("problems", "rollouts", "asked")}
    identity = same_run(study.source.identity, **tables)
    probes, metadata = load_probes(arguments.probes, kind="value", **study.source.identity)
    true = probes.of(labels="true")
    if lacking := sorted(set(how.layers) - {spec.layer for spec in true.specs}):
        raise UserError(f"{arguments.probes}: no probe of layer {lacking[0]}; add it to activations.layers")
    asked = read_parquet(arguments.asked)
    outcomes = all_outcomes(study, true, metadata["config"], asked, how.layers, ratios, arguments.memory_gb)
    write_parquet(predictions(study, outcomes), arguments.output, table_metadata("predictions", identity))
    write_parquet(choices(outcomes, study.labels), arguments.choices, table_metadata("choices", identity))


if __name__ == "__main__":
    run_main(main)
