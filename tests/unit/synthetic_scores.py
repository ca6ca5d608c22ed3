"""Tables of scores with a known truth, in the formats of the pipeline, for the tests of claims."""

from typing import Any

import numpy as np
import polars as pl
from scipy.stats import norm

from workflow_scripts.lib.claims.scores import KEYS, Scores, Table
from workflow_scripts.lib.statistics.intervals import Resampling

HOW = Resampling(0.95, 300, 0)
SHARE, MODE = 0.01, "zero"
SEEDS, DRAWS = 3, 5


def scores(**frames: pl.DataFrame) -> Scores:
    """The scores of a study; a table that is not given has no rows."""
    tables = {name: Table.of(name, frames.get(name, pl.DataFrame()), HOW) for name in KEYS}
    sets = {name: frames.get(name, pl.DataFrame()) for name in ("overlap", "neurons", "selected")}
    return Scores(tables, sets["overlap"], sets["neurons"], sets["selected"], SHARE, MODE, HOW.confidence)


def names(n: int) -> list[str]:
    """Names of problems."""
    return [f"p{i:05}" for i in range(n)]


def rewards_of(n: int, share: float = 0.5, seed: int = 0) -> np.ndarray:
    """Rewards of n problems, a share of them correct."""
    return np.random.default_rng(seed).permutation(np.arange(n) < round(share * n)).astype(float)


def separated(rewards: np.ndarray, auc: float, members: int, rng: np.random.Generator, own: float = 0.3) -> np.ndarray:
    """Binormal scores [members, n] with this AUC; members share most of their noise."""
    shift = np.sqrt(2) * norm.ppf(auc) * rewards
    noise = np.sqrt(1 - own**2) * rng.normal(size=len(rewards)) + own * rng.normal(size=(members, len(rewards)))
    return shift + noise


def value_part(
    rewards: np.ndarray, full: float, sparse: float, random: float = 0.5, seed: int = 0, **keys: Any
) -> list[pl.DataFrame]:
    """Scores of one layer at one position: AUC with all inputs, with one percent, and with random ones.

    `constant=True`: every score is the same number.
    """
    rng, constant = np.random.default_rng(seed), keys.pop("constant", False)
    frames = []
    for ratio, auc in ((0.0, full), (0.99, sparse)):
        true = separated(rewards, auc, SEEDS, np.random.default_rng(seed + 1))
        drawn = separated(rewards, random if ratio else full, SEEDS * DRAWS, rng)
        true, drawn = (np.zeros_like(part) if constant else part for part in (true, drawn))
        columns = {"true": true, "random": drawn}
        frames.append(
            pl.DataFrame({"problem_id": names(len(rewards)), "sample": 0, "reward": rewards.astype(int)}).with_columns(
                *(pl.lit(value).alias(name) for name, value in keys.items()),
                prune_ratio=pl.lit(ratio),
                **{name: lists(part) for name, part in columns.items()},
            )
        )
    return frames


def lists(part: np.ndarray) -> pl.Series:
    """A column with the entries of each row as a list."""
    return pl.Series(part.T.astype(np.float32).tolist(), dtype=pl.List(pl.Float32))


def value_table(
    levels: dict[tuple[str, str, int], tuple[float, float]],
    n: int = 300,
    share: float = 0.5,
    position: str = "initial",
    random: float = 0.5,
    constant: tuple[int, ...] = (),
) -> pl.DataFrame:
    """Value scores by (model, data set, layer): AUC with all inputs and with one percent; constant at some layers."""
    frames = []
    for place, ((model, dataset, layer), (full, sparse)) in enumerate(levels.items()):
        rewards = rewards_of(n, share, seed=sum(map(ord, dataset)))
        keys = {"model": model, "dataset": dataset, "layer": layer, "position": position, "constant": layer in constant}
        frames += value_part(rewards, full, sparse, random, seed=100 * place, **keys)
    return pl.concat(frames)


def dopamine_table(
    levels: dict[int, tuple[float, float]], n: int = 200, paragraphs: int = 4, random: float = 0.0
) -> pl.DataFrame:
    """Dopamine scores by layer: correlation with all inputs and with one percent (None: constant scores)."""
    frames, rng = [], np.random.default_rng(5)
    problems = [name for name in names(n) for _ in range(paragraphs)]
    delta = np.repeat(rng.normal(size=n), paragraphs) * 0.5 + rng.normal(size=len(problems))
    for layer, pair in levels.items():
        for ratio, rho in zip((0.0, 0.99), pair, strict=True):
            true, drawn = (related(delta, r, k, layer) for r, k in ((rho, SEEDS), (random, SEEDS * DRAWS)))
            frame = pl.DataFrame({"problem_id": problems, "sample": 0, "delta": delta})
            frames.append(
                frame.with_columns(
                    model=pl.lit("m"),
                    dataset=pl.lit("d"),
                    layer=pl.lit(layer),
                    prune_ratio=pl.lit(ratio),
                    true=lists(true),
                    random=lists(drawn),
                )
            )
    return pl.concat(frames)


