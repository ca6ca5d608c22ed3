"""Rule `score_dopamine_probes`: score the validation part's kept paragraphs with pruned dopamine probes.

Method, sections 4 and 5. Beside the scores f(h) stands what they are to predict: the Monte-Carlo TD error.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from workflow_scripts.lib.config.sections import Pruning, load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.probes.data import Paragraphs, read_features
from workflow_scripts.lib.probes.perceptrons import Probes
from workflow_scripts.lib.probes.perceptrons import load as load_probes
from workflow_scripts.lib.probes.pruned_scores import about_scores, pruned_scores, untrained_dopamine
from workflow_scripts.lib.probes.retraining import Scores, retrained_dopamine_scores
from workflow_scripts.lib.probes.scores import About, part_frame
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import KEYS
from workflow_scripts.lib.storage.row_groups import write_groups

PARAGRAPH = {"problem_id": pl.String, "sample": pl.Int64, "paragraph": pl.Int64}


def scored(
    held_out: Paragraphs, probes: Probes, retrained: dict[int, Scores], about: About, pruning: Pruning
) -> Iterator[pl.DataFrame]:
    """Yield the scores of one layer after the other."""
    units = pl.DataFrame(held_out.rows, schema=PARAGRAPH, orient="row").with_columns(delta=held_out.delta)
    progress = Progress(len(about.parts), "layers", f"pruning, {len(units)} validation paragraphs")
    for layer, states in held_out.layers.items():
        columns = pruned_scores(probes.of(layer=layer), states, pruning)
        if layer in retrained:
            columns["retrained"] = retrained[layer]
        yield part_frame(about, {"layer": layer}, units, columns)
        progress.advance()


def main(argv: Sequence[str] | None = None) -> None:
    """Read the validation part's kept paragraphs, score them with every pruned probe, write layer by layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON: pruning (ratios, draws, seed, retraining)")
    parser.add_argument("--features", required=True, type=Path)
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--probes", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    pruning = load(arguments.params).pruning
    part_of, identity = read_features(arguments.features, arguments.problems)
    run = {key: identity[key] for key in KEYS if key in identity}
    probes, metadata = load_probes(arguments.probes, kind="dopamine", **run)
    parts = part_of("train"), part_of("validation")
    about = about_scores(probes, pruning, untrained_dopamine(metadata))
    retrained: dict[int, Scores] = {}
    if pruning.retrain_pruned:
        retrained = retrained_dopamine_scores(parts, probes, metadata["config"], pruning)
    frames = scored(parts[1], probes, retrained, about, pruning)
    write_groups(frames, arguments.output, about.metadata("dopamine", run))


if __name__ == "__main__":
    run_main(main)
