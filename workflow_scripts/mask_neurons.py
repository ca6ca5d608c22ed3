"""Rule `mask_neurons`: responses of one shard, sampled again with neurons of one layer held (method, section 6).

Every condition answers the same problems from the same random streams as the unmasked rollouts, so that responses pair
up; one start of the engine serves all conditions that no earlier run has generated already. A condition whose mask is
not proven to have held ends the job.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.engines.start import add_options, sampling_of, start
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.grading.responses import ResponseGrader
from workflow_scripts.lib.models.load import ModelConfig, identity_of, load_tokenizer
from workflow_scripts.lib.neurons.conditions import conditions
from workflow_scripts.lib.neurons.masked_generation import (
    MASK_CHECKS,
    Generation,
    build_requests,
    graded_table,
    origins_of,
    stored,
)
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.runtime.reuse import Reuse
from workflow_scripts.lib.storage.identity import require, same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.storage.tensors import read_safetensors


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
    sampling = sampling_of(settings)
    generation = {"engine": settings.engine, "model": params.raw["model"], "weights": identity["fingerprint"]}
    generation |= {"sampling": asdict(sampling), "seed": settings.seed}
    origins = origins_of(sets, means, generation, requests)
    reuse = Reuse([arguments.output, arguments.proofs], stored)
    generated = {condition: reuse.get(origin) for condition, origin in origins.items()}
    reuse.report("conditions")
    if new := [condition for condition, kept in generated.items() if kept is None]:
        engine = start(settings, model, arguments, masked_layers=[arguments.layer])
        generator = Generation(engine, requests, names, means, sampling, settings.seed)
        progress = Progress(len(new), "conditions", "mask_neurons")
        for condition in new:
            generated[condition] = generator.run(condition, sets[condition], origins[condition])
            progress.advance()
    rows = [row for one in generated.values() if one for row in one[0]]
    proofs = [one[1] for one in generated.values() if one]
    grader = ResponseGrader.of(problems, params.dataset, params.grading, arguments.workers)
    table = graded_table(rows, grader, load_tokenizer(model))
    held = told | {"layer": arguments.layer}
    proven = pl.DataFrame(proofs, schema=MASK_CHECKS, orient="row")
    write_parquet(proven, arguments.proofs, table_metadata("proofs", identity, **held))
    write_parquet(table, arguments.output, table_metadata("masked", identity, **held))
    reuse.keep()


if __name__ == "__main__":
    run_main(main)
