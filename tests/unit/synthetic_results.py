"""Small result files in the formats of the pipeline, with known curves, for the tests of tables, figures and report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.lib.tables import write_parquet

RATIOS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99]
WIDTH = 192


def problems(n: int, n_validation: int) -> pl.DataFrame:
    """`n` problems of which the last `n_validation` are the validation part."""
    split = ["train"] * (n - n_validation) + ["validation"] * n_validation
    names = [f"p-{i:06d}" for i in range(n)]
    return pl.DataFrame(
        {"problem_id": names, "position": range(n), "question": ["?"] * n, "gold": ["1"] * n, "split": split}
    )


def rollouts(names: list[str], rewards: list[int], samples: int = 1) -> pl.DataFrame:
    """One response of 3 to 7 tokens for each problem and sample; `rewards` in that order."""
    rows: list[dict[str, Any]] = []
    for i, reward in enumerate(rewards):
        name, sample = names[i // samples], i % samples
        row = {"problem_id": name, "sample": sample, "response_ids": [7] * (3 + i % 5), "reward": reward}
        rows.append(row | {"truncated": i % 10 == 0})
    schema: dict[str, Any] = {"problem_id": pl.String, "sample": pl.Int64, "response_ids": pl.List(pl.Int32)}
    return pl.DataFrame(rows, schema=schema | {"reward": pl.Int8, "truncated": pl.Boolean})


def values(names: list[str], rng: np.random.Generator, threshold: float = 0.3) -> pl.DataFrame:
    """Four paragraphs a response, whose chances of success (uniform) are measured with 16 continuations."""
    rows: list[dict[str, Any]] = []
    for name in names:
        chance = [*rng.random(4), float(rng.random() < 0.5)]
        halves = [rng.binomial(8, c, 2) if k < 4 else np.array([8 * c, 8 * c]) for k, c in enumerate(chance)]
        for k, half in enumerate(halves):
            row = {"problem_id": name, "sample": 0, "boundary": k, "n": 0 if k == 4 else 16}
            row |= {"n_right": int(half.sum()) if k < 4 else 0, "value": half.sum() / 16}
            change = None if k == 0 else (half - halves[k - 1]) / 8
            delta = None if change is None else float(change.mean())
            row |= {"delta": delta, "kept": None if delta is None else abs(delta) > threshold}
            row |= {f"delta_half_{h}": None if change is None else float(change[i]) for i, h in enumerate("ab")}
            rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def pruning(
    metric: str,
    levels: dict[int, float],
    half_width: float = 0.04,
    chance: float = 0.5,
    reason: str | None = None,
    seeds: int = 3,
    draws: int = 20,
) -> pl.DataFrame:
    """Curves that stay at each layer's level, random selections that decay to chance, shuffled labels at chance.

    With a `reason` every metric is empty.
    """
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    positions = ("initial", "final") if metric == "auc" else (None,)
    for position in positions:
        for layer, level in levels.items():
            shift = 0.1 if position == "final" else 0.0
            for ratio in RATIOS:
                point = {"layer": layer, "position": position, "prune_ratio": ratio, "reason": reason}
                point["n_kept"] = max(1, round((1 - ratio) * WIDTH))
                rows += curve_point(point, metric, level + shift, chance, half_width, seeds, draws, rng)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    if reason is not None:
        frame = frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in (metric, "ci_low", "ci_high"))
    return frame if metric == "auc" else frame.drop("position")


def curve_point(
    point: dict[str, Any],
    metric: str,
    level: float,
    chance: float,
    half_width: float,
    seeds: int,
    draws: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """All rows of one layer and prune ratio."""

    def row(labels: str, kept: str, seed: int, draw: int, value: float, half: float | None = None) -> dict[str, Any]:
        interval = {"ci_low": value - half, "ci_high": value + half} if half else {"ci_low": None, "ci_high": None}
        return point | {"labels": labels, "kept": kept, "seed": seed, "draw": draw, metric: value} | interval

    noise = [0.01 * (s - (seeds - 1) / 2) for s in range(seeds)]
    rows = [row("true", "importance", s, -1, level + noise[s]) for s in range(seeds)]
    rows.append(row("true", "importance", -1, -1, level, half_width))
    rows.append(row("shuffled", "importance", 0, -1, chance + 0.01))
    left = point["n_kept"] / WIDTH
    for s in range(seeds):
        for d in range(draws):
            rows.append(
                row("true", "random", s, d, chance + (level - chance) * left**0.3 + rng.normal(0, 0.02 * (1 - left)))
            )
    return rows


def write_run(
    folder: Path,
    model: str,
    dataset: str,
    rewards: list[int],
    value_pruning: pl.DataFrame,
    dopamine_pruning: pl.DataFrame | None = None,
    threshold: float = 0.3,
) -> None:
    """All files of one run, rollouts in two shards."""
    n = len(rewards)
    table = problems(n, n // 5)
    names = table["problem_id"].to_list()
    write_parquet(table, folder / "problems" / f"{dataset}.parquet")
    frame = rollouts(names, rewards)
    for shard, part in enumerate((frame[: n // 2], frame[n // 2 :])):
        write_parquet(part, folder / "rollouts" / model / dataset / f"{shard}.parquet")
    write_parquet(value_pruning, folder / "pruning" / model / dataset / "value.parquet")
    if dopamine_pruning is not None:
        measured = values(names, np.random.default_rng(1), threshold)
        write_parquet(measured, folder / "values" / model / f"{dataset}.parquet")
        write_parquet(dopamine_pruning, folder / "pruning" / model / dataset / "dopamine.parquet")


def study(folder: Path) -> list[str]:
    """Three runs (a signal, chance, right answers only); returns the command line of `tabulate_results`."""
    rng = np.random.default_rng(2)
    mixed = [int(r) for r in rng.random(400) < 0.6]
    signal = pruning("auc", {layer: 0.62 + 0.03 * layer for layer in range(1, 7)})
    surprise = pruning("spearman", {layer: 0.2 + 0.05 * layer for layer in range(1, 7)}, 0.08, chance=0.0)
    write_run(folder, "grpo", "ledger", mixed, signal, surprise)
    write_run(folder, "grpo", "codes", mixed, pruning("auc", dict.fromkeys(range(1, 7), 0.51)))
    alike = "all responses are right"
    nothing = pruning(
        "spearman", dict.fromkeys(range(1, 7), 0.0), chance=0.0, reason="0 paragraphs: too few for a correlation"
    )
    easy = pruning("auc", dict.fromkeys(range(1, 7), 0.5), reason=alike)
    write_run(folder, "ppo", "easy", [1] * 400, easy, nothing, threshold=99.0)
    return tabulate_arguments(folder)


def tabulate_arguments(folder: Path, threshold: float = 0.3) -> list[str]:
    """The command line for what lies in a results folder."""
    patterns = {
        "problems": "problems/*.parquet",
        "rollouts": "rollouts/*/*/*.parquet",
        "values": "values/*/*.parquet",
        "value-pruning": "pruning/*/*/value.parquet",
        "dopamine-pruning": "pruning/*/*/dopamine.parquet",
    }
    sections = {
        "pruning": {"bootstrap": 200, "confidence": 0.95, "seed": 0},
        "values": {"gamma": 1.0, "min_abs_delta": threshold},
    }
    arguments = ["--params", json.dumps(sections)]
    for flag, pattern in patterns.items():
        arguments += [f"--{flag}", *(str(path) for path in sorted(folder.glob(pattern)))]
    return [*arguments, "--output-dir", str(folder / "tables")]
