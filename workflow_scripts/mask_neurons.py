"""Rule `mask_neurons`: sample the responses of one shard again with interventions on one layer (method, section 6).

Every condition answers the same problems from the same random streams as the unmasked rollouts, so that responses are
paired. One start of the engine serves all conditions that no earlier run has generated already. The job fails if a mask
was not applied at every position.
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
from workflow_scripts.lib.models.load import ModelConfig, identity_of
from workflow_scripts.lib.models.tokenizer import load_tokenizer
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
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, dataset, rollouts, interventions, grading")
    parser.add_argument("--layer", required=True, type=int)
    parser.add_argument("--shard", type=int, help="number of the shard that the rollouts must be")
    parser.add_argument("--problems", required=True)
    parser.add_argument("--rollouts", required=True, help="the shard of responses to sample again")
    parser.add_argument("--neurons", required=True)
    parser.add_argument("--measures", required=True, help="the means that mode `mean` sets neurons to")
    parser.add_argument("--workers", type=int, default=1, help="processes that grade")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--proofs", required=True, type=Path)
    add_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    arguments = read_arguments(argv)
    params = load(arguments.params)
    model, settings, section = ModelConfig.from_entry(params.model), params.rollouts, params.interventions
    shard = {} if arguments.shard is None else {"shard": arguments.shard}
    tables = {name: getattr(arguments, name) for name in ("problems", "rollouts", "neurons")}
    identity = same_run(identity_of(model) | shard, **tables)
    problems = read_parquet(arguments.problems).filter(pl.col("position") < section.n_problems)
    rollouts = read_parquet(arguments.rollouts).join(problems, on="problem_id", how="semi", maintain_order="left")
    requests, names = build_requests(rollouts, settings.max_tokens)
    sets = conditions(read_parquet(arguments.neurons), arguments.layer, section)
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
    rows = [row for made in generated.values() if made for row in made[0]]
    checks = pl.DataFrame([made[1] for made in generated.values() if made], schema=MASK_CHECKS, orient="row")
    grader = ResponseGrader.of(problems, params.dataset, params.grading, arguments.workers)
    table = graded_table(rows, grader, load_tokenizer(model))
    part = shard | {"layer": arguments.layer}
    write_parquet(checks, arguments.proofs, table_metadata("proofs", identity, **part))
    write_parquet(table, arguments.output, table_metadata("masked", identity, **part))
    reuse.keep()


if __name__ == "__main__":
    run_main(main)
