"""Adaptive Monte-Carlo values against a fixed number of continuations, both held against the truth from many.

Usage: python -m benchmarks.bench_adaptive [--rollouts FOLDER] [--runs grpo/ledger grpo/locks] [--cache FILE]

From every paragraph boundary of some responses `--truth` continuations are drawn with one seed and `--most` with
another. The second set is what the designs draw from, a fixed number its first ones. Errors are those against the
first set; what that set's own noise adds to them is taken off. Intervals: bootstrap over problems.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from workflow_scripts.continue_paragraphs import Sampler, collect_prefixes
from workflow_scripts.lib.check_config import read_yaml, with_defaults
from workflow_scripts.lib.engine import EngineOptions, Sampling
from workflow_scripts.lib.engines import load_engine
from workflow_scripts.lib.grading import Grader
from workflow_scripts.lib.models import ModelConfig, load_tokenizer
from workflow_scripts.lib.sequential import Design, estimates
from workflow_scripts.lib.statistics import problem_weights
from workflow_scripts.lib.tables import read_parquet

FIXED = (8, 12, 16, 24, 32, 48)
ADAPTIVE = (Design(8, 20, 0.17), Design(8, 32, 0.12), Design(8, 64, 0.12), Design(8, 64, 0.1), Design(8, 64, 0.08))
RESPONSE = ["run", "problem_id", "sample"]
GAMMA, THRESHOLD, DRAWS = 0.99999, 0.3, 2000
Array = np.ndarray


def sample(run: str, folder: Path, responses: int, counts: Sequence[int], batch_size: int) -> pl.DataFrame:
    """One row a boundary: rewards and lengths of the two sets of continuations, and the reward of the response."""
    name, dataset = run.split("/")
    config = with_defaults(read_yaml("config.yaml"))
    model = ModelConfig.from_entry({"key": name, **config["models"][name]})
    how, entry = config["rollouts"], config["datasets"][dataset]
    rollouts = read_parquet(sorted((folder / "rollouts" / run).glob("*.parquet"))).head(responses)
    paragraphs = read_parquet(sorted((folder / "paragraphs" / run).glob("*.parquet")))
    problems = read_parquet(folder / "problems" / f"{dataset}.parquet")
    known = {row["problem_id"]: row for row in problems.select("problem_id", "gold", "spec").to_dicts()}
    engine = load_engine(how["engine"], model, EngineOptions(batch_size))
    sampling = Sampling(how["temperature"], how["top_p"], how["max_tokens"], how["stop"], logprobs=False)
    prefixes = collect_prefixes(rollouts, paragraphs)
    columns: dict[str, dict[object, list[int]]] = {}
    for seed, (kind, count) in enumerate(zip(("truth", "own"), counts, strict=True), start=1):
        grader = Grader(entry["answer"])
        opening = entry["response_prefix"]
        sampler = Sampler(engine, sampling, seed, load_tokenizer(model), known, opening, grader, 1)
        for prefix, rows in sampler.draw(prefixes, range(count)):
            columns.setdefault(kind, {})[prefix.places[0]] = [reward for *_, reward in rows]
            columns.setdefault(f"{kind}_tokens", {})[prefix.places[0]] = [len(ids) for ids, *_ in rows]
    places = sorted(columns["truth"])
    frame = pl.DataFrame(places, schema=["problem_id", "sample", "boundary"], orient="row")
    frame = frame.with_columns(pl.Series(kind, [found[place] for place in places]) for kind, found in columns.items())
    return frame.with_columns(run=pl.lit(run)).join(
        rollouts.select("problem_id", "sample", end=pl.col("reward").cast(pl.Float64)), on=["problem_id", "sample"]
    )


class Measured:
    """What one way of drawing and estimating gives: values and numbers of continuations, by boundary."""

    def __init__(self, data: pl.DataFrame, value: Array, n: Array) -> None:
        self.value, self.n = value, n
        tokens = np.array(data["own_tokens"].to_list())
        self.tokens = np.where(np.arange(tokens.shape[1]) < n[:, None], tokens, 0).sum(1)


def fixed(data: pl.DataFrame, n: int) -> Measured:
    """The share of right ones among the first n."""
    own = np.array(data["own"].to_list())
    return Measured(data, own[:, :n].mean(1), np.full(len(own), n))


def adaptive(data: pl.DataFrame, design: Design, unbiased: bool = True) -> Measured:
    """The design's estimate; or the plain share of right ones where it stops."""
    own = np.array(data["own"].to_list())
    n = np.full(len(own), design.budget)
    for look in reversed(design.looks):
        n[~design.goes_on(look, own[:, :look].sum(1))] = look
    right = np.where(np.arange(own.shape[1]) < n[:, None], own, 0).sum(1)
    return Measured(data, estimates(design)[n, right] if unbiased else right / n, n)


def td_errors(data: pl.DataFrame, value: Array) -> tuple[Array, Array]:
    """TD error of the paragraph after each boundary, and the place of the boundary at its end (-1: the response's)."""
    first = data.select(pl.struct(RESPONSE).rle_id()).to_series().to_numpy()
    last = np.append(first[1:] != first[:-1], True)
    after = np.where(last, -1, np.arange(len(data)) + 1)
    ends = np.where(last, data["end"].to_numpy(), value[after])
    return GAMMA * ends - value, after


def figures(data: pl.DataFrame, found: Measured) -> dict[str, tuple[float, float, float]]:
    """Every figure with its interval."""
    drawn = np.array(data["truth"].to_list())
    truth = drawn.mean(1)
    noise = truth * (1 - truth) / (drawn.shape[1] - 1)
    delta, after = td_errors(data, found.value)
    true_delta, _ = td_errors(data, truth)
    delta_noise = noise + np.where(after < 0, 0, noise[after]) * GAMMA**2
    agrees = (np.abs(delta) > THRESHOLD) == (np.abs(true_delta) > THRESHOLD)
    groups = data.select(pl.struct("run", "problem_id").rank("dense")).to_series().to_numpy()
    weights = problem_weights(groups, DRAWS, np.random.default_rng(0))
    everything = np.ones((len(data), 1))

    def interval(number: Callable[[Array], Array]) -> tuple[float, float, float]:
        low, high = np.quantile(number(weights), [0.025, 0.975])
        return float(number(everything)[0]), float(low), float(high)

    def mean(values: Array) -> Callable[[Array], Array]:
        return lambda w: values @ w / w.sum(0)

    def root(squares: Array) -> Callable[[Array], Array]:
        return lambda w: np.sqrt(np.maximum(squares @ w / w.sum(0), 0))

    return {
        "continuations": interval(mean(found.n)),
        "tokens": interval(mean(found.tokens)),
        "bias of V": interval(mean(found.value - truth)),
        "bias towards 1/2": interval(mean((found.value - truth) * np.sign(0.5 - truth))),
        "RMSE of V": interval(root((found.value - truth) ** 2 - noise)),
        "RMSE of delta": interval(root((delta - true_delta) ** 2 - delta_noise)),
        "|delta| > 0.3 as in truth": interval(mean(agrees)),
    }
