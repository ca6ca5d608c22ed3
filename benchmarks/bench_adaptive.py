"""Adaptive Monte-Carlo values against a fixed number of continuations, both compared with the truth from many.

Usage: python -m benchmarks.bench_adaptive [--runs grpo/ledger grpo/locks] [--responses 32] [--cache FILE]

From every paragraph boundary of some responses `--truth` continuations are drawn with one seed and `--most` with
another. The second set is what the designs draw from, a fixed number its first ones. Errors are those against the
first set; what that set's own noise adds to them is taken off. Intervals: bootstrap over problems. The saving at equal
error is simulated, at the values that the first set gives, many times over: one sample alone is too noisy for it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.timing import machine
from workflow_scripts.lib.config.plain import read_yaml
from workflow_scripts.lib.config.study import with_defaults
from workflow_scripts.lib.engines.interface import EngineOptions, Sampling
from workflow_scripts.lib.engines.start import load_engine
from workflow_scripts.lib.grading.grade import Grader
from workflow_scripts.lib.grading.responses import ResponseGrader
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.statistics.bootstrap import problem_weights
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.values.adaptive import Design, estimates
from workflow_scripts.lib.values.continuations import Place, Sampler, collect_prefixes

FIXED = (8, 16, 24, 32, 48)
ADAPTIVE = (Design(8, 20, 0.17), Design(8, 32, 0.12), Design(8, 64, 0.12), Design(8, 64, 0.1), Design(8, 64, 0.08))
RESPONSE = ["run", "problem_id", "sample"]
GAMMA, THRESHOLD, DRAWS, REPEATS = 0.99999, 0.3, 2000, 400
Array = np.ndarray


def sample(run: str, folder: Path, responses: int, counts: Sequence[int], batch_size: int) -> pl.DataFrame:
    """Sample one row a boundary: rewards and lengths of both sets of continuations, and the reward of the response."""
    name, dataset = run.split("/")
    config = with_defaults(read_yaml("config.yaml"))
    model = ModelConfig.from_entry({"key": name, **config["models"][name]})
    how, entry = config["rollouts"], config["datasets"][dataset]
    rollouts = read_parquet(sorted((folder / "rollouts" / run).glob("*.parquet"))).head(responses)
    paragraphs = read_parquet(sorted((folder / "paragraphs" / run).glob("*.parquet")))
    problems = read_parquet(sorted((folder / "problems" / dataset).glob("*.parquet")))
    known = {row["problem_id"]: row for row in problems.select("problem_id", "gold", "spec").to_dicts()}
    grader = ResponseGrader(known, entry["response_prefix"], Grader(entry["answer"]))
    engine = load_engine(how["engine"], model, EngineOptions(batch_size))
    sampling = Sampling(how["temperature"], how["top_p"], how["max_tokens"], how["stop"], logprobs=False)
    prefixes = collect_prefixes(rollouts, paragraphs)
    columns: dict[str, dict[Place, list[int]]] = {}
    for seed, (kind, count) in enumerate(zip(("truth", "own"), counts, strict=True), start=1):
        sampler = Sampler(engine, sampling, seed, load_tokenizer(model), grader)
        for prefix, rows in sampler.draw(prefixes, range(count)):
            columns.setdefault(kind, {})[prefix.places[0]] = [reward for *_, reward in rows]
            columns.setdefault(f"{kind}_tokens", {})[prefix.places[0]] = [len(ids) for ids, *_ in rows]
    places = sorted(columns["truth"])
    frame = pl.DataFrame(places, schema=["problem_id", "sample", "boundary"], orient="row")
    frame = frame.with_columns(pl.Series(kind, [found[place] for place in places]) for kind, found in columns.items())
    return frame.with_columns(run=pl.lit(run)).join(
        rollouts.select("problem_id", "sample", end=pl.col("reward").cast(pl.Float64)),
        on=["problem_id", "sample"],
        maintain_order="left",
    )


def fixed(own: Array, n: int) -> tuple[Array, Array]:
    """Return the share of correct ones among the first n, and n, by boundary."""
    return own[..., :n].mean(-1), np.full(own.shape[:-1], n)


def adaptive(own: Array, design: Design, unbiased: bool = True) -> tuple[Array, Array]:
    """Return the design's estimate (or the plain share of correct ones where it stops) and its n, by boundary."""
    n = np.full(own.shape[:-1], design.budget)
    for look in reversed(design.looks):
        n[~design.goes_on(look, own[..., :look].sum(-1))] = look
    right = np.where(np.arange(own.shape[-1]) < n[..., None], own, 0).sum(-1)
    return estimates(design)[n, right] if unbiased else right / n, n


class Truth:
    """The boundaries with their true values, as far as many continuations give them, and the paragraphs after them."""

    def __init__(self, data: pl.DataFrame) -> None:
        drawn = np.array(data["truth"].to_list())
        self.own, self.own_tokens = (np.array(data[name].to_list()) for name in ("own", "own_tokens"))
        self.value, self.end = drawn.mean(1), data["end"].to_numpy()
        self.noise = self.value * (1 - self.value) / (drawn.shape[1] - 1)
        self.length = np.array(data["truth_tokens"].to_list()).mean(1)
        response = data.select(pl.struct(RESPONSE).rle_id()).to_series().to_numpy()
        self.is_last = np.append(response[1:] != response[:-1], True)
        self.after = np.where(self.is_last, 0, np.arange(len(data)) + 1)
        groups = data.select(pl.struct("run", "problem_id").rank("dense")).to_series().to_numpy()
        self.weights = np.hstack([np.ones((len(data), 1)), problem_weights(groups, DRAWS, np.random.default_rng(0))])

    def delta(self, value: Array) -> Array:
        """Return the TD error of the paragraph after each boundary."""
        return GAMMA * np.where(self.is_last, self.end, value[..., self.after]) - value

    def delta_noise(self, noise: Array) -> Array:
        """Compute the variance of the TD errors from that of the values."""
        return noise + GAMMA**2 * np.where(self.is_last, 0, noise[self.after])

    def mean(self, values: Array) -> Array:
        """Average over boundaries: over all, then over each bootstrap sample."""
        return values @ self.weights / self.weights.sum(0)


