"""Saved probes on new text: known answers, the study's own states, any batch and order, and one line for bad input."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml

from workflow_scripts import score
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import read_layer, write_activations
from workflow_scripts.lib.models.load import ModelConfig, fingerprint, load_model
from workflow_scripts.lib.models.paragraphs import paragraph_boundaries
from workflow_scripts.lib.models.prompts import build_prompt
from workflow_scripts.lib.models.states import Response, dump
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.probes import features, score_lines
from workflow_scripts.lib.probes.perceptrons import Probes, initial_weights, outputs, ranking, save, specs_of
from workflow_scripts.lib.probes.pruning import curve
from workflow_scripts.lib.probes.scoring import open_probes

ROOT = Path(__file__).resolve().parents[2]
D, LAYERS, SEEDS = 192, [1, 3], [0, 1]
QUESTION = "A box holds 75 coins. First 19 are moved, then 30 are taken. How many coins are there?"
ANSWERS = [
    "Fair. It can be in and out or out and out.\n\nI see no way on, so I give up.\n\nThe count is \\boxed{64}.",
    "The count is \\boxed{90}, and I am sure.",
    "",
    "That leads to nothing.\n\n\n\nWait, try in and out. 75 + 19 = 94.\n\n",
]
NEURON, WEAK = 7, 30


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(config())


def config() -> ModelConfig:
    return ModelConfig("grpo", str(ROOT / "resources/models/grpo"), instruction="")


def identity() -> dict[str, Any]:
    return {"model": "grpo", "revision": None, "fingerprint": fingerprint(config().path), "dataset": "ledger"}


def random_probes(shift: int = 0) -> Probes:
    specs = specs_of(LAYERS, SEEDS, [0])
    each = [initial_weights(spec.seed + 10 * spec.layer + shift, D, 8, 1) for spec in specs]
    weights = {name: torch.cat([one[name] for one in each]) for name in each[0]}
    generator = torch.Generator().manual_seed(shift)
    mean = torch.randn(len(specs), D, generator=generator)
    return Probes(specs, **weights, mean=mean, scale=1 + torch.rand(len(specs), D, generator=generator))


def plain_probes(labels: str = "true") -> Probes:
    """f(h) = h[NEURON] + h[WEAK] / 2 on true labels; on shuffled labels, 100."""
    specs = specs_of(LAYERS, [0], [0])
    n = len(specs)
    w1, w2 = torch.zeros(n, 2, D), torch.tensor([[1.0, -1.0]]).repeat(n, 1)
    w1[:, 0, NEURON], w1[:, 1, NEURON], w1[:, 0, WEAK], w1[:, 1, WEAK] = 1, -1, 0.5, -0.5
    b2 = torch.tensor([0.0 if spec.labels == labels else 100.0 for spec in specs])
    return Probes(specs, w1, torch.zeros(n, 2), w2, b2, torch.zeros(n, D), torch.ones(n, D))


def write_probes(value: Probes, dopamine: Probes | None = None, normalized: str = "causal", **metadata: Any) -> None:
    folder = Path("results/probes/grpo/ledger")
    save(value, identity() | {"kind": "value", "config": {}} | metadata, folder / "value.safetensors")
    if dopamine:
        own = identity() | {"kind": "dopamine", "config": {"normalization": normalized}}
        save(dopamine, own | metadata, folder / "dopamine.safetensors")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any) -> Path:
    """A folder with a configuration; the model, loaded once for all tests."""
    for name in ("schemas", "resources"):
        (tmp_path / name).symlink_to(ROOT / name)
    study = {
        "models": {"grpo": {"path": "resources/models/grpo", "instruction": ""}},
        "datasets": {"ledger": {"source": "reference", "task": "ledger", "n_problems": 10, "answer": "boxed_integer"}},
        "rollouts": {"runs": ["grpo/ledger"]},
        "activations": {"layers": LAYERS, "dtype": "float32"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(study))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(score, "load_model", lambda _: model)
    return tmp_path


def write_input(lines: list[Any], name: str = "in.jsonl") -> None:
    Path(name).write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def run(lines: list[Any], *more: str) -> list[dict[str, Any]]:
    write_input(lines)
    score.main(["--run", "grpo/ledger", "--input", "in.jsonl", "--output", "out.jsonl", *more])
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


def states_of(model: Any, answer: str | None) -> tuple[dict[int, torch.Tensor], list[int]]:
    """States s_0..s_T and paragraph boundaries, one response at a time."""
    tokenizer = load_tokenizer(config())
    ids = tokenizer(answer or "", add_special_tokens=False)["input_ids"]
    response = Response("p", 0, build_prompt(QUESTION, config(), tokenizer), ids)
    return dump(model, [response], LAYERS, torch.float32, 1).layers, paragraph_boundaries(ids, tokenizer)


def mixed() -> list[dict[str, Any]]:
    answered = [{"id": i, "question": QUESTION, "answer": answer} for i, answer in enumerate(ANSWERS)]
    return [*answered, {"id": 4, "question": QUESTION}]


@pytest.mark.parametrize("normalized", ["causal", "response"])
def test_scores_are_those_computed_by_hand(project: Path, model: Any, normalized: str) -> None:
    """A probe that adds up neurons gives their sum: V from the states, scores from normalised paragraph means."""
    write_probes(plain_probes(), plain_probes(), normalized)
    normalize = getattr(features, f"zscore_{normalized}")
    found = run(mixed())
    assert [row["id"] for row in found] == [0, 1, 2, 3, 4]
    for row, answer in zip(found, [*ANSWERS, None], strict=True):
        layers, boundaries = states_of(model, answer)
        f = torch.stack([h[:, NEURON] + h[:, WEAK] / 2 for h in layers.values()])
        values = f.sigmoid().mean(0)[boundaries].tolist()
        means = [features.paragraph_means(normalize(h), boundaries) for h in layers.values()]
        scores = torch.stack([m[:, NEURON] + m[:, WEAK] / 2 for m in means]).mean(0).tolist()
        assert row["confidence"] == pytest.approx(values[0], abs=1e-5)
        if answer is None:
            assert row["value"] is row["steps"] is row["note"] is None
            continue
        assert row["value"] == pytest.approx(values[-1], abs=1e-5)
        assert [step["value"] for step in row["steps"]] == pytest.approx(values[1:], abs=1e-5)
        assert [step["score"] for step in row["steps"]] == pytest.approx(scores, abs=1e-5)
        assert [(s["start"], s["end"]) for s in row["steps"]] == list(pairwise(boundaries))
        assert all(step["tokens"] == step["end"] - step["start"] for step in row["steps"])
        assert "".join(step["text"] for step in row["steps"]) == answer == row["answer"]
    assert [len(row["steps"]) for row in found[:4]] == [3, 1, 0, 2]
    assert found[0]["note"] == (None if normalized == "causal" else score_lines.WHOLE)
    assert found[2]["note"] == score_lines.NO_TOKENS and found[2]["value"] == found[2]["confidence"]


def test_confidence_is_the_probes_value_at_the_stored_states(project: Path, model: Any) -> None:
    """Random probes of several seeds, states stored by the study, s_0 and s_T read back from the file."""
    probes = random_probes()
    write_probes(probes)
    tokenizer = load_tokenizer(config())
    prompt = build_prompt(QUESTION, config(), tokenizer)
    ids = [tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in ANSWERS]
    states = dump(model, [Response(str(i), 0, prompt, own) for i, own in enumerate(ids)], LAYERS, torch.float32, 500)
    write_activations(states, identity() | {"dtype": "float32", "n_layers": 6}, "states.safetensors")
    at = {place: [] for place in ("first", "last")}  # type: dict[str, list[torch.Tensor]]
    for layer in LAYERS:
        read = read_layer(["states.safetensors"], layer)
        true = probes.of(layer=layer, labels="true")
        at["first"].append(outputs(true, read.layers[layer][read.offsets[:-1]]).sigmoid())
        at["last"].append(outputs(true, read.layers[layer][read.offsets[1:] - 1]).sigmoid())
    found = run([{"prompt_ids": prompt, "response_ids": own} for own in ids])
    assert [row["confidence"] for row in found] == pytest.approx(torch.cat(at["first"]).mean(0).tolist(), abs=1e-5)
    assert [row["value"] for row in found] == pytest.approx(torch.cat(at["last"]).mean(0).tolist(), abs=1e-5)
    one = run([{"prompt_ids": prompt, "response_ids": own} for own in ids], "--layer", "3")
    assert [row["value"] for row in one] == pytest.approx(at["last"][1].mean(0).tolist(), abs=1e-5)
    assert one[0]["value"] != pytest.approx(found[0]["value"], abs=1e-4)


def test_kept_neurons_are_those_of_the_prune_curve(project: Path, model: Any) -> None:
    probes = random_probes()
    write_probes(probes, random_probes(1))
    layers, boundaries = states_of(model, ANSWERS[0])
    (found,) = run(mixed()[:1], "--keep", "0.01")
    parts = [
        curve(chosen, layers[layer][boundaries], ranking(chosen), [0.99])[0]
        for layer in LAYERS
        for chosen in [probes.of(layer=layer, labels="true")]
    ]
    values = torch.from_numpy(parts[0]).sigmoid().mean(0) / 2 + torch.from_numpy(parts[1]).sigmoid().mean(0) / 2
    assert [found["confidence"], *(step["value"] for step in found["steps"])] == pytest.approx(
        values.tolist(), abs=1e-5
    )
    (whole,) = run(mixed()[:1])
    assert whole["confidence"] != pytest.approx(found["confidence"], abs=1e-4)
    assert whole["steps"][0]["score"] != pytest.approx(found["steps"][0]["score"], abs=1e-4)


def test_the_most_important_neuron_alone_is_left(project: Path, model: Any) -> None:
    """A probe of two neurons that keeps one of 192 is the stronger one."""
    write_probes(plain_probes())
    layers, _ = states_of(model, None)
    (found,) = run(mixed()[4:], "--keep", "0.005", "--layer", "1")
    assert found["confidence"] == pytest.approx(float(layers[1][0, NEURON].sigmoid()), abs=1e-5)


def test_batches_and_order_change_nothing(project: Path) -> None:
    write_probes(random_probes(), random_probes(1))
    whole, alone, reverse = run(mixed()), run(mixed(), "--batch-tokens", "1"), run(mixed()[::-1])
    for one, other in [*zip(whole, alone, strict=True), *zip(whole, reverse[::-1], strict=True)]:
        assert one["confidence"] == pytest.approx(other["confidence"], abs=2e-5)
        for a, b in zip(one["steps"] or [], other["steps"] or [], strict=True):
            assert [a[key] for key in ("text", "start", "end")] == [b[key] for key in ("text", "start", "end")]
            assert [a["value"], a["score"]] == pytest.approx([b["value"], b["score"]], abs=2e-5)


def test_a_causal_score_does_not_see_what_follows(project: Path) -> None:
    """The first step of an answer scores alike whether or not there are others: not so over the whole response."""
    whole = {"question": QUESTION, "answer": ANSWERS[0]}
    begun = whole | {"answer": ANSWERS[0].partition("I see")[0]}
    for normalized, same in (("causal", True), ("response", False)):
        write_probes(random_probes(), random_probes(1), normalized)
        first, second = (row["steps"][0] for row in run([whole, begun]))
        assert first["text"] == second["text"]
        assert (first["score"] == pytest.approx(second["score"], abs=2e-5)) is same


def test_ids_and_text_agree_and_ids_go_first(project: Path) -> None:
    write_probes(random_probes(), random_probes(1))
    tokenizer = load_tokenizer(config())
    prompt = build_prompt(QUESTION, config(), tokenizer)
    ids = tokenizer(ANSWERS[0], add_special_tokens=False)["input_ids"]
    ended = [*ids, tokenizer.eos_token_id, tokenizer.eos_token_id]
    text = {"question": QUESTION, "answer": ANSWERS[0]}
    told = {"prompt_ids": prompt, "response_ids": ended, "question": "no", "answer": "no", "sent": [1, {"a": None}]}
    first, second = run([text, told])
    for key in ("confidence", "value"):
        assert first[key] == pytest.approx(second[key], abs=2e-5)
    assert [step["text"] for step in first["steps"]] == [step["text"] for step in second["steps"]]
    assert {key: second[key] for key in told} == told


def test_the_studys_own_rollouts_can_be_read(project: Path) -> None:
    write_probes(random_probes(), random_probes(1))
    tokenizer = load_tokenizer(config())
    rows = {"prompt_ids": [build_prompt(QUESTION, config(), tokenizer)], "reward": [1], "answer": ["64"]}
    rows["response_ids"] = [tokenizer(ANSWERS[0], add_special_tokens=False)["input_ids"]]
    types: dict[str, Any] = {"prompt_ids": pl.List(pl.Int32), "response_ids": pl.List(pl.Int32), "reward": pl.Int8}
    pl.DataFrame(rows, schema_overrides=types).write_parquet("0.parquet")
    score.main(["--run", "grpo/ledger", "--input", "0.parquet", "--output", "out.jsonl"])
    found = json.loads(Path("out.jsonl").read_text())
    assert found["reward"] == 1 and len(found["steps"]) == 3


def test_answers_can_be_left_alone(project: Path) -> None:
    write_probes(random_probes(), random_probes(1))
    (found,) = run(mixed()[:1], "--questions-only")
    assert found["steps"] is None and found["answer"] == ANSWERS[0]
    assert found["confidence"] == run(mixed()[4:])[0]["confidence"]


def test_without_dopamine_probes_steps_have_values_alone(project: Path) -> None:
    write_probes(random_probes())
    (found,) = run(mixed()[:1])
    assert [step["score"] for step in found["steps"]] == [None] * 3
    assert found["note"].startswith("no dopamine probe") and found["steps"][-1]["value"] == found["value"]


def test_an_empty_input_gives_an_empty_output(project: Path) -> None:
    write_probes(random_probes(), random_probes(1))
    assert run([]) == []


BAD = [
    ("{", "line 2: not valid JSON"),
    ([1], "line 2: not a JSON object"),
    ({"answer": "64"}, "line 2: no text in field 'question'; fill it, or give prompt_ids"),
    ({"question": "  "}, "line 2: no text in field 'question'"),
    ({"question": 5}, "line 2: no text in field 'question'"),
    ({"question": QUESTION, "answer": 64}, "line 2: field 'answer' is int, not text; write it in quotes"),
    ({"prompt_ids": []}, "line 2: the prompt has no tokens"),
    ({"prompt_ids": "1 2"}, "line 2: field 'prompt_ids' is not a list of token ids"),
    ({"prompt_ids": [1, True]}, "line 2: field 'prompt_ids' is not a list of token ids"),
    (
        {"question": QUESTION, "response_ids": [9, 99999]},
        "line 2: field 'response_ids' has token 99999, but the tokens",
    ),
    ({"question": QUESTION, "response_ids": [9] * 5000}, "tokens, but model grpo reads"),
    ({"question": QUESTION, "value": 1}, "line 2: has a field 'value', which the output adds; rename or remove it"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_bad_line_is_refused_before_the_model_is_loaded(
    project: Path, monkeypatch: pytest.MonkeyPatch, line: Any, message: str
) -> None:
    write_probes(random_probes())
    monkeypatch.setattr(score, "load_model", lambda _: pytest.fail("the model was loaded"))
    with pytest.raises(UserError) as raised:
        run([{"question": QUESTION}, line])
    assert message in str(raised.value) and str(raised.value).startswith("in.jsonl: line 2")
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep", "0"], "--keep: 0.0 is out of range"),
        (["--keep", "1.5"], "--keep: 1.5 is out of range"),
        (["--batch-tokens", "0"], "--batch-tokens: 0 is out of range"),
        (["--layer", "2"], "value.safetensors: has no probe of layer 2; its layers are 1, 3"),
        (["--run", "grpo/ledgr"], "datasets has no entry 'ledgr'; did you mean ledger?"),
        (["--run", "grpo"], "datasets has no entry ''"),
        (["--value", "none.safetensors"], "none.safetensors: no such file; train the probes"),
        (["--dopamine", "none.safetensors"], "none.safetensors: no such file"),
        (
            ["--value", "results/probes/grpo/ledger/dopamine.safetensors"],
            "contains dopamine probes; name a file of value",
        ),
        (["--config", "config.yaml", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_arguments_that_cannot_be_are_refused(project: Path, arguments: list[str], message: str) -> None:
    write_probes(random_probes(), random_probes(1))
    with pytest.raises(UserError) as raised:
        run(mixed()[:1], *arguments)
    assert message in str(raised.value)


@pytest.mark.parametrize("key", ["model", "revision", "fingerprint"])
def test_probes_of_another_model_are_refused(project: Path, key: str) -> None:
    write_probes(random_probes(), random_probes(1), **{key: "other"})
    with pytest.raises(UserError, match=f"its probes read a model whose {key} is 'other'"):
        run(mixed()[:1])


def test_a_normalisation_that_the_file_cannot_give_is_refused(project: Path) -> None:
    write_probes(random_probes(), random_probes(1), "calibration")
    with pytest.raises(UserError, match="normalization calibration needs the training responses"):
        run(mixed()[:1])
    assert run(mixed()[4:])[0]["confidence"] > 0  # a question alone needs no dopamine probe


def test_probes_on_shuffled_labels_are_not_used(project: Path) -> None:
    write_probes(random_probes())
    path = Path("results/probes/grpo/ledger/value.safetensors")
    reader = open_probes(path, "value", identity(), None, 1.0)
    assert {spec.labels for spec in reader.probes.specs} == {"true"} and len(reader.probes.specs) == 4


def test_the_command_says_in_one_line_what_is_wrong(project: Path) -> None:
    write_probes(random_probes())
    write_input([{}])
    command = [sys.executable, "-m", "workflow_scripts.score", "--run", "grpo/ledger", "--input", "in.jsonl"]
    options: dict[str, Any] = {"capture_output": True, "text": True, "env": {"PYTHONPATH": str(ROOT)}}
    failed = subprocess.run([*command, "--output", "out.jsonl"], **options)
    told = "error: in.jsonl: line 1: no text in field 'question'; fill it, or give prompt_ids\n"
    assert (failed.returncode, failed.stderr) == (1, told)
