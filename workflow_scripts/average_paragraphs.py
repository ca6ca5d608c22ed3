"""Rule `average_paragraphs`: average normalised hidden states over each paragraph (method, section 5).

`normalization` selects the statistics by which a neuron is normalised (paper, equations 12 and 13): `response`, those
of all tokens of the response, which include the future; `causal`, those of s_0 and the tokens up to each one;
`calibration`, those of all states of the training responses, which requires `--problems` for the split. The paragraphs
are those of the values table, kept or not.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import open_activations, read_layer
from workflow_scripts.lib.probes.data import split_of
from workflow_scripts.lib.probes.features import (
    average,
    boundaries_of,
    labels_of,
    normalizer,
    rows_of,
)
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import same_run
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.storage.tensors import write_safetensors

FORMAT = "features-1"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: dopamine_probes (normalization)")
    parser.add_argument("--activations", required=True, nargs="+", type=Path, help="all shards with valued problems")
    parser.add_argument("--paragraphs", required=True, nargs="+", help="all shards")
    parser.add_argument("--values", required=True)
    parser.add_argument("--problems", nargs="+", type=Path, help="for the split, with normalization: calibration")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    name = load(arguments.params).dopamine_probes.normalization
    source, values = open_activations(arguments.activations), read_parquet(arguments.values)
    optional = {"problems": arguments.problems} if arguments.problems else {}
    same_run(source.identity, values=arguments.values, paragraphs=arguments.paragraphs, **optional)
    boundaries = boundaries_of(values, read_parquet(arguments.paragraphs))
    rows = rows_of(source, boundaries)
    split = split_of(arguments.problems) if arguments.problems else {}
    tensors = labels_of(values)
    progress = Progress(len(source.layers), "layers", "average_paragraphs")
    for layer in source.layers:
        states = read_layer(source.paths, layer, expect=source.identity)
        normalize = normalizer(name, states, layer, split)
        offsets = states.offsets.tolist()
        tensors[f"layer_{layer}"] = average(states.layers[layer], offsets, rows, boundaries, normalize)
        progress.advance()
    content = {"format": FORMAT, "dtype": "float32", "normalization": name}
    kept = {key: value for key, value in source.metadata.items() if key not in ("shard", "origins")}
    write_safetensors(tensors, kept | content, arguments.output)


if __name__ == "__main__":
    run_main(main)
