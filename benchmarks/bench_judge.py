"""How long the judge of claims takes, and how much memory, on made-up scores of a study's size.

    python -m benchmarks.bench_judge studies/paper.yaml --paragraphs 4

Runs, layers, seeds, draws and numbers of problems are the study's; scores are noise, which costs as much as signal.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from workflow_scripts.judge_claims import judge, read_claims
from workflow_scripts.lib.claims.claim_cells import claim_cells
from workflow_scripts.lib.claims.paper_claims import TESTS
from workflow_scripts.lib.claims.scores import FULL, KEYS, SPARSE, Scores, Table, read_scores
from workflow_scripts.lib.claims.selectivity import selectivity
from workflow_scripts.lib.claims.table1 import table1
from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.neurons.catalogue import CATALOGUE
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.storage.tables import write_parquet

RATIOS = (FULL, SPARSE)
SHARE, MODE = 0.01, "zero"
VALUE_NEURONS = ("value_neurons", "value_neurons_cv")
BASELINES = ("lcd", "lcd_logistic", "verbal", "token", "question_length")


def probe_parts(config: dict[str, Any], run: str, kind: str, paragraphs: int) -> Iterator[pl.DataFrame]:
    """Make the scores of one run, layer by layer (and position)."""
    section, pruning = config[f"{kind}_probes"], config["pruning"]
    dataset = run.partition("/")[2]
    total = config["datasets"][dataset]["n_problems"]
    if kind == "dopamine":
        total = min(config["values"].get("n_problems") or total, total)
    n, each = round(total * (1 - config["split"]["train_ratio"])), paragraphs if kind == "dopamine" else 1
    rng = generator("bench", run, kind)
    names = [f"p{i // each}" for i in range(n * each)]
    seeds, shuffled = len(section["seeds"]), len(section["shuffled_seeds"])
    widths = {"true": seeds, "shuffled": shuffled, "random": pruning["random_draws"] * seeds}
    truth = {"reward": rng.integers(0, 2, n)} if kind == "value" else {"delta": rng.normal(size=n * each)}
    for layer in config["activations"]["layers"]:
        for position in ("initial", "final") if kind == "value" else (None,):
            for ratio in RATIOS:
                lists = {
                    name: pl.Series(
                        rng.normal(size=(len(names), k)).astype(np.float32).tolist(), dtype=pl.List(pl.Float32)
                    )
                    for name, k in widths.items()
                }
                keys = {"layer": layer, "prune_ratio": ratio, "sample": 0}
                keys |= {"position": position} if position else {}
                frame = pl.DataFrame({"problem_id": names, **truth, **lists})
                yield frame.with_columns(*(pl.lit(value).alias(name) for name, value in keys.items()))


def outcomes(config: dict[str, Any], run: str, n: int | None, **columns: Any) -> pl.DataFrame:
    """Make rewards of n problems (None: all) of a run under one condition, which the columns name."""
    model, _, dataset = run.partition("/")
    total = config["datasets"][dataset]["n_problems"]
    rng, n = generator("bench", run, *map(str, columns.values())), min(n or total, total)
    frame = pl.DataFrame({"problem_id": [f"p{i}" for i in range(n)], "reward": rng.integers(0, 2, n)})
    named = {"model": model, "dataset": dataset, "sample": 0, **columns}
    return frame.with_columns(pl.lit(value).alias(name) for name, value in named.items())


def masked(config: dict[str, Any]) -> pl.DataFrame:
    """Make the rewards of every selection of Tables 2 and 5."""
    section = config["interventions"]
    frames = [
        outcomes(config, run, section["n_problems"], layer=layer, selection=name, draw=draw, share=SHARE, mode=MODE)
        for run in section["runs"]
        for layer in section["layers"]
        for name, selection in CATALOGUE.items()
        for draw in range(section["draws"] if selection.drawn else 1)
    ]
    return pl.concat(frames).with_columns(unmasked=pl.lit(1) - pl.col("reward")) if frames else pl.DataFrame()


def asked(config: dict[str, Any]) -> pl.DataFrame:
    """Make the scores of every method of Table 3."""
    layers, seeds = config["confidence"]["layers"], config["value_probes"]["seeds"]
    read = [(name, layer, seed) for name in VALUE_NEURONS for layer in layers for seed in seeds]
    asked = [(name, None, None) for name in BASELINES]
    frames = [
        outcomes(config, run, None, method=name, layer=layer, seed=seed)
        for run in config["confidence"]["runs"]
        for name, layer, seed in [*read, *asked]
    ]
    rng = generator("bench", "scores")
    scored = [frame.with_columns(score=pl.Series(rng.normal(size=len(frame)))) for frame in frames]
    return pl.concat(scored, how="vertical_relaxed") if scored else pl.DataFrame()


def searched(config: dict[str, Any]) -> pl.DataFrame:
    """Make the rewards of every method and seed of Table 4."""
    section = config["search"]
    frames = [
        outcomes(config, run, None, method=name, seed=seed)
        for run in section["runs"]
        for name in section["methods"]
        for seed in section["seeds"]
    ]
    return pl.concat(frames) if frames else pl.DataFrame()


def main() -> None:
    """Write scores, judge them, print seconds, memory and bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="studies to lay over config.yaml")
    parser.add_argument("--paragraphs", type=int, default=4, help="kept paragraphs of a validation problem")
    arguments = parser.parse_args()
    config = read_study(arguments.files)
    how = Resampling(config["pruning"]["confidence"], config["pruning"]["bootstrap"], config["pruning"]["seed"])
    claims = read_claims(yaml.safe_load(Path("resources/published/claims.yaml").read_text(encoding="utf-8"))["claims"])
    others = {"masks": masked(config), "confidence": asked(config), "search": searched(config)}
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, list[Path]] = {"value": [], "dopamine": []}
        for kind, paths in files.items():
            for run in config[f"{kind}_probes"]["runs"]:
                path = Path(folder) / run / f"{kind}.parquet"
                write_parquet(pl.concat(probe_parts(config, run, kind, arguments.paragraphs)), path)
                paths.append(path)
        size = sum(path.stat().st_size for paths in files.values() for path in paths)
        began = time.perf_counter()
        frames = {kind: read_scores(paths) for kind, paths in files.items()} | others
        tables = {name: Table.of(name, frames.get(name, pl.DataFrame()), how) for name in KEYS}
        scores = Scores(tables, pl.DataFrame(), pl.DataFrame(), pl.DataFrame(), SHARE, MODE, how.confidence)
        judge(claims, scores)
        claim_cells(claims, TESTS, scores)
        selectivity(scores)
        table1(scores)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    runs = {kind: len(paths) for kind, paths in files.items()}
    print(f"runs {runs}, {len(config['activations']['layers'])} layers, {how.resamples} resamples")
    print(f"{seconds:.0f} s, peak {peak:.2f} GB, {size / 1e6:.0f} MB of scores at {len(RATIOS)} prune ratios")


if __name__ == "__main__":
    main()
