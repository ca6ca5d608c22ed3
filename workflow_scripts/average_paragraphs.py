"""Rule `average_paragraphs`: normalised hidden states averaged over each paragraph (method, section 5).

`normalization` says which statistics a neuron is normalised with (paper, equations 12 and 13): `response`, those of all
tokens of the response, which sees the future; `causal`, those of s_0 and the tokens up to each one; `calibration`,
those of all states of the training responses, which needs `--problems` for the split. The paragraphs are those of the
values table, kept or not.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib import normalization
from workflow_scripts.lib.activations import States, read_layer
from workflow_scripts.lib.config import load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.identity import agree
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.responses import Source, open_activations, split_of
from workflow_scripts.lib.tables import read_parquet
from workflow_scripts.lib.tensors import encode_rows, write_safetensors

FORMAT = "features-1"
LABELS = ("delta", "delta_half_a", "delta_half_b")
RESPONSE = ["problem_id", "sample"]

Response = tuple[str, int]
"""Problem id and sample."""
Normalize = Callable[[Float[Tensor, "T+1 d"]], Float[Tensor, "T d"]]


def boundaries_of(values: pl.DataFrame, paragraphs: pl.DataFrame) -> dict[Response, list[int]]:
    """c_0..c_K of every response of the values table that has paragraphs, in the order of that table.

    Raises:
        UserError: the paragraphs are not those that the values are of.
    """
    ends = paragraphs.sort(*RESPONSE, "paragraph").group_by(RESPONSE).agg("end")
    expected = {(problem_id, sample): [0, *several] for problem_id, sample, several in ends.iter_rows()}
    offsets = values.sort("boundary").group_by(RESPONSE).agg("offset")
    found = {(problem_id, sample): several for problem_id, sample, several in offsets.iter_rows()}
    ordered = [row for row in values.select(RESPONSE).unique(maintain_order=True).iter_rows() if len(found[row]) > 1]
    for response in ordered:
        if expected.get(response) != found[response]:
            raise UserError(
                f"paragraphs: those of problem {response[0]}, sample {response[1]} are not those of the values table; "
                "delete the values of this model and data set and run again"
            )
    return {response: found[response] for response in ordered}


def places_of(source: Source, boundaries: dict[Response, list[int]]) -> dict[Response, int]:
    """Where each response stands in the activation files.

    Raises:
        UserError: a response is not in them, or has another number of tokens there.
    """
    stored = {(problem_id, sample): (place, n) for place, (problem_id, sample, n) in enumerate(source.rows)}
    for (problem_id, sample), several in boundaries.items():
        if stored.get((problem_id, sample), (0, -1))[1] != several[-1]:
            raise UserError(
                f"{source.paths[0].parent}: states of problem {problem_id}, sample {sample} are missing or of another "
                "response; delete the activations of this model and data set and run again"
            )
    return {response: stored[response][0] for response in boundaries}


def normalizer(name: str, states: States, layer: int, split: dict[str, str]) -> Normalize:
    """The chosen normalisation, with the moments of the training responses where it wants them.

    Raises:
        UserError: an unknown name, or no training response to calibrate on.
    """
    if name == "response":
        return normalization.zscore_response
    if name == "causal":
        return normalization.zscore_causal
    if name != "calibration":
        raise UserError(
            f"configuration: dopamine_probes.normalization: {name!r} is none of response, causal, calibration"
        )
    spans = zip(states.rows, pairwise(states.offsets.tolist()), strict=True)
    training = [states.layers[layer][start:end] for row, (start, end) in spans if split.get(row[0]) == "train"]
    if not training:
        raise UserError(
            "configuration: dopamine_probes.normalization: calibration wants training responses; there are none"
        )
    mean, deviation = normalization.moments(training)
    return partial(normalization.zscore_calibrated, mean=mean, deviation=deviation)


def average(
    states: Float[Tensor, "states d"],
    offsets: Sequence[int],
    places: dict[Response, int],
    boundaries: dict[Response, list[int]],
    normalize: Normalize,
) -> Float[Tensor, "paragraphs d"]:
    """Normalised means of all paragraphs of all responses, in the order of `boundaries`; float32."""
    parts = [torch.zeros(0, states.shape[1])]
    for response, several in boundaries.items():
        place = places[response]
        tokens = normalize(states[offsets[place] : offsets[place + 1]])
        parts.append(normalization.paragraph_means(tokens, several))
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
    agree(source.identity, values=arguments.values, paragraphs=arguments.paragraphs, **optional)
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
