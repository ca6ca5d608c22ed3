"""The same jobs on either engine: vLLM runs in a process of its own, because it changes the process that imports it.

`python -m tests.unit.vllm_runs SPEC OUTPUT` runs the jobs of a JSON file on vLLM.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workflow_scripts.lib.engines.interface import Engine, EngineOptions, Request, Sampling
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.interventions import Intervention
from workflow_scripts.lib.models.load import ModelConfig

needs_vllm = pytest.mark.skipif(
    find_spec("vllm") is None and not os.environ.get("REQUIRE_VLLM"), reason="vLLM is not installed (make vllm)"
)


@dataclass(frozen=True)
class Job:
    """What an engine is asked: completions, with neurons held or not, or scores of the requests' tokens."""

    requests: list[Request]
    sampling: Sampling = field(default_factory=lambda: Sampling(0.0, 1.0, 30))
    mask: Intervention | None = None
    score: bool = False


@dataclass(frozen=True)
class Run:
    """An engine to start, and what it is asked."""

    model: Path
    jobs: Sequence[Job]
    layers: Sequence[int] = ()
    options: dict[str, Any] = field(default_factory=dict)


def run_jobs(engine: Engine, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """For each job its token ids, finish reasons and log-probabilities by request, or its scores, and its proof."""
    return [_masked(engine, job) if job.mask else _run(engine, job) for job in jobs]


def _masked(engine: Engine, job: Job) -> dict[str, Any]:
    assert job.mask
    try:
        with engine.intervened(job.mask) as proof:
            found = _run(engine, job)
    except UserError as error:
        return {"error": str(error)}
    return found | {"proof": asdict(proof) | {"holds": proof.complete}}


def _run(engine: Engine, job: Job) -> dict[str, Any]:
    if job.score:
        scores = engine.score([request.token_ids for request in job.requests])
        return {"scores": [[float(x) for x in np.nan_to_num(row, nan=9.0)] for row in scores]}
    found = dict(engine.generate(job.requests, job.sampling, seed=3))
    ordered = [one for index in range(len(job.requests)) for one in found[index]]
    return {
        "token_ids": [one.token_ids for one in ordered],
        "finish": [one.finish_reason for one in ordered],
        "logprobs": [one.logprobs for one in ordered],
    }


def on_transformers(model: Path, jobs: Sequence[Job], batch_size: int = 64) -> list[dict[str, Any]]:
    """The jobs on the transformers engine, in this process."""
    from workflow_scripts.lib.engines.transformers_engine import load

    return run_jobs(load(ModelConfig("m", str(model)), batch_size), jobs)


def start_vllm(folder: Path, *runs: Run) -> "subprocess.Popen[str]":
    """Start runs on vLLM, one after another in one process; their results will lie in `folder`/results.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(json.dumps([asdict(run) | {"model": str(run.model)} for run in runs]))
    command = [sys.executable, "-m", "tests.unit.vllm_runs", str(folder / "spec.json"), str(folder / "results.json")]
    # as in a job of the workflow; threads of two tests would collide
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def on_vllm(folder: Path, *runs: Run) -> list[list[dict[str, Any]]]:
    """What each run finds on vLLM, in another process, which imports vLLM once."""
    process = start_vllm(folder, *runs)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said[-3000:]
    return json.loads((folder / "results.json").read_text())


def job_of(data: dict[str, Any]) -> Job:
    """A job from its JSON."""
    requests = [Request(tuple(r["token_ids"]), tuple(r["keys"]), r["max_tokens"]) for r in data["requests"]]
    mask = data["mask"]
    if mask:
        mask = Intervention(**mask | {"neurons": tuple(mask["neurons"]), "means": tuple(mask["means"])})
    return Job(requests, Sampling(**data["sampling"]), mask, data["score"])


def main() -> None:
    """Do the runs of a file on vLLM."""
    from workflow_scripts.lib.engines.vllm_engine import VllmEngine

    results = []
    for run in json.loads(Path(sys.argv[1]).read_text()):
        options = EngineOptions(**{"cpu_cache_gb": 0.25} | run["options"])
        engine = VllmEngine(ModelConfig("m", run["model"]), options, run["layers"])
        Path(sys.argv[2]).with_name("started").touch()
        results.append(run_jobs(engine, [job_of(job) for job in run["jobs"]]))
        del engine  # before the next one takes its place
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
