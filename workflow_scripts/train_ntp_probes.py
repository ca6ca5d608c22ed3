"""Rule `train_ntp_probes`: train probes that predict the next token from a hidden state (method, section 6).

One probe for each layer of `interventions.layers`, trained on the training part's responses and measured on the
validation part, together with the best guess that ignores the state.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import open_activations
from workflow_scripts.lib.models.load import ModelConfig, vocabulary_of
from workflow_scripts.lib.probes import next_token
from workflow_scripts.lib.probes.next_token_run import read_parts, train_layers
from workflow_scripts.lib.runtime.reuse import Reuse
from workflow_scripts.lib.storage.identity import same_run


def main(argv: Sequence[str] | None = None) -> None:
    """Read states and tokens, train and measure layer by layer, write one file of probes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON: model, interventions (layers), ntp_probes")
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--rollouts", required=True, nargs="+", type=Path)
    parser.add_argument("--activations", required=True, nargs="+", type=Path)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    vocabulary = vocabulary_of(ModelConfig.from_entry(params.model))
    source = open_activations(arguments.activations, params.interventions.layers)
    same_run(source.identity, problems=arguments.problems, rollouts=arguments.rollouts)
    parts = read_parts(source, arguments.problems, arguments.rollouts, vocabulary)
    reuse = Reuse([arguments.output], next_token.probes_by_origin)
    probes, origins, losses = train_layers(source, parts, vocabulary, params.ntp_probes, reuse)
    metadata = {
        **source.identity,
        "kind": "ntp",
        "config": params.raw["ntp_probes"],
        "vocabulary": vocabulary,
        "n_training": len(parts[0].tokens),
        "n_validation": len(parts[1].tokens),
        "losses": losses,
        "origins": origins,
    }
    next_token.save(probes, metadata, arguments.output)
    reuse.report("probes")
    reuse.keep()


if __name__ == "__main__":
    run_main(main)
