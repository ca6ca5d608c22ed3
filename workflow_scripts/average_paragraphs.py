"""Rule `average_paragraphs`: normalised hidden states averaged over each paragraph (method, section 5).

`normalization` says which statistics a neuron is normalised with (paper, equations 12 and 13): `response`, those of all
tokens of the response, which sees the future; `causal`, those of s_0 and the tokens up to each one; `calibration`,
those of all states of the training responses, which needs `--problems` for the split. The paragraphs are those of the
values table, kept or not.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import open_activations, read_layer
from workflow_scripts.lib.probes import features
from workflow_scripts.lib.probes.data import split_of
from workflow_scripts.lib.probes.features import RESPONSE, Normalize, ResponseKey, boundaries_of, normalizer, places_of
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import same_run
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.storage.tensors import encode_rows, write_safetensors

FORMAT = "features-1"
LABELS = ("delta", "delta_half_a", "delta_half_b")


def average(
    states: Float[Tensor, "states d"],
    offsets: Sequence[int],
    places: dict[ResponseKey, int],
    boundaries: dict[ResponseKey, list[int]],
    normalize: Normalize,
) -> Float[Tensor, "paragraphs d"]:
    """Normalised means of all paragraphs of all responses, in the order of `boundaries`; float32."""
    parts = [torch.zeros(0, states.shape[1])]
    for response, several in boundaries.items():
        place = places[response]
        tokens = normalize(states[offsets[place] : offsets[place + 1]])
        parts.append(features.paragraph_means(tokens, several))
    return torch.cat(parts)


def labels_of(values: pl.DataFrame) -> dict[str, Tensor]:
    """Per paragraph: TD error and its halves (float32), `kept` (0 or 1), row ids (problem_id, sample, paragraph)."""
    order = values.select(RESPONSE).unique(maintain_order=True).with_row_index("response")
    rows = values.join(order, on=RESPONSE).sort("response", "boundary").filter(pl.col("boundary") > 0)
    labels = {name: torch.tensor(rows[name].to_list(), dtype=torch.float32) for name in LABELS}
    labels["kept"] = torch.tensor(rows["kept"].to_list(), dtype=torch.uint8)
    labels["rows"] = encode_rows([list(row) for row in rows.select(*RESPONSE, "boundary").iter_rows()])
    return labels


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: dopamine_probes (normalization)")
    parser.add_argument(
        "--activations", required=True, nargs="+", type=Path, help="all shards that hold valued problems"
    )
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
    places = places_of(source, boundaries)
    split = split_of(arguments.problems) if arguments.problems else {}
    tensors = labels_of(values)
    progress = Progress(len(source.layers), "layers", "average_paragraphs")
    for layer in source.layers:
        states = read_layer(source.paths, layer, expect=source.identity)
        normalize = normalizer(name, states, layer, split)
        offsets = states.offsets.tolist()
        tensors[f"layer_{layer}"] = average(states.layers[layer], offsets, places, boundaries, normalize)
        progress.advance()
    own = {"format": FORMAT, "dtype": "float32", "normalization": name}
    kept = {key: value for key, value in source.metadata.items() if key not in ("shard", "origins")}
    write_safetensors(tensors, kept | own, arguments.output)


if __name__ == "__main__":
    run_main(main)
