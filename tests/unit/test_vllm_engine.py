"""vLLM and the transformers engine give the same tokens, masked and not, for every family and mode that runs here."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.unit.test_transformers_engine import requests
from tests.unit.tiny_models import save_tiny_model
from tests.unit.vllm_runs import Job, Run, needs_vllm, on_transformers, on_vllm, start_vllm
from workflow_scripts.lib.engines.interface import Request, Sampling
from workflow_scripts.lib.models.interventions import Intervention
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.models.paragraphs import paragraph_boundaries
from workflow_scripts.lib.models.prompts import build_prompt
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.reference.tasks import generate_problems

pytestmark = needs_vllm
SAMPLED = Sampling(1.0, 0.95, 30)
MASKS = [
    Intervention(1, tuple(range(100))),
    Intervention(2, (0, 5, 31), "mean", means=(1.0, -2.0, 0.5)),
    Intervention(3, (1, 2), "scale", factor=3.0),
]
FAMILIES = ["qwen2", "llama", "phi3", "gemma3", "gpt2"]
"""Those of the paper whose code in vLLM runs without the vision packages (Gemma 3 with its image encoder and Qwen3.5
import them), and one whose blocks give the residual stream itself."""


def jobs() -> list[Job]:
    """Greedy, sampled in three ways, scored and masked in every mode; unmasked again after the masks."""
    wanted = requests()
    ways = [Sampling(0.0, 1.0, 30), SAMPLED, Sampling(0.7, 1.0, 30), Sampling(1.3, 0.5, 30, logprobs=False)]
    plain = [Job(wanted, sampling) for sampling in ways]
    masked = [Job(wanted, SAMPLED, mask) for mask in MASKS] + [Job(wanted, mask=MASKS[0])]
    return [*plain, Job(wanted, score=True), *masked, Job(wanted, score=True, mask=MASKS[0]), plain[0], plain[1]]


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.get("token_ids") == other.get("token_ids") and one.get("finish") == other.get("finish")
        for mine, theirs in zip(one.get("scores", []), other.get("scores", []), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=2e-4)
        for mine, theirs in zip(one.get("logprobs", []), other.get("logprobs", []), strict=True):
            if mine:
                np.testing.assert_allclose(mine, theirs, atol=2e-4)
        if "proof" in other:
            assert one["proof"]["holds"] and other["proof"]["holds"]
            assert one["proof"]["changed"] == one["proof"]["processed"] > 0 and one["proof"]["largest_miss"] == 0.0


ONE_PROCESS = {family: {"batch_size": 4} for family in FAMILIES}
ONE_PROCESS |= {"two by two": {"prefix_caching": False, "batch_size": 2}, "compiled": {"eager": False}}
"""Options of the engines that one process can start one after another, by family or by what is special."""
REFUSED = [Intervention(9, (1,)), Intervention(1, (128,)), Intervention(2, (1,)), Intervention(1, (), "mean")]


def saved(folder: Path, name: str) -> Path:
    """A tiny model of the family of that name, or of Qwen2."""
    return save_tiny_model(folder / name, name if name in FAMILIES else "qwen2", head=32)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What vLLM finds with each of `ONE_PROCESS`, and asked for what it cannot do."""
    folder = tmp_path_factory.mktemp("vllm")
    runs = [Run(saved(folder, name), jobs(), [1, 2, 3], options) for name, options in ONE_PROCESS.items()]
    runs.append(Run(saved(folder, "refused"), [Job(requests(), mask=mask) for mask in REFUSED], [1]))
    return dict(zip([*ONE_PROCESS, "refused"], on_vllm(folder, *runs), strict=True))


