"""Rule `mask_neurons`: responses of one shard, sampled again with neurons of one layer held (method, section 6).

Every condition answers the same problems from the same random streams as the unmasked rollouts, so that responses pair
up; one start of the engine serves all conditions that no earlier run has generated already. A condition whose mask is
not proven to have held ends the job.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.config.sections import Interventions, load
from workflow_scripts.lib.engines.interface import Completion, Engine, Request, Sampling
from workflow_scripts.lib.engines.start import LIBRARIES, add_options, load_engine, options_of
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.grading.grade import Grader, answer_to, grade_all
from workflow_scripts.lib.models.interventions import Intervention
from workflow_scripts.lib.models.load import ModelConfig, identity_of, load_tokenizer
from workflow_scripts.lib.models.proof import MaskCheck
from workflow_scripts.lib.models.tokens import response_text
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.runtime.reuse import digest, earlier, environment, keep, kept_path
from workflow_scripts.lib.storage.identity import require, same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.storage.tensors import read_safetensors


@dataclass(frozen=True)
class Condition:
    """A set of neurons and what is done to it. `factor` is 0 unless they are scaled."""

    layer: int
    selection: str
    draw: int
    share: float
    mode: str
    factor: float


KEYS: dict[str, Any] = {
    "layer": pl.Int64,
    "selection": pl.String,
    "draw": pl.Int64,
    "share": pl.Float64,
    "mode": pl.String,
    "factor": pl.Float64,
    "origin": pl.String,
}
"""The condition, and what its responses come from (`runtime.reuse`)."""
SCHEMA: dict[str, Any] = KEYS | {
    "n_neurons": pl.Int64,
    "problem_id": pl.String,
    "sample": pl.Int64,
    "response_ids": pl.List(pl.Int32),
    "finish_reason": pl.String,
    "reward": pl.Int8,
    "truncated": pl.Boolean,
}
PROOFS: dict[str, Any] = KEYS | {"processed": pl.Int64, "changed": pl.Int64, "largest_miss": pl.Float64}
Generated = tuple[list[tuple[Any, ...]], tuple[Any, ...]]
"""Under one condition: the rows of its responses, up to the finish reason, and the row of its proof."""


def conditions(neurons: pl.DataFrame, layer: int, wanted: Interventions) -> dict[Condition, list[int]]:
    """Every condition of a layer with its neurons: those of the tables, and those of the dose-response.

    Raises:
        UserError: the table of neurons lacks one.
    """
    sets: dict[tuple[str, float], list[tuple[int, list[int]]]] = {}
    rows = neurons.filter(pl.col("layer") == layer).select("selection", "share", "draw", "neurons")
    for selection, share, draw, chosen in rows.iter_rows():
        sets.setdefault((selection, share), []).append((draw, chosen))
    asked = [(selection, wanted.share, wanted.mode, 0.0) for selection in wanted.selections]
    if layer in wanted.dose_layers:
        for selection in wanted.dose_selections:
            asked += [(selection, share, "zero", 0.0) for share in wanted.dose_shares]
            asked += [(selection, wanted.dose_factor_share, "scale", factor) for factor in wanted.dose_factors]
    found: dict[Condition, list[int]] = {}
    for selection, share, mode, factor in asked:
        if (selection, share) not in sets:
            raise UserError(
                f"neurons: none for layer {layer}, {selection}, share {share}; delete the table and run again"
            )
        for draw, chosen in sets[selection, share]:
            found[Condition(layer, selection, draw, share, mode, factor)] = chosen
    return found


def build_requests(rollouts: pl.DataFrame, max_tokens: int) -> tuple[list[Request], list[list[tuple[str, int]]]]:
    """One request a problem with the keys of its rollouts, and the (problem, sample) of each key."""
    requests, names = [], []
    for (problem_id,), rows in rollouts.group_by("problem_id", maintain_order=True):
        own = [(str(problem_id), sample) for sample in rows["sample"].to_list()]
        keys = tuple(f"{problem_id}/{sample}" for _, sample in own)
        requests.append(Request(tuple(rows["prompt_ids"][0]), keys, max_tokens))
        names.append(own)
    return requests, names


def intervention(condition: Condition, neurons: Sequence[int], means: Any) -> Intervention:
    """What the engine is asked to do; `means` [d] belongs to mode `mean`."""
    what = Intervention(condition.layer, tuple(neurons), condition.mode, condition.factor)  # type: ignore[arg-type]
    return replace(what, means=tuple(float(means[i]) for i in neurons)) if condition.mode == "mean" else what


def origins_of(
    wanted: dict[Condition, list[int]], means: Any, generation: dict[str, Any], requests: Sequence[Request]
) -> dict[Condition, str]:
    """Condition -> hash of all that its responses come from; `generation`: engine, model, weights, sampling."""
    libraries = LIBRARIES[generation["engine"]]
    common = digest(environment("mask_neurons", *libraries), generation, [astuple(one) for one in requests])
    return {one: digest(common, astuple(one), asdict(intervention(one, wanted[one], means))) for one in wanted}


def stored(responses: Path, proofs: Path, origins: dict[Condition, str]) -> dict[Condition, Generated]:
    """What the files of an earlier run hold of the wanted origins."""
    rows = read_parquet(responses).drop("reward", "truncated").partition_by("origin", as_dict=True)
    proven = {row["origin"]: tuple(row.values()) for row in read_parquet(proofs).to_dicts()}
    return {
        condition: (rows[origin,].rows(), proven[origin])
        for condition, origin in origins.items()
        if origin in proven and (origin,) in rows
    }


def generate_masked(
    engine: Engine, requests: Sequence[Request], what: Intervention, sampling: Sampling, seed: int
) -> tuple[list[list[Completion]], MaskCheck]:
    """The completions of every request with the neurons held, and the proof.

    Raises:
        UserError: the proof does not hold.
    """
    found: list[list[Completion]] = [[] for _ in requests]
    with engine.intervened(what) as proof:
        for index, completions in engine.generate(requests, sampling, seed):
            found[index] = completions
    if not proof.complete:
        raise UserError(
            f"layer {what.layer}: the mask did not hold ({proof.changed} of {proof.processed} positions masked, the "
            f"largest value off by {proof.largest_miss:g}); nothing is written: use another engine or number format"
        )
    return found, proof


def sample_conditions(
    engine: Engine,
    requests: Sequence[Request],
    names: Sequence[Sequence[tuple[str, int]]],
    wanted: dict[Condition, list[int]],
    means: Any,
    sampling: Sampling,
    seed: int,
    origins: dict[Condition, str],
) -> Iterator[tuple[Condition, Generated]]:
    """Yield every condition with what was generated under it."""
    progress = Progress(len(wanted), "conditions", "mask_neurons")
    for condition, neurons in wanted.items():
        what = intervention(condition, neurons, means)
        found, proof = generate_masked(engine, requests, what, sampling, seed)
        named = zip([name for own in names for name in own], [one for ones in found for one in ones], strict=True)
        held = (*astuple(condition), origins[condition])
        rows = [(*held, len(neurons), *name, one.token_ids, one.finish_reason) for name, one in named]
        yield condition, (rows, (*held, *astuple(proof)))
        progress.advance()


def add_rewards(
    rows: Sequence[tuple[Any, ...]], problems: pl.DataFrame, opening: str, tokenizer: Any, grader: Grader, workers: int
) -> pl.DataFrame:
    """The table of masked responses: each is graded as the whole response, `opening` and all."""
    known = {row["problem_id"]: row for row in problems.select("problem_id", "gold", "spec").to_dicts()}
    asked = []
    for problem_id, _, token_ids, finish_reason in (row[-4:] for row in rows):
        text = response_text(token_ids, tokenizer) if finish_reason == "stop" else ""
        asked.append(answer_to(known[problem_id], opening, text, finish_reason))
    grades = grade_all(asked, grader, workers)
    graded = [(*row, next(grades).reward, row[-1] == "length") for row in rows]
    return pl.DataFrame(graded, schema=SCHEMA, orient="row")


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, dataset, rollouts, interventions, grading")
    parser.add_argument("--layer", required=True, type=int)
    parser.add_argument("--shard", type=int, help="number of the shard that the rollouts must be")
    parser.add_argument("--problems", required=True)
    parser.add_argument("--rollouts", required=True, help="the shard whose responses are sampled again")
    parser.add_argument("--neurons", required=True)
    parser.add_argument("--measures", required=True, help="what `mean` holds neurons at")
    parser.add_argument("--workers", type=int, default=1, help="processes that grade")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--proofs", required=True, type=Path)
    add_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    arguments = read_arguments(argv)
    params = load(arguments.params)
    model, settings, wanted = ModelConfig.from_entry(params.model), params.rollouts, params.interventions
    told = {} if arguments.shard is None else {"shard": arguments.shard}
    tables = {name: getattr(arguments, name) for name in ("problems", "rollouts", "neurons")}
    identity = same_run(identity_of(model) | told, **tables)
    problems = read_parquet(arguments.problems).filter(pl.col("position") < wanted.n_problems)
    rollouts = read_parquet(arguments.rollouts).join(problems, on="problem_id", how="semi", maintain_order="left")
    requests, names = build_requests(rollouts, settings.max_tokens)
    sets = conditions(read_parquet(arguments.neurons), arguments.layer, wanted)
    measures, metadata = read_safetensors(arguments.measures, [f"layer_{arguments.layer}.mean"])
    require(arguments.measures, metadata, identity)
    means = measures[f"layer_{arguments.layer}.mean"]
    tokenizer = load_tokenizer(model)
    sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens, settings.stop, logprobs=False)
    generation = {"engine": settings.engine, "model": params.raw["model"], "weights": identity["fingerprint"]}
    generation |= {"sampling": asdict(sampling), "seed": settings.seed}
    origins = origins_of(sets, means, generation, requests)
    done: dict[Condition, Generated] = earlier(
        arguments.output, lambda path: stored(path, kept_path(arguments.proofs), origins), {}
    )
    new = {condition: neurons for condition, neurons in sets.items() if condition not in done}
    print(f"kept {len(done)} of {len(sets)} conditions, generates {len(new)}", file=sys.stderr, flush=True)
    if new:
        engine = load_engine(settings.engine, model, options_of(arguments), masked_layers=[arguments.layer])
        done |= sample_conditions(engine, requests, names, new, means, sampling, settings.seed, origins)
    rows = [row for condition in sets for row in done[condition][0]]
    proofs = [done[condition][1] for condition in sets]
    grader = Grader(params.dataset.answer, params.grading.allow_unsandboxed)
    table = add_rewards(rows, problems, params.dataset.response_prefix, tokenizer, grader, arguments.workers)
    held = told | {"layer": arguments.layer}
    proven = pl.DataFrame(proofs, schema=PROOFS, orient="row")
    write_parquet(proven, arguments.proofs, table_metadata("proofs", identity, **held))
    write_parquet(table, arguments.output, table_metadata("masked", identity, **held))
    keep(arguments.proofs)
    keep(arguments.output)


if __name__ == "__main__":
    run_main(main)
