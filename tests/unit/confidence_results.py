"""Scores and choices as `predict_confidence` writes them, made up, for the tests of their tables and figure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.lib.confidence.methods import CHOSEN_ON, METHODS, VALUE_METHODS
from workflow_scripts.lib.confidence.predictions import CHOICES, SCHEMA
from workflow_scripts.lib.storage.tables import write_parquet

SHARPNESS = dict.fromkeys(METHODS, 1.0) | {"value_neurons": 2.0, "value_neurons_cv": 2.0, "token": 0.0}
SILENT = "the model named no number from 0 to 1 in 10 tries for any problem"


def choices(undefined: dict[str, str]) -> pl.DataFrame:
    """Two layers of one seed for value methods, one row for the others."""
    rows: list[dict[str, Any]] = []
    for method in METHODS:
        reason = undefined.get(method)
        common = {"method": method, "chosen_on": CHOSEN_ON[method], "undefined": reason, "uncalibrated": reason}
        for layer in (2, 3) if method in VALUE_METHODS else (None,):
            ratio = 0.9 if layer else None
            rows.append({**common, "layer": layer, "seed": layer and 0, "prune_ratio": ratio})
    return pl.DataFrame(rows, schema=CHOICES)


def predictions(
    chosen: pl.DataFrame, rewards: np.ndarray, scores: dict[str, np.ndarray], lengths: np.ndarray, samples: int = 1
) -> pl.DataFrame:
    """Validation rows; probabilities are the logistic function of the scores. Scores of undefined methods are null."""
    frames = [pl.DataFrame(schema=SCHEMA)]
    names = [f"p-{i // samples:04d}" for i in range(len(rewards))]
    for row in chosen.to_dicts():
        mine = scores[row["method"]].astype(float) + (0.0 if row["layer"] in (None, 2) else 0.01)
        columns: dict[str, Any] = {"problem_id": names, "sample": [i % samples for i in range(len(names))]}
        columns |= {"split": ["validation"] * len(names), "reward": rewards.astype(np.int8), "prompt_tokens": lengths}
        columns |= {name: [row[name]] * len(names) for name in ("method", "layer", "seed")}
        columns |= {"score": mine, "probability": 1 / (1 + np.exp(-mine)), "fold": [None] * len(names)}
        frame = pl.DataFrame(columns, schema_overrides=SCHEMA).select(list(SCHEMA))
        if row["undefined"]:
            frame = frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("score", "probability"))
        frames.append(frame.with_columns(pl.col("score", "probability").fill_nan(None)))
    return pl.concat(frames).sort("problem_id", "sample")


def write_run(
    folder: Path,
    run: str = "grpo/ledger",
    n: int = 200,
    seed: int = 0,
    undefined: dict[str, str] | None = None,
    rewards: np.ndarray | None = None,
    samples: int = 1,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A run whose methods are as sharp as `SHARPNESS` says; its rewards and scores."""
    rng = np.random.default_rng(seed)
    made = (rng.random(n * samples) < 0.5).astype(float) if rewards is None else rewards
    lengths = np.repeat(rng.integers(10, 30, len(made) // samples), samples)
    scores = {name: rng.normal(size=len(made)) + SHARPNESS[name] * (made - 0.5) for name in METHODS}
    chosen = choices({"verbal": SILENT} if undefined is None else undefined)
    write_parquet(chosen, folder / "confidence" / run / "choices.parquet")
    write_parquet(predictions(chosen, made, scores, lengths, samples), folder / "confidence" / f"{run}.parquet")
    return made, scores


def arguments(folder: Path, resamples: int = 200, **section: int) -> list[str]:
    """The command line of `tabulate_confidence` for what lies in a results folder."""
    pruning = {"bootstrap": resamples, "confidence": 0.95, "seed": 0}
    params = {"confidence": {"bins": 10, "strata": 4} | section, "pruning": pruning}
    files = {
        "predictions": sorted((folder / "confidence").glob("*/*.parquet")),
        "choices": sorted((folder / "confidence").glob("*/*/choices.parquet")),
    }
    found = ["--params", json.dumps(params)]
    for flag, paths in files.items():
        found += [f"--{flag}", *map(str, paths)]
    return [*found, "--scores", str(folder / "scores.parquet"), "--output-dir", str(folder / "tables")]
