"""Rule `measure_neurons`: measure the quantities that select neurons besides probes (method, section 6).

One teacher-forced pass over prompt and response of the training part's responses gives, for each layer of
`interventions.layers` and each of its d neurons:

- `magnitude`: sum_j |W_down[i, j]|, W_down the output projection of the block's MLP, i the coordinate that it writes;
- `wanda`: sum_j |W_down[i, j]| ||x_j||, x what enters that projection, the norm over all positions;
- `rms`: root mean square of the residual stream over the states s_0..s_T;
- `mean`: its mean over all positions;
- `first`: its mean absolute value at the first position of the prompt, where massive activations occur.

Sums are float64 and exclude padding.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.load import ModelConfig, identity_of, load_model
from workflow_scripts.lib.neurons.measures import find_projections, measure, training_responses
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import same_run
from workflow_scripts.lib.storage.tensors import write_safetensors


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", required=True, help="canonical JSON: model, interventions (layers)")
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--rollouts", required=True, nargs="+", type=Path)
    parser.add_argument("--dataset", required=True, help="name of the data set, for the metadata")
    parser.add_argument(
        "--states-only", action="store_true", help="no magnitude, no wanda: works with any kind of block"
    )
    parser.add_argument("--batch-tokens", required=True, type=int, help="tokens at a time; changes no result")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    config, layers = ModelConfig.from_entry(params.model), params.interventions.layers
    identity = identity_of(config, arguments.dataset)
    same_run(identity, problems=arguments.problems, rollouts=arguments.rollouts)
    responses = training_responses(arguments.problems, arguments.rollouts)
    model = load_model(config)
    projections = {} if arguments.states_only else find_projections(model, layers)
    modules = {layer: module for layer, (_, module) in projections.items()}
    progress = Progress(len(responses), "responses", "measure_neurons")
    measures = measure(model, responses, layers, arguments.batch_tokens, modules, progress.advance)
    metadata: dict[str, Any] = {
        **identity,
        "kind": "measures",
        "layers": sorted(layers),
        "projections": {str(layer): name for layer, (name, _) in projections.items()},
        "n_responses": len(responses),
        "n_positions": sum(response.length for response in responses),
    }
    write_safetensors(measures, metadata, arguments.output)


if __name__ == "__main__":
    run_main(main)