def interval(numbers: Array, scale: float = 1.0, digits: int = 3) -> str:
    """Format the first number with the interval of the others."""
    low, high = np.quantile(numbers[1:], [0.025, 0.975])
    value, low, high = (f"{scale * part:.{digits}f}" for part in (numbers[0], low, high))
    return f"{value} [{low}, {high}]"


def measured(truth: Truth, value: Array, n: Array) -> list[str]:
    """Tabulate cost and errors of one way of drawing and estimating, each with its interval."""
    error, delta, true_delta = value - truth.value, truth.delta(value), truth.delta(truth.value)
    tokens = np.where(np.arange(truth.own.shape[1]) < n[:, None], truth.own_tokens, 0).sum(1)
    towards_half = error * np.sign(0.5 - truth.value)
    squares = (error**2 - truth.noise, (delta - true_delta) ** 2 - truth.delta_noise(truth.noise))
    agrees = (np.abs(delta) > THRESHOLD) == (np.abs(true_delta) > THRESHOLD)
    return [
        f"{n.mean():.1f}",
        f"{tokens.mean():.0f}",
        interval(truth.mean(error)),
        interval(truth.mean(towards_half)),
        *(interval(np.sqrt(np.maximum(truth.mean(square), 0))) for square in squares),
        interval(truth.mean(agrees), 100, 1),
    ]


def root_bias(value: Array, true: Array) -> float:
    """Compute the root of the mean squared bias over boundaries, corrected for the finite number of repeats."""
    return float(np.sqrt(max(0, np.mean((value.mean(0) - true) ** 2 - value.var(0, ddof=1) / len(value)))))


def saving(truth: Truth, design: Design, rng: np.random.Generator) -> list[str]:
    """Compute the design's cost, the fixed number with its error, and the share of continuations and tokens saved."""
    own = rng.random((REPEATS, len(truth.value), design.budget)) < truth.value[:, None]
    value, n = adaptive(own, design)
    cost = n.mean(0)
    found = [f"{cost.mean():.1f}"]
    one = truth.value * (1 - truth.value)
    for errors, of_one in (
        (((value - truth.value) ** 2).mean(0), one),
        (((truth.delta(value) - truth.delta(truth.value)) ** 2).mean(0), truth.delta_noise(one)),
    ):
        as_good = truth.mean(of_one) / truth.mean(errors)
        tokens = truth.mean(cost * truth.length) / truth.mean(truth.length) / as_good
        found += [f"{as_good[0]:.1f}", *(interval(1 - share, 100, 0) for share in (truth.mean(cost) / as_good, tokens))]
    return [
        *found,
        *(f"{root_bias(each, truth.value):.4f}" for each in (value, adaptive(own, design, unbiased=False)[0])),
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their head, in columns."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    print()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=["grpo/ledger", "grpo/locks"])
    parser.add_argument("--results", type=Path, default=Path("results"), help="with the rollouts and paragraphs")
    parser.add_argument("--responses", type=int, default=32, help="of each run")
    parser.add_argument("--truth", type=int, default=256, help="continuations for the truth")
    parser.add_argument("--most", type=int, default=64, help="continuations that the designs draw from")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--cache", type=Path, help="keep the continuations in this file, or take them from it")
    arguments = parser.parse_args()
    if arguments.cache and arguments.cache.exists():
        data = read_parquet(arguments.cache)
    else:
        counts = (arguments.truth, arguments.most)
        size = arguments.batch_size
        parts = [sample(run, arguments.results, arguments.responses, counts, size) for run in arguments.runs]
        data = pl.concat(parts)
        if arguments.cache:
            write_parquet(data, arguments.cache)
    truth = Truth(data)
    responses = data.select(RESPONSE).unique()
    print(f"machine: {machine()}\n{len(responses)} responses, {len(data)} boundaries\n")
    rows = [[f"fixed {n}", *measured(truth, *fixed(truth.own, n))] for n in FIXED]
    for design in ADAPTIVE:
        name = f"{design.first} to {design.budget}, ±{design.half_width:g}"
        rows.append([name, *measured(truth, *adaptive(truth.own, design))])
        rows.append([f"{name}, plain share", *measured(truth, *adaptive(truth.own, design, unbiased=False))])
    error = ["bias of V", "towards 1/2", "RMSE of V", "RMSE of delta", "% of |delta| > 0.3 as in truth"]
    table(["drawn", "n", "tokens", *error], rows)
    saved = ["fixed n as good for V", "% saved", "% of tokens", "for delta", "% saved", "% of tokens"]
    rng = np.random.default_rng(0)
    rows = [[f"{d.first} to {d.budget}, ±{d.half_width:g}", *saving(truth, d, rng)] for d in ADAPTIVE]
    table(["simulated", "n", *saved, "bias (root mean square)", "of the plain share"], rows)


if __name__ == "__main__":
    main()