@pytest.mark.parametrize("name", ONE_PROCESS)
def test_the_same_tokens_for_every_family_and_kind_of_engine(
    name: str, found: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    wanted = on_transformers(saved(tmp_path, name), jobs())
    assert any(wanted[1]["token_ids"] != wanted[n]["token_ids"] for n in (5, 6, 7))  # the masks matter
    assert_same(found[name], wanted)


def test_the_same_tokens_split_in_two(tmp_path: Path) -> None:
    model = saved(tmp_path, "qwen2")
    assert_same(on_vllm(tmp_path, Run(model, jobs(), [1, 2, 3], {"gpus": 2}))[0], on_transformers(model, jobs()))


def reference_requests(n: int, samples: int = 1) -> list[Request]:
    model = ModelConfig("grpo", "resources/models/grpo", instruction="")
    tokenizer = load_tokenizer(model)
    problems = generate_problems("ledger", "evaluation", n, 0)
    prompts = [tuple(build_prompt(problem.question, model, tokenizer)) for problem in problems]
    keys = [tuple(f"ledger-{i}/{k}" for k in range(samples)) for i in range(n)]
    return [Request(prompt, key, 256) for prompt, key in zip(prompts, keys, strict=True)]


def test_the_reference_model_answers_alike(tmp_path: Path) -> None:
    """250 problems: greedy, sampled, scored, masked, one paragraph. The continuations of two hundred prefixes, too."""
    model, wanted = Path("resources/models/grpo"), reference_requests(250)
    greedy, sampled = Sampling(0.0, 1.0, 256), Sampling(1.0, 0.95, 256)
    mask = Intervention(2, (3, 77, 150, 190))
    asked = [Job(wanted, greedy), Job(wanted, sampled), Job(wanted, greedy, mask), Job(wanted, sampled, mask)]
    theirs = on_transformers(model, asked, 256)
    prefixes = [
        Request(r.token_ids + tuple(ids[: len(ids) // 2]), tuple(f"{r.keys[0]}/{n}" for n in range(4)), 200)
        for r, ids in zip(wanted[:200], theirs[1]["token_ids"], strict=False)
    ]
    one_paragraph = [replace(sampled, paragraph=True), replace(greedy, paragraph=True)]
    asked += [Job(prefixes, sampled), Job(prefixes, score=True), *(Job(wanted[:60], way) for way in one_paragraph)]
    asked += [Job([replace(prefix, max_tokens=20) for prefix in prefixes[:60]], way) for way in one_paragraph]
    theirs += on_transformers(model, asked[4:], 256)
    (ours,) = on_vllm(tmp_path, Run(model, asked, [2], {"batch_size": 128, "cpu_cache_gb": 1}))
    for mine, other in zip(ours, theirs, strict=True):  # a tie within rounding may fall either way
        alike = [a == b for a, b in zip(mine.get("token_ids", []), other.get("token_ids", []), strict=True)]
        assert sum(alike) >= 0.995 * len(alike)
    assert ours[0]["token_ids"] == theirs[0]["token_ids"] and ours[2]["token_ids"] == theirs[2]["token_ids"]
    assert ours[2]["token_ids"] != ours[0]["token_ids"]
    assert ours[2]["proof"]["changed"] == ours[2]["proof"]["processed"] > 10_000
    np.testing.assert_allclose(np.concatenate(ours[5]["scores"]), np.concatenate(theirs[5]["scores"]), atol=5e-4)
    tokenizer = load_tokenizer(ModelConfig("grpo", str(model)))
    for cut, reason, whole in zip(ours[6]["token_ids"], ours[6]["finish"], ours[1]["token_ids"][:60], strict=True):
        assert reason == "paragraph" and cut == whole[: paragraph_boundaries(whole, tokenizer)[1]]
    for mine, other in zip(ours[6:], theirs[6:], strict=True):
        alike = [a == b for a, b in zip(mine["finish"], other["finish"], strict=True)]
        assert sum(alike) >= 0.995 * len(alike)
    assert {"paragraph", "length"} <= set(ours[8]["finish"])


def test_what_cannot_be_done_is_refused(found: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    no_layer, no_neuron, no_mask, empty = found["refused"]
    assert "layer 9 cannot be changed; the model's layers are 1 to 3" in no_layer["error"]
    assert "neuron 128 is not one of layer 1" in no_neuron["error"]
    assert "layer 2 has no mask in this engine (layers with one: 1)" in no_mask["error"]
    assert empty["proof"]["holds"]
    assert empty["token_ids"] == on_transformers(saved(tmp_path, "qwen2"), [Job(requests())])[0]["token_ids"]


def test_a_layer_that_does_not_exist_is_refused_at_the_start(tmp_path: Path) -> None:
    process = start_vllm(tmp_path, Run(saved(tmp_path, "qwen2"), [], [4]))
    assert "layer 4 cannot be changed; the model's layers are 1 to 3" in process.communicate(timeout=300)[1]


def long_jobs() -> list[Job]:
    """Enough work to be interrupted."""
    return [Job([Request((5, 6, 7), tuple(f"p{i}/{k}" for k in range(16)), 100) for i in range(200)], SAMPLED)] * 20


def workers_of(process: Any, folder: Path) -> list[psutil.Process]:
    """The processes below one that generates."""
    for _ in range(1800):
        if (folder / "started").exists():
            time.sleep(3)
            below = psutil.Process(process.pid).children(recursive=True)
            assert process.poll() is None and len(below) >= 2
            return below
        assert process.poll() is None, process.communicate()[1][-2000:]
        time.sleep(0.1)
    raise AssertionError("the engine did not start")


def test_no_process_outlives_the_one_that_started_the_engine(tmp_path: Path) -> None:
    process = start_vllm(tmp_path, Run(saved(tmp_path, "qwen2"), long_jobs(), options={"gpus": 2}))
    workers = workers_of(process, tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    gone, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive and len(gone) >= 2


def test_a_worker_that_dies_ends_the_job_with_one_line(tmp_path: Path) -> None:
    process = start_vllm(tmp_path, Run(saved(tmp_path, "qwen2"), long_jobs(), options={"gpus": 2}))
    workers = [one for one in workers_of(process, tmp_path) if one.memory_info().rss > 200_000_000]
    workers[-1].kill()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1 and "UserError" in said and "vLLM failed (" in said
    assert "finished shards are kept: run again" in said
