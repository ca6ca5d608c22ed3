"""The data of the report's interactive view of trajectories.

Numbers are rounded to what can be seen, activations to tenths of a standard deviation. The text of a model may
contain anything: it is stored as JSON in which no `<` is left, and the script shows it as text only.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.trajectories.traces import Traced, activations_of

TENTHS, LIMIT = 10, 99
"""Activations are whole tenths, cut off at +-`LIMIT` tenths."""
BUDGET = 4_000_000
"""Bytes of JSON beyond which no further response is taken in."""
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def page(frames: Mapping[Any, Traced], config: Mapping[str, Any], table: pl.DataFrame | None = None) -> dict[str, Any]:
    """Collect what the page shows: `runs`, each with its neurons and responses.

    Args:
        frames: run -> its trajectories, as `trajectories.traces.read_trace` gives them; shown in this order.
        config: the configuration; `trajectories.page_responses` is shared out among the runs.
        table: the table `trajectories`, for each neuron's correlation with the TD error, where it is available.
    """
    wanted = config["trajectories"]["page_responses"]
    runs, left = [], float(BUDGET)
    for place, traced in enumerate(frames.values()):
        share = wanted // len(frames) + (place < wanted % len(frames))
        responses = []
        for row in ordered(traced.responses).head(share).iter_rows(named=True):
            response = response_of(row, traced)
            left -= len(json.dumps(response, separators=(",", ":")))
            if left < 0:
                break
            responses.append(response)
        description = {"run": traced.run, "layer": traced.layer, "normalization": traced.normalization}
        description |= {"neurons": neurons_of(traced, table), "total": len(traced.responses)}
        runs.append(description | {"responses": responses})
    return {"runs": runs}


def ordered(responses: pl.DataFrame) -> pl.DataFrame:
    """Order responses with paragraphs, those of validation problems first, by problem and sample."""
    there = responses.filter(pl.col("deltas").list.len() > 0)
    return there.sort(pl.col("split") != "validation", "problem_id", "sample")


def hundredths(numbers: Sequence[float]) -> list[int]:
    """Convert numbers to whole hundredths."""
    return [round(100 * number) for number in numbers]


def response_of(row: Mapping[str, Any], traced: Traced) -> dict[str, Any]:
    """Convert one response: values and TD errors in hundredths, oriented activations in tenths, neuron by neuron."""
    signs = np.array([one.sign for one in traced.neurons])[:, None]
    tenths = np.clip(np.rint(TENTHS * signs * activations_of(row, len(traced.neurons))), -LIMIT, LIMIT).astype(int)
    return {
        "id": row["problem_id"],
        "sample": row["sample"],
        "split": row["split"],
        "reward": row["reward"],
        "ends": row["boundaries"],
        "v": [hundredths(row[name]) for name in ("values", "value_low", "value_high")],
        "d": [hundredths(row[name]) for name in ("deltas", "delta_low", "delta_high")],
        "kept": [int(kept) for kept in row["kept"]],
        "pieces": row["pieces"],
        "a": tenths.tolist(),
    }


def neurons_of(traced: Traced, table: pl.DataFrame | None) -> list[dict[str, Any]]:
    """List the followed neurons; `rho` is the correlation on validation paragraphs with its interval, in hundredths."""
    neurons = []
    for one in traced.neurons:
        rho = None
        if table is not None:
            wanted = {"model": traced.model, "dataset": traced.dataset, "neuron": one.neuron}
            rows = table.filter(*(pl.col(name) == value for name, value in wanted.items()))
            numbers = rows.select("spearman", "ci_low", "ci_high").rows()
            rho = hundredths(numbers[0]) if numbers and None not in numbers[0] else None
        neurons.append({"neuron": one.neuron, "kind": one.kind, "rank": one.rank, "sign": one.sign, "rho": rho})
    return neurons


def data_text(payload: Mapping[str, Any]) -> str:
    """Write the payload as JSON that is safe inside a `<script>` element, whatever the text in it."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return "".join(ESCAPES.get(letter, letter) for letter in text)


def script_hash(script: str) -> str:
    """Hash an inline script, exactly the text between its tags, as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def part(kind: str, folder: Path) -> str:
    """Read the text of `trajectories.{html,css,js}`.

    Raises:
        UserError: it cannot be read.
    """
    path = folder / f"trajectories.{kind}"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); restore it") from error
