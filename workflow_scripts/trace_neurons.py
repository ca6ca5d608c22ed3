"""Rule `trace_neurons`: trace activations of dopamine neurons and random others over the tokens of valued responses.

Neurons are selected and oriented by training problems only. Activations are normalised as the dopamine probes saw them
(method, section 10; paper, Section 4.4).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import open_activations
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.probes.data import split_of
from workflow_scripts.lib.probes.features import boundaries_of
from workflow_scripts.lib.storage.identity import same_run
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.trajectories.traces import Traced, orient, write_trace
from workflow_scripts.lib.trajectories.tracing import followed_neurons, nested_values, response_rows, trajectories


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--params", required=True, help="JSON: model, trajectories (layer, n_neurons, seed), dopamine_probes"
    )
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--probes", required=True, type=Path, help="the dopamine probes")
    parser.add_argument("--values", required=True, type=Path)
    for name in ("rollouts", "paragraphs", "activations"):
        parser.add_argument(f"--{name}", required=True, nargs="+", type=Path, help="shards with valued problems")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    section, normalization = params.trajectories, params.dopamine_probes.normalization
    source, split = open_activations(arguments.activations, [section.layer]), split_of(arguments.problems)
    tables = {name: getattr(arguments, name) for name in ("problems", "values", "rollouts", "paragraphs")}
    same_run(source.identity, **tables)
    values = read_parquet(arguments.values)
    boundaries = boundaries_of(values, read_parquet(arguments.paragraphs))
    neurons = followed_neurons(arguments.probes, section, source)
    indices = [neuron.neuron for neuron in neurons]
    activations = trajectories(source, section.layer, indices, normalization, boundaries, split)
    tokenizer = load_tokenizer(ModelConfig.from_entry(params.model))
    rollouts = read_parquet(arguments.rollouts)
    rows = response_rows(nested_values(values), activations, rollouts, split, tokenizer, len(neurons))
    model, dataset = source.metadata["model"], source.metadata["dataset"]
    traced = Traced(model, dataset, section.layer, normalization, neurons, rows)
    write_trace(Traced(**(vars(traced) | {"neurons": orient(traced)})), arguments.output, **source.identity)


if __name__ == "__main__":
    run_main(main)
