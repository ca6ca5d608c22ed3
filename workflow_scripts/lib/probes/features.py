"""Normalising hidden states over a response and averaging them over its paragraphs (method, section 5; paper, equations
12-14).

All functions take the states s_0 (the last prompt token), s_1, ..., s_T of one response and give a row for each of its
T tokens. Standard deviations are those of the population; a neuron that does not vary is 0 after normalisation.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import ActivationFiles
from workflow_scripts.lib.models.states import States
from workflow_scripts.lib.storage.tensors import encode_rows


def zscore_response(states: Float[Tensor, "T+1 d"]) -> Float[Tensor, "T d"]:
    """Return z-scores of the tokens over all of them, without s_0 (equations 12, 13): this sees the future."""
    tokens = states[1:].double()
    if not len(tokens):
        return tokens.float()
    centred = tokens - tokens[:1]  # a constant neuron then has no variance at all, whatever rounding does
    centred = centred - centred.mean(0)
    return divide(centred, centred.square().mean(0))


def zscore_causal(states: Float[Tensor, "T+1 d"]) -> Float[Tensor, "T d"]:
    """Return the z-score of each token over s_0 and the tokens up to and including it; nothing later is used."""
    centred = states.double() - states[:1].double()  # from s_0, so that sums of squares do not swamp small variances
    count = torch.arange(1, len(states) + 1, dtype=torch.float64, device=states.device)[:, None]
    mean = centred.cumsum(0) / count
    variance = centred.square().cumsum(0) / count - mean.square()
    rounding = 1e-12 * centred.square().cummax(0).values  # of the difference of two sums: no variance below it is real
    return divide(centred - mean, torch.where(variance > rounding, variance, 0.0))[1:]


def zscore_calibrated(
    states: Float[Tensor, "T+1 d"], mean: Float[Tensor, " d"], deviation: Float[Tensor, " d"]
) -> Float[Tensor, "T d"]:
    """Return z-scores of tokens by a mean and deviation measured elsewhere (`moments` of the training responses)."""
    return divide(states[1:].double() - mean.double(), deviation.double().square())


def moments(states: Sequence[Float[Tensor, "_ d"]]) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Return mean and standard deviation (float64) of every neuron over all the given states together."""
    count = sum(len(block) for block in states)
    origin = states[0][:1].double()
    mean = torch.stack([(block.double() - origin).sum(0) for block in states]).sum(0) / count
    squares = torch.stack([(block.double() - origin - mean).square().sum(0) for block in states]).sum(0)
    return origin[0] + mean, (squares / count).sqrt()


def divide(centred: Float[Tensor, "T d"], variance: Float[Tensor, "*T d"]) -> Float[Tensor, "T d"]:
    """Divide `centred` by the root of `variance` in float32; the result is 0 where the variance is 0."""
    return torch.where(variance > 0, centred / variance.sqrt(), 0.0).float()


def paragraph_means(normalized: Float[Tensor, "T d"], boundaries: Sequence[int]) -> Float[Tensor, "K d"]:
    """Return the mean over the tokens of each paragraph (equation 14); `boundaries` are c_0 = 0 < ... < c_K = T."""
    if len(boundaries) < 2:
        return normalized[:0]
    return torch.stack([normalized[start:end].mean(0) for start, end in pairwise(boundaries)])


RESPONSE = ["problem_id", "sample"]

ResponseKey = tuple[str, int]
"""Problem id and sample."""
Normalize = Callable[[Float[Tensor, "T+1 d"]], Float[Tensor, "T d"]]


def boundaries_of(values: pl.DataFrame, paragraphs: pl.DataFrame) -> dict[ResponseKey, list[int]]:
    """Return c_0..c_K of every response of the values table that has paragraphs, in the order of that table.

    Raises:
        UserError: the paragraphs are not those of the values.
    """
    ends = paragraphs.sort(*RESPONSE, "paragraph").group_by(RESPONSE).agg("end")
    expected = {(problem_id, sample): [0, *list_of_ends] for problem_id, sample, list_of_ends in ends.iter_rows()}
    offsets = values.sort("boundary").group_by(RESPONSE).agg("offset")
    stored = {(problem_id, sample): boundaries for problem_id, sample, boundaries in offsets.iter_rows()}
    ordered = [row for row in values.select(RESPONSE).unique(maintain_order=True).iter_rows() if len(stored[row]) > 1]
    for response in ordered:
        if expected.get(response) != stored[response]:
            raise UserError(
                f"paragraphs: those of problem {response[0]}, sample {response[1]} are not those of the values table; "
                "delete the values of this model and data set and run again"
            )
    return {response: stored[response] for response in ordered}


