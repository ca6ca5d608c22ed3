"""What a study is planned to cost: tokens counted by hand, rates by arithmetic, lengths from files that are there."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from workflow_scripts.lib.config.plain import read_yaml
from workflow_scripts.lib.config.sections import Interventions
from workflow_scripts.lib.config.study import with_defaults
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.formatting import short, spread, tenths
from workflow_scripts.lib.neurons.conditions import conditions, n_conditions
from workflow_scripts.lib.plan.jobs import Job, complaint, read_jobs, stages
from workflow_scripts.lib.plan.lengths import expected, measured
from workflow_scripts.lib.plan.quantities import Lengths, Shares, Size, Work
from workflow_scripts.lib.plan.rates import Setting, batch, device, local_size, seconds, sizes, step_seconds
from workflow_scripts.lib.plan.recorded import read_spent
from workflow_scripts.lib.plan.table import ASSUMPTIONS, at_measured_rates, plan, to_do_part
from workflow_scripts.lib.plan.work import works
from workflow_scripts.lib.runtime.machine import device_key

RUN = "m/d"
LENGTHS = Lengths(prompt=100, response=400, paragraphs=4, source="by hand")
SIZE = Size(parameters=1e9, hidden_size=64, n_layers=10, vocabulary=1000, key_width=16)
SHARES = Shares(0.5, 0.25, 0.0, 1.0, 1.0, 0)
PRINTED = """Job stats:
rule dump_activations:
    input: results/rollouts/m/d/0.parquet
    output: results/activations/m/d/0.safetensors
    log: results/logs/dump_activations/m/d/0.log
    jobid: 4
    benchmark: results/benchmarks/dump_activations/m/d/0.jsonl
    reason: Forced execution
    wildcards: model=m, dataset=d, shard=0
    resources: tmpdir=/tmp, mem_mb=3000, gpu=1, runtime=60
[Sun Nov 22 01:33:27 2026]
rule judge_claims:
    output: results/tables/claims.csv, results/tables/claims.parquet
    benchmark: results/benchmarks/judge_claims.jsonl
    resources: gpu=0
rule all:
    input: results/report.html
