"""Small result files in the formats of the pipeline, with known curves, for the tests of tables, figures and report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.lib.storage.tables import write_parquet

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
    write_parquet(table, folder / "problems" / dataset / "0.parquet")
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
    alike = "all responses are correct"
    nothing = pruning(
        "spearman", dict.fromkeys(range(1, 7), 0.0), chance=0.0, reason="0 paragraphs: too few for a correlation"
    )
    easy = pruning("auc", dict.fromkeys(range(1, 7), 0.5), reason=alike)
    write_run(folder, "ppo", "easy", [1] * 400, easy, nothing, threshold=99.0)
    return tabulate_arguments(folder)


def tabulate_arguments(folder: Path, threshold: float = 0.3) -> list[str]:
    """The command line for what lies in a results folder."""
    patterns = {
        "problems": "problems/*/*.parquet",
        "rollouts": "rollouts/*/*/*.parquet",
        "values": "values/*/*.parquet",
        "value-pruning": "pruning/*/*/value.parquet",
        "dopamine-pruning": "pruning/*/*/dopamine.parquet",
    }
    sections = {
        "pruning": {"bootstrap": 200, "confidence": 0.95, "seed": 0},
        "values": {"gamma": 1.0, "min_abs_delta": threshold, "n_continuations": 16, "adaptive": None},
    }
    arguments = ["--params", json.dumps(sections)]
    for flag, pattern in patterns.items():
        arguments += [f"--{flag}", *(str(path) for path in sorted(folder.glob(pattern)))]
    return [*arguments, "--output-dir", str(folder / "tables")]


INTERVENTIONS: dict[str, Any] = {
    "layers": [2, 4],
    "share": 0.01,
    "selections": [
        *("value", "value_final", "random", "random_matched", "random_sink_free", "ntp", "magnitude", "wanda"),
    ],
    "draws": 3,
    "mode": "zero",
    "dose_layers": [2],
    "dose_selections": ["value", "random_matched"],
    "dose_shares": [0.01, 0.05, 0.2],
    "dose_factors": [0.5, 2.0],
    "dose_factor_share": 0.05,
}
RANDOM = ("random", "random_matched", "random_sink_free")


def masked_conditions(study: dict[str, Any], layer: int) -> list[dict[str, Any]]:
    """Every condition that a study asks for at a layer, each once."""
    table, factor_share = (study["share"], study["mode"], 0.0), study["dose_factor_share"]
    doses = [(share, "zero", 0.0) for share in study["dose_shares"]]
    doses += [(factor_share, "scale", factor) for factor in study["dose_factors"]]
    found = []
    for selection in study["selections"]:
        dosed = layer in study["dose_layers"] and selection in study["dose_selections"]
        for draw in range(study["draws"] if selection in RANDOM else 1):
            for share, mode, factor in dict.fromkeys([table, *(doses if dosed else [])]):
                key = {"layer": layer, "selection": selection, "draw": draw, "share": share, "mode": mode}
                found.append(key | {"factor": factor, "n_neurons": max(1, round(share * WIDTH))})
    return found


def masked_responses(condition: dict[str, Any], unmasked: pl.DataFrame, rewards: list[int]) -> pl.DataFrame:
    """The rows of one condition; `rewards` in the order of the unmasked responses."""
    kinds = {"layer": pl.Int64, "draw": pl.Int64, "share": pl.Float64, "factor": pl.Float64, "n_neurons": pl.Int64}
    literals = [pl.lit(value, kinds.get(name, pl.String)).alias(name) for name, value in condition.items()]
    return unmasked.select(*literals, "problem_id", "sample", "response_ids", "truncated").with_columns(
        finish_reason=pl.lit("stop"), reward=pl.Series(rewards, dtype=pl.Int8)
    )


def write_masked(
    folder: Path,
    model: str,
    dataset: str,
    harm: dict[str, float],
    study: dict[str, Any] = INTERVENTIONS,
    n_problems: int | None = None,
    shards: int = 2,
) -> None:
    """Masked responses and proofs of a run whose rollouts are there, and its neurons.

    A right answer turns wrong with the chance `harm` gives its selection (times 2 at larger shares), and one answer in
    fifty turns either way whatever is held.
    """
    rng = np.random.default_rng(3)
    paths = sorted((folder / "rollouts" / model / dataset).glob("*.parquet"))
    plain = pl.concat([pl.read_parquet(path) for path in paths])
    plain = plain[: n_problems or len(plain)]
    right = plain["reward"].to_numpy().astype(bool)
    for layer in study["layers"]:
        frames, proofs = [], []
        for condition in masked_conditions(study, layer):
            hurt = min(1.0, harm.get(condition["selection"], 0.0) * (1 if condition["share"] == study["share"] else 2))
            after = (right & (rng.random(len(right)) >= hurt)) ^ (rng.random(len(right)) < 0.02)
            frames.append(masked_responses(condition, plain, after.astype(int).tolist()))
            key = {name: value for name, value in condition.items() if name != "n_neurons"}
            proofs.append(key | {"processed": 5000, "changed": 5000, "largest_miss": 0.0})
        bounds = np.linspace(0, len(plain), shards + 1).astype(int)
        for shard in range(shards):
            target = folder / "masked" / model / dataset / str(layer) / f"{shard}.parquet"
            size = int(bounds[shard + 1] - bounds[shard])
            write_parquet(pl.concat([frame.slice(int(bounds[shard]), size) for frame in frames]), target)
            write_parquet(pl.DataFrame(proofs), target.with_suffix(".proofs.parquet"))
    write_neurons(folder / "neurons" / model / f"{dataset}.parquet", study)


def write_neurons(path: Path, study: dict[str, Any] = INTERVENTIONS) -> None:
    """Sets of neurons: `value` holds the first, `ntp` shares one of them, the rest share none."""
    rows = []
    for layer in study["layers"]:
        for condition in masked_conditions(study, layer):
            k, place = condition["n_neurons"], study["selections"].index(condition["selection"])
            first = {"value": 0, "ntp": k - 1}.get(condition["selection"], 40 + 10 * place + condition["draw"])
            row = {name: condition[name] for name in ("layer", "selection", "draw", "share")}
            rows.append(row | {"neurons": [(first + i) % WIDTH for i in range(k)]})
    write_parquet(pl.DataFrame(rows).unique(maintain_order=True), path, {"width": str(WIDTH)})


def intervention_arguments(folder: Path, study: dict[str, Any] = INTERVENTIONS, resamples: int = 200) -> list[str]:
    """The command line of `tabulate_interventions` for what lies in a results folder."""
    masked = sorted((folder / "masked").glob("*/*/*/*.parquet"))
    files = {
        "rollouts": sorted((folder / "rollouts").glob("*/*/*.parquet")),
        "masked": [path for path in masked if not path.name.endswith(".proofs.parquet")],
        "proofs": [path for path in masked if path.name.endswith(".proofs.parquet")],
        "neurons": sorted((folder / "neurons").glob("*/*.parquet")),
    }
    pruning = {"bootstrap": resamples, "confidence": 0.95, "seed": 0}
    arguments = ["--params", json.dumps({"interventions": study, "pruning": pruning})]
    for flag, paths in files.items():
        arguments += [f"--{flag}", *map(str, paths)]
    arguments += ["--scores", str(folder / "scores" / "masks.parquet")]
    return [*arguments, "--output-dir", str(folder / "tables")]