def related(delta: np.ndarray, rho: float | None, members: int, seed: int) -> np.ndarray:
    """Scores [members, n] that correlate with the TD errors; None: constant ones."""
    if rho is None:
        return np.zeros((members, len(delta)))
    rng, scaled = np.random.default_rng(seed), (delta - delta.mean()) / delta.std()
    noise = 0.9 * rng.normal(size=len(delta)) + np.sqrt(1 - 0.81) * rng.normal(size=(members, len(delta)))
    return rho * scaled + np.sqrt(1 - rho**2) * noise


def masks_table(
    harm: dict[int, dict[str, float]], n: int = 200, base: float = 0.6, model: str = "m", dataset: str = "d"
) -> pl.DataFrame:
    """Rewards under ablation, by layer and selection: the share of the correct answers that are lost, exactly."""
    unmasked, frames = rewards_of(n, base), []
    correct = np.flatnonzero(unmasked)
    for layer, by_selection in harm.items():
        for selection, lost in by_selection.items():
            for draw in range(SEEDS if selection.startswith("random") else 1):
                after = unmasked.copy()
                after[np.random.default_rng(draw).permutation(correct)[: round(lost * n)]] = 0
                keys = {"model": model, "dataset": dataset, "layer": layer, "selection": selection, "share": SHARE}
                frame = pl.DataFrame({"problem_id": names(n), "sample": 0, "reward": after, "unmasked": unmasked})
                frames.append(
                    frame.with_columns(
                        *(pl.lit(value).alias(name) for name, value in keys.items()),
                        mode=pl.lit(MODE),
                        draw=pl.lit(draw),
                    )
                )
    return pl.concat(frames)


BASELINES = ("lcd", "lcd_logistic", "verbal", "token", "question_length")


def confidence_table(
    value: float, baselines: dict[tuple[int, str], float | None], n_runs: int = 8, n: int = 150
) -> pl.DataFrame:
    """Scores of confidence by run: the AUC of value neurons, and of baselines by (run, name); None: undefined."""
    frames = []
    for run in range(n_runs):
        rewards = rewards_of(n, 0.5, run)
        rng = np.random.default_rng(run)
        methods = {("value_neurons_cv", seed): row for seed, row in enumerate(separated(rewards, value, SEEDS, rng))}
        for name in BASELINES:
            auc = baselines.get((run, name), 0.5)
            methods[name, 0] = np.full(n, np.nan) if auc is None else separated(rewards, auc, 1, rng)[0]
        for (method, seed), row in methods.items():
            frames.append(
                pl.DataFrame({"problem_id": names(n), "sample": 0, "reward": rewards.astype(int), "score": row})
                .with_columns(pl.col("score").fill_nan(None), layer=pl.lit(2), seed=pl.lit(seed))
                .with_columns(model=pl.lit(f"m{run}"), dataset=pl.lit("d"), method=pl.lit(method))
            )
    return pl.concat(frames)


def search_table(accuracies: dict[str, float], n: int = 200, seeds: int = 3) -> pl.DataFrame:
    """Rewards of searches, by method and seed."""
    frames = []
    for method, accuracy in accuracies.items():
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            order = np.argsort(np.arange(n) / n + 0.2 * rng.random(n))
            rewards = np.zeros(n)
            rewards[order[: round(accuracy * n)]] = 1
            frame = pl.DataFrame({"problem_id": names(n), "reward": rewards, "tokens": 10})
            frames.append(
                frame.with_columns(model=pl.lit("m"), dataset=pl.lit("d"), method=pl.lit(method), seed=pl.lit(seed))
            )
    return pl.concat(frames)


def overlap_table(iou: float, seeds: int = 3, across: str = "data sets", kind: str = "value") -> pl.DataFrame:
    """Overlaps of probes of two runs, alike for every pair of seeds up to a little."""
    rows = []
    for layer in (2, 3, 5):
        for ratio in (0.5, 0.9, 0.99):
            for a in range(seeds):
                for b in range(seeds):
                    row: dict[str, Any] = {
                        "across": across,
                        "model_a": "m",
                        "dataset_a": "d",
                        "model_b": "m",
                        "dataset_b": "e",
                    }
                    row |= {"kind": kind, "layer": layer, "prune_ratio": ratio, "n_kept": 10, "d": 1000}
                    value = 1.0 if a == b else iou + 0.01 * np.sin(a + 2 * b)
                    rows.append(row | {"seed_a": a, "seed_b": b, "iou": value, "expected": 0.005})
    return pl.DataFrame(rows)
