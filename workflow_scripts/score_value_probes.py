"""Rule `score_value_probes`: score the validation part with pruned value probes (method, sections 3 and 4).

Scored at `initial` (s_0, before anything is generated) and `final` (s_T). Scores are f(h): V(h) = sigmoid(f(h)) has the
same ranks, but may round distinct states to one number.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from workflow_scripts.lib.config.sections import Pruning, load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import ActivationFiles, open_activations
from workflow_scripts.lib.probes.data import Responses, end_states, rewards_of, select_responses, split_of
from workflow_scripts.lib.probes.perceptrons import Probes
from workflow_scripts.lib.probes.perceptrons import load as load_probes
from workflow_scripts.lib.probes.pruned_scores import about_scores, pruned_scores, untrained_value
from workflow_scripts.lib.probes.retraining import Scores, retrained_value_scores
from workflow_scripts.lib.probes.scores import POSITIONS, About, part_frame
from workflow_scripts.lib.probes.trainer import MEMORY_GB
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import same_run
from workflow_scripts.lib.storage.row_groups import write_groups


def scored(
    source: ActivationFiles,
    held_out: Responses,
    probes: Probes,
    retrained: Iterator[tuple[int, Scores | None]],
    about: About,
    pruning: Pruning,
) -> Iterator[pl.DataFrame]:
    """Yield the scores of one layer at one position after the other; `retrained` yields the layers in their order."""
    identity = {"problem_id": held_out.problem_ids, "sample": held_out.samples}
    units = pl.DataFrame({**identity, "reward": held_out.rewards.astype(np.int8)})
    progress = Progress(len(about.parts), "parts", f"pruning, {len(held_out)} validation responses")
    for layer, again in retrained:
        for i, states in enumerate(end_states(source, held_out, layer)):
            columns = pruned_scores(probes.of(layer=layer), states, pruning)
            if again is not None:
                columns["retrained"] = np.split(again, len(POSITIONS), axis=2)[i]
            yield part_frame(about, {"layer": layer, "position": POSITIONS[i]}, units, columns)
            progress.advance()


def main(argv: Sequence[str] | None = None) -> None:
    """Read the validation part's first and last states, score them with every pruned probe, write layer by layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON: pruning (ratios, draws, seed, retraining)")
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--rollouts", required=True, nargs="+", type=Path)
    parser.add_argument("--activations", required=True, nargs="+", type=Path)
    parser.add_argument("--probes", required=True, type=Path)
    parser.add_argument("--memory-gb", type=float, default=MEMORY_GB, help="layers are retrained in groups that fit")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    pruning = load(arguments.params).pruning
    source = open_activations(arguments.activations)
    probes, metadata = load_probes(arguments.probes, kind="value", **source.identity)
    same_run(source.identity, problems=arguments.problems, rollouts=arguments.rollouts)
    split, rewards = split_of(arguments.problems), rewards_of(arguments.rollouts)
    training, held_out = (select_responses(source, split, rewards, part) for part in ("train", "validation"))
    about = about_scores(probes, pruning, untrained_value(metadata), POSITIONS)
    retrained: Iterator[tuple[int, Scores | None]] = ((layer, None) for layer in source.layers)
    if pruning.retrain_pruned:
        config, data = metadata["config"], (training, held_out)
        retrained = retrained_value_scores(source, data, probes, config, pruning, arguments.memory_gb)
    frames = scored(source, held_out, probes, retrained, about, pruning)
    write_groups(frames, arguments.output, about.metadata("value", source.identity))


if __name__ == "__main__":
    run_main(main)
