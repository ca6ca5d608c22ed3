"""Rule `ablate_value_neurons`: trace dopamine neurons while value neurons of earlier layers are ablated.

The model reads its responses to validation problems again, once under each condition: no ablation; the top value
neurons of all ablated layers set to zero; the same number of random ones; and the same number of random ones with
similar root-mean-square activation. Each row compares the normalised trajectory of one neuron over one response with
that of the unablated pass (method, section 10; paper, Appendix H). With `calibration` the moments are those of the
stored, unablated states.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch

from workflow_scripts.lib.config.sections import Trajectories, load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import open_activations, read_layer
from workflow_scripts.lib.models.load import ModelConfig, identity_of, load_model
from workflow_scripts.lib.models.states import States
from workflow_scripts.lib.neurons.importances import mean_importances
from workflow_scripts.lib.probes.features import normalizer
from workflow_scripts.lib.storage.identity import require, same_run
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.trajectories.ablation import Ablation, conditions
from workflow_scripts.lib.trajectories.ablation_run import SCHEMA, AblationRun, ablate, traced_responses, training_rms
from workflow_scripts.lib.trajectories.traces import ABLATED_FORMAT, Traced, read_trace


def prepare(arguments: argparse.Namespace, traced: Traced, dtype: str) -> AblationRun:
    """Read everything that the passes need besides the model."""
    source = open_activations(arguments.activations, [traced.layer])
    same_run(source.identity, any=arguments.traced, rollouts=arguments.rollouts)
    split = dict(traced.responses.select("problem_id", "split").iter_rows())
    neurons = [traced.neurons[place].neuron for place in traced.places("dopamine")]
    states = read_layer(source.paths, traced.layer, expect=source.identity)
    columns = {traced.layer: states.layers[traced.layer][:, torch.tensor(neurons)]}
    normalize = normalizer(traced.normalization, States(states.rows, states.offsets, columns), traced.layer, split)
    responses = traced_responses(traced, read_parquet(arguments.rollouts))
    return AblationRun(traced, responses, source, neurons, normalize, getattr(torch, dtype), arguments.batch_tokens)


def all_conditions(arguments: argparse.Namespace, run: AblationRun, section: Trajectories) -> list[Ablation]:
    """Build the configured conditions from the value probes and the activations of training responses."""
    layers = section.ablated_layers
    split = dict(run.traced.responses.select("problem_id", "split").iter_rows())
    source = open_activations(arguments.activations, layers)
    importance = mean_importances(arguments.probes, "value", layers, **source.identity)
    measured = {layer: training_rms(source, layer, split) for layer in layers}
    rms = {layer: values for layer, values in measured.items() if values is not None}
    return conditions(importance, rms, section.ablated_share, section.draws, section.seed)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, activations (dtype), trajectories")
    parser.add_argument("--traced", required=True, type=Path, help="the trajectories of this run")
    parser.add_argument("--probes", required=True, type=Path, help="the value probes")
    for name in ("rollouts", "activations"):
        parser.add_argument(f"--{name}", required=True, nargs="+", type=Path, help="shards with valued problems")
    parser.add_argument("--batch-tokens", required=True, type=int, help="tokens at a time; changes no result")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params, traced = load(arguments.params), read_trace(arguments.traced)
    section = params.trajectories
    frame = pl.DataFrame(schema=SCHEMA)
    metadata: dict[str, Any] = {"proofs": [], "largest_gap": None}
    if section.ablated_layers:
        run = prepare(arguments, traced, params.activations.dtype)
        configured = all_conditions(arguments, run, section)
        config = ModelConfig.from_entry(params.model)
        require(run.source.paths[0], run.source.metadata, identity_of(config))
        frame, metadata = ablate(run, load_model(config), configured)
    metadata |= {"format": ABLATED_FORMAT, "model": traced.model, "dataset": traced.dataset, "layer": traced.layer}
    metadata |= {"ablated_layers": section.ablated_layers}
    write_parquet(frame, arguments.output, {name: json.dumps(value) for name, value in metadata.items()})


if __name__ == "__main__":
    run_main(main)