"""


def study(**changes: Any) -> dict[str, Any]:
    """A filled configuration of one run in every stage, 100 problems, 50 of them valued with 8 continuations."""
    stages_ = ("value_probes", "dopamine_probes", "interventions", "search")
    config: dict[str, Any] = {
        "models": {"m": {"path": "owner/m"}},
        "datasets": {"d": {"source": "file", "n_problems": 100, "answer": "math"}},
        "rollouts": {"runs": [RUN], "max_tokens": 1000},
        "values": {"runs": [RUN], "n_problems": 50, "n_continuations": 8},
        "activations": {"layers": [1, 2]},
        **{name: {"runs": [RUN]} for name in stages_},
    }
    for key, value in changes.items():
        config[key] = {**config.get(key, {}), **value}
    return with_defaults(config)


def work(config: dict[str, Any], rule: str, lengths: Lengths = LENGTHS, shares: Shares = SHARES) -> Work:
    return works(config, {RUN: lengths}, {"m": SIZE}, shares)[rule, "m", "d"]


def test_tokens_are_those_counted_by_hand() -> None:
    config = study()
    assert (work(config, "sample_rollouts").generated, work(config, "sample_rollouts").read) == (40_000, 10_000)
    # boundaries at 0, 100, 200, 300 of 400 tokens: 250 are left on average, 150 were written
    continued = work(config, "continue_paragraphs")
    assert (continued.generated, continued.read) == (50 * 4 * 8 * 250, 50 * 4 * (100 + 150))
    assert work(config, "dump_activations").read == 100 * 500
    assert work(config, "dump_activations").disk == 100 * 401 * 2 * 64 * 2  # states, layers, width, float16
    asked = work(config, "ask_confidence")
    assert asked.generated == 100 * (1 + (1 + 0.25 * 9) * 16)


def test_training_is_six_operations_a_weight_state_and_epoch() -> None:
    trained = work(study(value_probes={"epochs": 3, "hidden": 8, "shuffled_seeds": []}), "train_value_probes")
    assert trained.flops == pytest.approx(6 * 65 * 8 * (0.8 * 100 * 401) * 3 * 2)


def test_scores_take_four_bytes_a_probe_ratio_and_place() -> None:
    probes = {"seeds": [0, 1], "shuffled_seeds": [0, 1, 2]}
    config = study(pruning={"ratios": [0.0, 0.5, 0.9], "random_draws": 5}, value_probes=probes, dopamine_probes=probes)
    entries = 2 + 3 + 5 * 2
    # a fifth of 100 problems, at both ends of a response; of 50 times 4 paragraphs half are kept; 2 layers, 3 ratios
    assert work(config, "score_value_probes").disk == pytest.approx(20 * 2 * 2 * 3 * entries * 4)
    assert work(config, "score_dopamine_probes").disk == pytest.approx(40 * 0.5 * 2 * 3 * entries * 4)
    config["pruning"]["retrain_pruned"] = True
    assert work(config, "score_value_probes").disk == pytest.approx(20 * 2 * 2 * 3 * (entries + 2) * 4)


def test_adaptive_continuations_are_a_range_until_they_are_measured() -> None:
    config = study()
    config["values"]["adaptive"] = {"first": 4, "budget": 32, "half_width": 0.1}
    low, high = (work(config, "continue_paragraphs", shares=Shares(0.5, 0, 0, 1, 1, end)) for end in (0, 1))
    assert (low.generated, high.generated) == (50 * 4 * 4 * 250, 50 * 4 * 32 * 250)
    known = Lengths(100, 400, 4, "by hand", n_continuations=10)
    assert work(config, "continue_paragraphs", known).generated == 50 * 4 * 10 * 250
    config["values"]["adaptive"] = None
    assert work(config, "continue_paragraphs", known).generated == 50 * 4 * 8 * 250


@pytest.mark.parametrize("layer", [1, 2])
def test_conditions_are_as_many_as_the_rule_holds(layer: int) -> None:
    settings = study(interventions={"layers": [1, 2], "dose_layers": [1], "dose_shares": [0.01, 0.1], "draws": 3})
    wanted = settings["interventions"]
    sets = []
    for selection in wanted["selections"]:
        for share in (0.01, 0.05, 0.1):
            sets += [(layer, selection, n, share, [n]) for n in range(3 if selection.startswith("random") else 1)]
    neurons = pl.DataFrame(sets, schema=["layer", "selection", "draw", "share", "neurons"], orient="row")
    counted = n_conditions(Interventions(wanted), layer)
    assert counted == len(conditions(neurons, layer, Interventions(wanted)))


def how(context: float = 500) -> Setting:
    return Setting("vllm", 64, "bfloat16", 0.9, "math", context)


def test_a_small_batch_waits_for_memory_and_a_large_one_for_arithmetic() -> None:
    fast = device(read_yaml(ASSUMPTIONS), "h100", 0)
    weights = 2e9 / (fast.bandwidth * fast.generating)
    big = Size(1e11, 64, 10, 1000, 16)
    assert step_seconds(1, big, fast, how(context=0)) == pytest.approx(100 * weights)
    assert step_seconds(1e5, big, fast, how(context=0)) == pytest.approx(2e16 / (fast.half * fast.reading))
    assert step_seconds(1, SIZE, fast, how()) == fast.step  # whatever the model, a step costs this


def test_a_batch_has_no_more_sequences_than_there_are_or_than_fit() -> None:
    fast = device(read_yaml(ASSUMPTIONS), "h100", 0)
    work_ = Work("sample_rollouts", sequences=100, generated=1)
    assert batch(work_, 1, SIZE, fast, how()) == 64
    assert batch(work_, 5, SIZE, fast, how()) == 20
    each = 2 * 10 * 16 * 2 * 5_000_000  # keys and values of ten blocks, two bytes each
    assert batch(work_, 1, SIZE, fast, how(context=5_000_000)) == pytest.approx((0.9 * 80e9 - 2e9) / each)


def test_reading_takes_two_operations_a_parameter_and_token() -> None:
    slow = device(read_yaml(ASSUMPTIONS), "a100", 1)
    one = seconds(Work("dump_activations", read=1e6), 2, SIZE, slow, how(), slow=True)
    assert one == pytest.approx(2 * slow.start["read"] + 2e15 / (312e12 * 0.2))


def test_a_device_that_nobody_described_is_refused() -> None:
    with pytest.raises(UserError, match="GPU=abacus: "):
        device(read_yaml(ASSUMPTIONS), "abacus", 0)


def test_a_gpu_is_known_by_the_name_its_driver_gives() -> None:
    assert device_key(("NVIDIA H100 80GB HBM3",), ["a100", "h100"]) == "h100"
    assert device_key(("NVIDIA A100-SXM4-80GB",), ["a100", "h100"]) == "a100"
    assert device_key(("Other",), ["a100"]) == device_key((), ["a100"]) == "cpu"


def test_a_local_model_says_its_size_itself() -> None:
    found = local_size(Path("resources/models/grpo"))
    assert (found.hidden_size, found.n_layers) == (192, 6)
    weights = Path("resources/models/grpo/model.safetensors").stat().st_size
    assert 0.99 * weights < 2 * found.parameters < weights
    stated: dict[str, Any] = {"parameters": 2.0, "hidden_size": 1, "n_layers": 1, "vocabulary": 1, "key_width": 1}
    assert sizes({"a": {"path": "o/a", "size": stated}, "b": {"path": "o/b", "size": None}}) == {"a": Size(**stated)}


def write_rollouts(results: Path, run: str) -> None:
    folder = results / "rollouts" / run
    folder.mkdir(parents=True)
    rows = {
        "problem_id": ["p", "q"],
        "sample": [0, 0],
        "prompt_ids": [[1] * 10] * 2,
        "response_ids": [[1] * 6, [1] * 4],
    }
    pl.DataFrame(rows).write_parquet(folder / "0.parquet")


def test_lengths_are_measured_where_there_are_files(tmp_path: Path) -> None:
    write_rollouts(tmp_path, RUN)
    found = measured(tmp_path, RUN)
    assert found is not None and (found.prompt, found.response, found.paragraphs) == (10, 5, 0)
    for kind, rows in {
        "paragraphs": {"problem_id": ["p", "p", "q"], "sample": [0, 0, 0], "start": [0, 3, 0]},
        "continuations": {
            "problem_id": ["p", "p"],
            "sample": [0, 0],
            "boundary": [0, 0],
            "response_ids": [[1], [1, 1, 1]],
        },
    }.items():
        (tmp_path / kind / RUN).mkdir(parents=True)
        pl.DataFrame(rows).write_parquet(tmp_path / kind / RUN / "0.parquet")
    found = measured(tmp_path, RUN)
    assert found is not None and (found.paragraphs, found.offset, found.rest, found.n_continuations) == (1.5, 1, 2, 2)
    (tmp_path / "rollouts" / RUN / "0.parquet").write_bytes(b"cut off")
    assert measured(tmp_path, RUN) is None


def test_another_model_on_the_data_set_comes_before_what_is_assumed(tmp_path: Path) -> None:
    config = study(models={"n": {"path": "owner/n"}}, rollouts={"runs": [RUN, "n/d"]})
    assumptions = read_yaml(ASSUMPTIONS)
    stated = assumptions["lengths"]["math"]
    low, high = (expected(config, assumptions, tmp_path, end)["n/d"] for end in (0, 1))
    assert (low.response, high.response) == (stated["response"][0], 1000)  # no longer than max_tokens
    write_rollouts(tmp_path, RUN)
    found = expected(config, assumptions, tmp_path, 1)["n/d"]
    assert (found.response, found.paragraphs) == (5, stated["paragraphs"][1])
    assert "2 finished responses of m/d" in found.source


def test_a_failed_dry_run_repeats_what_either_stream_says() -> None:
    assert complaint("error: a: wrong\nmore", "Using profile") == "a: wrong"
    assert complaint("Building\nMissing input", "") == "snakemake --dry-run failed: Building | Missing input"
    assert complaint("", "") == "snakemake --dry-run failed: it said nothing"


def test_jobs_are_read_from_what_a_dry_run_prints() -> None:
    first, second = read_jobs(PRINTED)
    assert (first.rule, *first.run, first.gpu) == ("dump_activations", "m", "d", 1)
    assert first.benchmark == "results/benchmarks/dump_activations/m/d/0.jsonl"
    assert (second.run, second.gpu) == (("", ""), 0)
    assert second.outputs == ("results/tables/claims.csv", "results/tables/claims.parquet")


def test_every_rule_has_a_stage_in_the_order_of_the_data() -> None:
    found = stages()
    assert found["sample_rollouts"] == "rollouts" and found["write_provenance"] == "report"
    assert list(found).index("prepare_problems") < list(found).index("judge_claims")
    assert found["train_causal_probes"] == found["train_value_probes"] == "probes"  # one is made from another rule


def test_the_order_of_the_stages_stands_in_the_snakefile_alone() -> None:
    """Every file of rules is included once, and names nothing that a file behind it defines."""
    included = re.findall(r'^include: "rules/(.+)[.]smk"', Path("Snakefile").read_text(), flags=re.MULTILINE)
    assert sorted(included) == sorted(path.stem for path in Path("rules").glob("*.smk"))
    assert included[:3] == ["resources", "common", "targets"]
    made: dict[str, str] = {}
    for stage in included:
        text = Path(f"rules/{stage}.smk").read_text()
        for name in re.findall(r"^([A-Z_]+) \|?= ", text, flags=re.MULTILINE):
            made.setdefault(name, stage)
    for stage in included:
        text = Path(f"rules/{stage}.smk").read_text()
        used = {name for name in made if re.search(rf"\b{name}\b", text)}
        late = [name for name in used if included.index(made[name]) > included.index(stage)]
        assert late == [], stage
    rules = [
        name
        for path in Path("rules").glob("*.smk")
        for name in re.findall(r"^(?:use )?rule .+:$", path.read_text(), flags=re.MULTILINE)
    ]
    assert len(rules) == len(stages())


def test_a_plan_counts_jobs_and_scales_by_those_that_are_left_or_measured() -> None:
    config = study(models={"m": {"path": "owner/m", "size": SIZE.__dict__}})
    name = "results/benchmarks/dump_activations/m/d/{}.jsonl"
    every = [Job("dump_activations", {"model": "m", "dataset": "d"}, 1, name.format(n), ()) for n in range(4)]
    rows = plan(config, every, every[:1], "h100", None)
    (row,) = rows.to_dicts()
    assert (row["jobs"], row["to_do"], row["cpu_hours_high"]) == (4, 1, 0)
    assert 0 < row["gpu_hours_low"] < row["gpu_hours_high"] and row["read_low"] == 100 * (90 + 450)
    (part,) = to_do_part(rows).to_dicts()
    assert part["jobs"] == 1 and part["read_low"] == row["read_low"] / 4
    (scaled,) = at_measured_rates(rows, every, {name.format(0): 900.0, name.format(1): 900.0}).to_dicts()
    assert (scaled["gpu_hours_low"], scaled["gpu_hours_high"]) == pytest.approx((0.8, 1.25))


def test_a_benchmark_that_is_cut_off_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    path.write_text(json.dumps({"s": 2.5, "cpu_time": 3, "max_rss": "NA"}) + "\n")
    found = read_spent(path)
    assert found is not None and (found.seconds, found.cpu_seconds, found.memory) == (2.5, 3.0, None)
    path.write_text('{"s": 2')
    assert read_spent(path) is None and read_spent(tmp_path / "none.jsonl") is None


def test_numbers_are_no_longer_than_they_are_sure() -> None:
    assert [short(value) for value in (0, 3.14, 42, 1234, 0.9999e6, 5e12)] == [
        "0",
        "3.1",
        "42",
        "1.2 k",
        "1.0 M",
        "5.0 T",
    ]
    assert spread(1.2e6, 3.4e6) == "1.2 to 3.4 M" and spread(5e5, 2e6) == "500 k to 2.0 M"
    assert spread(7, 7) == "7.0" and spread(0, 0) == spread(0.0, 0.01, tenths) == "-"


def test_the_sizes_that_the_paper_s_study_states_fit_their_names() -> None:
    models = yaml.safe_load(Path("studies/paper.yaml").read_text())["models"]
    assert all(2 * one["size"]["n_layers"] * one["size"]["hidden_size"] for one in models.values())
    assert sizes(models)["simplerl-14b"].parameters == pytest.approx(14.8e9)