def rows_of(source: ActivationFiles, boundaries: dict[ResponseKey, list[int]]) -> dict[ResponseKey, int]:
    """Return the row of each response in the activation files.

    Raises:
        UserError: a response is not in them, or has another number of tokens there.
    """
    stored = {(problem_id, sample): (row, n) for row, (problem_id, sample, n) in enumerate(source.rows)}
    for (problem_id, sample), offsets in boundaries.items():
        if stored.get((problem_id, sample), (0, -1))[1] != offsets[-1]:
            raise UserError(
                f"{source.paths[0].parent}: states of problem {problem_id}, sample {sample} are missing or of another "
                "response; delete the activations of this model and data set and run again"
            )
    return {response: stored[response][0] for response in boundaries}


def normalizer(name: str, states: States, layer: int, split: dict[str, str]) -> Normalize:
    """Return the chosen normalisation, with the moments of the training responses where it needs them.

    Raises:
        UserError: an unknown name, or no training response to calibrate on.
    """
    if name == "response":
        return zscore_response
    if name == "causal":
        return zscore_causal
    if name != "calibration":
        raise UserError(
            f"configuration: dopamine_probes.normalization: {name!r} is none of response, causal, calibration"
        )
    spans = zip(states.rows, pairwise(states.offsets.tolist()), strict=True)
    training = [states.layers[layer][start:end] for row, (start, end) in spans if split.get(row[0]) == "train"]
    if not training:
        raise UserError(
            "configuration: dopamine_probes.normalization: calibration needs training responses; there are none"
        )
    mean, deviation = moments(training)
    return partial(zscore_calibrated, mean=mean, deviation=deviation)


LABELS = ("delta", "delta_half_a", "delta_half_b")


def paragraph_features(
    states: Float[Tensor, "states d"],
    spans: Iterable[tuple[int, int]],
    boundaries: Iterable[Sequence[int]],
    normalize: Normalize,
) -> list[Float[Tensor, "K d"]]:
    """Return the normalised paragraph means of each response; its states s_0..s_T are the rows of its span."""
    return [
        paragraph_means(normalize(states[start:end]), offsets)
        for (start, end), offsets in zip(spans, boundaries, strict=True)
    ]


def average(
    states: Float[Tensor, "states d"],
    offsets: Sequence[int],
    rows: dict[ResponseKey, int],
    boundaries: dict[ResponseKey, list[int]],
    normalize: Normalize,
) -> Float[Tensor, "paragraphs d"]:
    """Return normalised means of all paragraphs of all responses, in the order of `boundaries`; float32."""
    spans = [(offsets[rows[response]], offsets[rows[response] + 1]) for response in boundaries]
    means = paragraph_features(states, spans, boundaries.values(), normalize)
    return torch.cat([torch.zeros(0, states.shape[1]), *means])


def labels_of(values: pl.DataFrame) -> dict[str, Tensor]:
    """Return labels per paragraph: TD error and its halves (float32), `kept` (0 or 1) and `rows`.

    `rows` are the encoded row ids (problem_id, sample, paragraph).
    """
    order = values.select(RESPONSE).unique(maintain_order=True).with_row_index("response")
    rows = values.join(order, on=RESPONSE).sort("response", "boundary").filter(pl.col("boundary") > 0)
    labels = {name: torch.tensor(rows[name].to_list(), dtype=torch.float32) for name in LABELS}
    labels["kept"] = torch.tensor(rows["kept"].to_list(), dtype=torch.uint8)
    labels["rows"] = encode_rows([list(row) for row in rows.select(*RESPONSE, "boundary").iter_rows()])
    return labels
