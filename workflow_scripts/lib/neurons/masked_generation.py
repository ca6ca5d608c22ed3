"""Generate responses again with neurons of one layer masked (method, section 6)."""

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.engines.interface import Completion, Engine, Request, Sampling
from workflow_scripts.lib.engines.start import LIBRARIES
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.responses import ResponseGrader
from workflow_scripts.lib.models.interventions import Intervention
from workflow_scripts.lib.models.proof import MaskCheck
from workflow_scripts.lib.neurons.conditions import Condition
from workflow_scripts.lib.runtime.reuse import digest, environment
from workflow_scripts.lib.storage.tables import read_parquet

KEYS: dict[str, Any] = {
    "layer": pl.Int64,
    "selection": pl.String,
    "draw": pl.Int64,
    "share": pl.Float64,
    "mode": pl.String,
    "factor": pl.Float64,
    "origin": pl.String,
}
"""The condition, and the origin of its responses (`runtime.reuse`)."""
SCHEMA: dict[str, Any] = KEYS | {
    "n_neurons": pl.Int64,
    "problem_id": pl.String,
    "sample": pl.Int64,
    "response_ids": pl.List(pl.Int32),
    "finish_reason": pl.String,
    "reward": pl.Int8,
    "truncated": pl.Boolean,
}
MASK_CHECKS: dict[str, Any] = KEYS | {"processed": pl.Int64, "changed": pl.Int64, "largest_miss": pl.Float64}
Generated = tuple[list[tuple[Any, ...]], tuple[Any, ...]]
"""Under one condition: the rows of its responses, up to the finish reason, and the row of its mask check."""


def build_requests(rollouts: pl.DataFrame, max_tokens: int) -> tuple[list[Request], list[list[tuple[str, int]]]]:
    """Build one request per problem with the keys of its rollouts, and list the (problem, sample) of each key."""
    requests, names = [], []
    for (problem_id,), rows in rollouts.group_by("problem_id", maintain_order=True):
        names_of_keys = [(str(problem_id), sample) for sample in rows["sample"].to_list()]
        keys = tuple(f"{problem_id}/{sample}" for _, sample in names_of_keys)
        requests.append(Request(tuple(rows["prompt_ids"][0]), keys, max_tokens))
        names.append(names_of_keys)
    return requests, names


def intervention(condition: Condition, neurons: Sequence[int], means: Any) -> Intervention:
    """Return what the engine is asked to do; `means` [d] belongs to mode `mean`."""
    what = Intervention(condition.layer, tuple(neurons), condition.mode, condition.factor)  # type: ignore[arg-type]
    return replace(what, means=tuple(float(means[i]) for i in neurons)) if condition.mode == "mean" else what


def origins_of(
    neurons: dict[Condition, list[int]], means: Any, generation: dict[str, Any], requests: Sequence[Request]
) -> dict[Condition, str]:
    """Return condition -> hash of all that its responses depend on; `generation`: engine, model, weights, sampling."""
    libraries = LIBRARIES[generation["engine"]]
    nothing: frozenset[str] = frozenset()  # conditions carry what their selections chose, and grades are not reused
    used = (("selections", nothing), ("answer_types", nothing))
    code = environment("mask_neurons", *libraries, used=used)
    common = digest(code, generation, [astuple(one) for one in requests])
    return {one: digest(common, astuple(one), asdict(intervention(one, neurons[one], means))) for one in neurons}


def stored(responses: Path, mask_checks: Path) -> dict[str, Generated]:
    """Read the contents of the files of an earlier run, by origin."""
    rows = read_parquet(responses).drop("reward", "truncated").partition_by("origin", as_dict=True)
    checks = {row["origin"]: tuple(row.values()) for row in read_parquet(mask_checks).to_dicts()}
    return {str(origin): (rows[origin,].rows(), check) for origin, check in checks.items() if (origin,) in rows}


def generate_masked(
    engine: Engine, requests: Sequence[Request], what: Intervention, sampling: Sampling, seed: int
) -> tuple[list[list[Completion]], MaskCheck]:
    """Generate the completions of every request under the intervention, and check the mask.

    Raises:
        UserError: the mask was not applied at every position.
    """
    by_request: list[list[Completion]] = [[] for _ in requests]
    with engine.intervened(what) as check:
        for index, completions in engine.generate(requests, sampling, seed):
            by_request[index] = completions
    if not check.complete:
        raise UserError(
            f"layer {what.layer}: the mask was not applied at every position ({check.changed} of {check.processed} "
            f"positions masked, largest error {check.largest_miss:g}); nothing is written: use another engine or "
            "number format"
        )
    return by_request, check


@dataclass(frozen=True)
class Generation:
    """Generates masked responses: engine, requests, the (problem, sample) of each of their keys, settings.

    `means` [d]: the values that mode `mean` sets neurons to.
    """

    engine: Engine
    requests: Sequence[Request]
    names: Sequence[Sequence[tuple[str, int]]]
    means: Any
    sampling: Sampling
    seed: int

    def run(self, condition: Condition, neurons: Sequence[int], origin: str) -> Generated:
        """Generate under one condition.

        Raises:
            UserError: the mask was not applied at every position.
        """
        what = intervention(condition, neurons, self.means)
        completions, check = generate_masked(self.engine, self.requests, what, self.sampling, self.seed)
        key = (*astuple(condition), origin)
        names = [name for names_of_keys in self.names for name in names_of_keys]
        drawn = [one for of_request in completions for one in of_request]
        rows = [
            (*key, len(neurons), *name, one.token_ids, one.finish_reason)
            for name, one in zip(names, drawn, strict=True)
        ]
        return rows, (*key, *astuple(check))


def graded_table(rows: Sequence[tuple[Any, ...]], grader: ResponseGrader, tokenizer: Any) -> pl.DataFrame:
    """Grade the rows of masked responses and tabulate them."""
    responses = ((problem_id, token_ids, reason) for problem_id, _, token_ids, reason in (row[-4:] for row in rows))
    grades = grader.grade(responses, tokenizer)
    graded = [(*row, next(grades).reward, row[-1] == "length") for row in rows]
    return pl.DataFrame(graded, schema=SCHEMA, orient="row")
