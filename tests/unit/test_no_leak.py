"""No validation problem reaches training: whatever becomes of their states, tokens, rewards and TD errors, all that is
trained or chosen stays as it is, to the last bit; and the split comes from one place."""

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.unit.tiny_models import save_tiny_model
from workflow_scripts import (
    average_paragraphs,
    measure_neurons,
    predict_confidence,
    train_dopamine_probes,
    train_ntp_probes,
    train_value_probes,
)
from workflow_scripts.lib.models.activation_files import write_activations
from workflow_scripts.lib.models.states import States
from workflow_scripts.lib.runtime.dependencies import modules
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.storage.tensors import read_safetensors

N, D, LAYERS, SHARD = 50, 12, [1, 3], 20
VALIDATION, ONE_TRAINING = frozenset(range(0, N, 5)), frozenset({1})
NORMALIZATIONS = ["response", "causal", "calibration"]
IDENTITY = {"model": "m", "revision": None, "fingerprint": "f", "dataset": "q"}
TRAINED: dict[str, Any] = {"hidden": 6, "epochs": 2, "batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.01}
TRAINED |= {"input_scaling": "zscore"}
SEEDS = {"seeds": [0, 1], "shuffled_seeds": [1]}
VALUE = TRAINED | SEEDS | {"target": "td", "td_gradient": "semi", "td_lambda": 0.9, "gamma": 0.99999}
NOT_TRAINED = {"losses", "n_validation"}
"""What the probes of next tokens say about the validation part, measured there and meant to."""

Tensors = dict[str, bytes]


@dataclass(frozen=True)
class Case:
    """One problem with its response, valued at the boundaries 0, 2, T."""

    prompt: list[int]
    tokens: list[int]
    states: np.ndarray
    reward: int
    delta: np.ndarray
    token: float
    verbal: float


def case(number: int, poison: str | None) -> Case:
    """A problem's data, from its own stream; poisoned, everything is another, lengths too.

    `noise` and `nan` change states to large noise or to NaN, `reward` nothing but the reward.
    """
    whole = poison in ("noise", "nan")
    rng = np.random.default_rng([number, int(whole)])
    length = int(rng.integers(3, 9))
    reward = int(np.random.default_rng([number, 9]).integers(0, 2)) ^ int(poison is not None)
    states = rng.normal(size=(len(LAYERS), length + 1, D))
    states[..., 4] += 2 * reward - 1 if poison != "reward" else 1 - 2 * reward
    if whole:
        states = states * 1e3 if poison == "noise" else np.full_like(states, np.nan)
    prompt, tokens = (rng.integers(13, 150, count).tolist() for count in (int(rng.integers(2, 7)), length))
    return Case(prompt, tokens, states, reward, rng.uniform(-1, 1, 2), float(rng.normal()), float(rng.uniform()))


def row_id(number: int) -> str:
    return f"p-{number:03d}"


def write(folder: Path, poisoned: Iterable[int] = (), poison: str = "noise") -> Path:
    """The files of a run: problems, rollouts, activations, paragraphs, values and what the model was asked."""
    folder.mkdir()
    bad = set(poisoned)
    cases = [case(number, poison if number in bad else None) for number in range(N)]
    split = ["validation" if number in VALIDATION else "train" for number in range(N)]
    write_parquet(
        pl.DataFrame({"problem_id": [row_id(i) for i in range(N)], "split": split}), folder / "problems.parquet"
    )
    for shard, first in enumerate(range(0, N, SHARD)):
        write_shard(folder, shard, {number: cases[number] for number in range(first, min(first + SHARD, N))})
    values: list[tuple[Any, ...]] = []
    paragraphs, asked = [], []
    for number, one in enumerate(cases):
        name, bounds = row_id(number), [0, 2, len(one.tokens)]
        asked.append((name, one.token, one.verbal, 1))
        values.append((name, 0, 0, 0, None, None, None, None))
        for k in (1, 2):
            delta = float(one.delta[k - 1])
            values.append((name, 0, k, bounds[k], delta, delta, delta, abs(delta) > 0.3))
            paragraphs.append((name, 0, k, bounds[k - 1], bounds[k]))
    names = ["problem_id", "sample", "boundary", "offset", "delta", "delta_half_a", "delta_half_b", "kept"]
    write_parquet(pl.DataFrame(values, schema=names, orient="row"), folder / "values.parquet")
    names = ["problem_id", "sample", "paragraph", "start", "end"]
    write_parquet(pl.DataFrame(paragraphs, schema=names, orient="row"), folder / "paragraphs.parquet")
    names = ["problem_id", "token", "verbal", "tries"]
    write_parquet(pl.DataFrame(asked, schema=names, orient="row"), folder / "asked.parquet")
    return folder


def write_shard(folder: Path, shard: int, cases: dict[int, Case]) -> None:
    rows = {"problem_id": [row_id(number) for number in cases], "sample": 0}
    rows |= {"reward": [one.reward for one in cases.values()]}
    rows |= {"prompt_ids": [one.prompt for one in cases.values()]}
    rows |= {"response_ids": [one.tokens for one in cases.values()]}
    types: dict[str, Any] = {"prompt_ids": pl.List(pl.Int32), "response_ids": pl.List(pl.Int32), "reward": pl.Int8}
    write_parquet(pl.DataFrame(rows, schema_overrides=types), folder / f"rollouts-{shard}.parquet")
    offsets = torch.tensor([0, *np.cumsum([one.states.shape[1] for one in cases.values()])])
    joined = [np.concatenate([one.states[place] for one in cases.values()]) for place in range(len(LAYERS))]
    layers = {layer: torch.from_numpy(block).float() for layer, block in zip(LAYERS, joined, strict=True)}
    metadata = IDENTITY | {"dtype": "float32", "n_layers": 3, "shard": shard}
    states = States([(row_id(number), 0, len(one.tokens)) for number, one in cases.items()], offsets, layers)
    write_activations(states, metadata, folder / f"activations-{shard}.safetensors")


def given(folder: Path, *names: str) -> list[str]:
    return [word for name in names for word in (f"--{name}", *sorted(map(str, folder.glob(f"{name}*"))))]


def start(module: Any, folder: Path, params: dict[str, Any], output: str, inputs: list[str]) -> tuple[Tensors, Any]:
    """Run a module as its rule does; the bytes of every tensor it wrote, and what it says of the training."""
    path = folder / f"{output}.safetensors"
    module.main(["--params", json.dumps(params), *inputs, "--output", str(path)])
    tensors, metadata = read_safetensors(path)
    told = {key: value for key, value in metadata.items() if key not in NOT_TRAINED}
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in tensors.items()}, told


def train_value(folder: Path, model: Path, *more: str) -> tuple[Tensors, Any]:
    inputs = [*given(folder, "problems", "rollouts", "activations"), *more]
    return start(train_value_probes, folder, {"value_probes": VALUE}, "value", inputs)


def train_ntp(folder: Path, model: Path) -> tuple[Tensors, Any]:
    entry = {"key": "m", "path": str(model), "revision": None, "trust_remote_code": False}
    params = {"model": entry, "interventions": {"layers": LAYERS}, "ntp_probes": TRAINED | {"seed": 0}}
    return start(train_ntp_probes, folder, params, "ntp", given(folder, "problems", "rollouts", "activations"))


def train_dopamine(folder: Path, model: Path, normalized: str) -> tuple[Tensors, Any]:
    section = TRAINED | SEEDS | {"normalization": normalized}
    inputs = given(folder, "problems", "activations", "paragraphs", "values")
    start(average_paragraphs, folder, {"dopamine_probes": {"normalization": normalized}}, "features", inputs)
    inputs = given(folder, "problems", "features")
    return start(train_dopamine_probes, folder, {"dopamine_probes": section}, "dopamine", inputs)


def measure(folder: Path, model: Path) -> tuple[Tensors, Any]:
    params = {"model": {"key": "m", "path": str(model)}, "interventions": {"layers": LAYERS}}
    inputs = [*given(folder, "problems", "rollouts"), "--dataset", "q", "--batch-tokens", "64"]
    return start(measure_neurons, folder, params, "measures", inputs)


TRAINERS: dict[str, Any] = {
    "value": train_value,
    "value_final": lambda folder, model: train_value(folder, model, "--target", "final", "--true-labels-only"),
    "ntp": train_ntp,
    "measures": measure,
    **{f"dopamine {name}": partial(train_dopamine, normalized=name) for name in NORMALIZATIONS},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clean") / "run")


@pytest.mark.parametrize("name", TRAINERS)
def test_nothing_of_the_validation_part_reaches_training(name: str, clean: Path, model: Path, tmp_path: Path) -> None:
    tensors, told = TRAINERS[name](clean, model)
    assert tensors
    for poison in ("noise", "nan"):
        again, told_again = TRAINERS[name](write(tmp_path / poison, VALIDATION, poison), model)
        assert again == tensors
        assert told_again == told


@pytest.mark.parametrize("name", TRAINERS)
def test_a_training_response_does(name: str, clean: Path, model: Path, tmp_path: Path) -> None:
    """One training problem among forty is enough: so the test above can fail."""
    tensors, _ = TRAINERS[name](clean, model)
    again, _ = TRAINERS[name](write(tmp_path / "run", ONE_TRAINING), model)
    assert again.keys() == tensors.keys() and again != tensors


def test_a_problem_that_changes_sides_changes_every_probe(clean: Path, model: Path, tmp_path: Path) -> None:
    """The column `split` decides, and nothing else in the files."""
    moved = write(tmp_path / "run")
    problems = pl.read_parquet(moved / "problems.parquet")
    write_parquet(problems.with_columns(split=pl.Series(["train", *problems["split"][1:]])), moved / "problems.parquet")
    assert [name for name, trainer in TRAINERS.items() if trainer(moved, model)[0] == trainer(clean, model)[0]] == []


def test_every_trainer_is_tried() -> None:
    """Another module that trains or measures on the training part belongs in `TRAINERS`."""
    tried = {module.__name__.rpartition(".")[2] for module in (train_value_probes, train_ntp_probes)}
    tried |= {module.__name__.rpartition(".")[2] for module in (train_dopamine_probes, measure_neurons)}
    found = {path.stem for path in Path("workflow_scripts").glob("train_*_probes.py")} | {"measure_neurons"}
    assert found == tried


CONFIDENCE = {"confidence": {"layers": LAYERS, "folds": 3, "seed": 0}, "pruning": {"ratios": [0.0, 0.5, 0.9]}}


def predict(folder: Path, probes: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows and choices of the confidence methods, except the one that is chosen on validation by definition."""
    rows, choices = folder / "confidence.parquet", folder / "choices.parquet"
    inputs = [*given(folder, "problems", "rollouts", "activations", "asked"), "--probes", str(probes)]
    outputs = ["--output", str(rows), "--choices", str(choices)]
    predict_confidence.main(["--params", json.dumps(CONFIDENCE), *inputs, *outputs])
    return tuple(pl.read_parquet(path).filter(pl.col("method") != "value_neurons") for path in (rows, choices))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def predicted(clean: Path, model: Path) -> tuple[Path, pl.DataFrame, pl.DataFrame]:
    train_value(clean, model)
    return clean / "value.safetensors", *predict(clean, clean / "value.safetensors")


def test_confidence_is_chosen_without_the_validation_part(
    predicted: tuple[Path, pl.DataFrame, pl.DataFrame], tmp_path: Path
) -> None:
    """Choices, and the scores of training responses that probabilities are fitted to."""
    probes, rows, choices = predicted
    assert {"value_neurons_cv", "lcd", "lcd_logistic", "question_length"} <= set(choices["method"])
    found, chosen = predict(write(tmp_path / "run", VALIDATION), probes)
    assert chosen.equals(choices)
    own = rows.filter(split="train")
    assert own["score"].is_not_null().sum() > 4 * 40 and found.filter(split="train").equals(own)
    assert not found.filter(split="validation").equals(rows.filter(split="validation"))


def test_validation_rewards_change_no_score_and_no_probability(
    predicted: tuple[Path, pl.DataFrame, pl.DataFrame], tmp_path: Path
) -> None:
    probes, rows, choices = predicted
    found, chosen = predict(write(tmp_path / "run", VALIDATION, "reward"), probes)
    held_out = rows.filter(split="validation")
    assert (found.filter(split="validation")["reward"] != held_out["reward"]).all()
    assert held_out["probability"].is_not_null().all()
    assert chosen.equals(choices) and found.drop("reward").equals(rows.drop("reward"))


def test_training_rewards_change_confidence(predicted: tuple[Path, pl.DataFrame, pl.DataFrame], tmp_path: Path) -> None:
    probes, rows, choices = predicted
    found, chosen = predict(write(tmp_path / "run", range(1, 4), "reward"), probes)
    assert not chosen.equals(choices)
    for method in choices["method"].unique():
        changed = [frame.filter(method=method, split="validation")["probability"] for frame in (found, rows)]
        assert not changed[0].equals(changed[1]), method


DIVIDERS = {"train_test_split", "ShuffleSplit", "GroupShuffleSplit", "StratifiedShuffleSplit"}
ASKS = {"split_of", "read_features"}
"""The functions that read the split from the table of problems; others have it from the results of these."""


def words(path: Path) -> set[str]:
    """Names, attributes and texts in a module's code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias):
            found.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def rules() -> dict[str, str]:
    """The text of every rule of a study by its name; the reference models are trained on tasks, not on problems."""
    files = [path for path in sorted(Path("rules").glob("*.smk")) if path.stem != "reference_models"]
    text = "\n".join(path.read_text() for path in files)
    return {part.partition(":")[0]: part for part in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]}


def settings(body: str) -> set[str]:
    """The sections that a rule passes to its module."""
    given = " ".join(re.findall(r"section\(\s*((?:\"[^\"]*\"\s*)+)\)", body))
    return {key.partition(".")[0] for key in given.replace('"', " ").split()}


def test_problems_are_divided_in_one_place() -> None:
    """One rule is told how to divide, one module does; no library divides anything else. One rule prints how."""
    told = {name for name, body in rules().items() if "split" in settings(body)}
    assert told == {"prepare_problems", "tabulate_settings"}
    library = Path("workflow_scripts/lib")
    plan = library / "plan" / "work.py"  # counts the problems of a part, and sees none
    paths = set(Path("workflow_scripts").rglob("*.py")) - {library / "config" / "sections.py", plan}
    assert {path for path in paths if "train_ratio" in words(path)} == {library / "problems" / "preparation.py"}
    assert [path for path in paths if DIVIDERS & words(path)] == []


def test_all_who_ask_for_the_split_are_given_the_same_table() -> None:
    """Probes, confidence, search and tables: the parts are those of `results/problems/{dataset}/`."""
    asking, given = [], re.compile(r"problems=(all_shards|valued_shards)\(\"problems\"\)|problems=PROBLEMS")
    for name, body in rules().items():
        for module in set(re.findall(r"python -m workflow_scripts[.](\w+)", body)) - {"prepare_problems"}:
            readers = [path for path in modules(module) if path != "workflow_scripts/lib/probes/data.py"]
            if any(ASKS & words(Path(path)) for path in readers):
                asking.append(name)
                assert given.search(body), name
    assert {"train_value_probes", "train_dopamine_probes", "train_ntp_probes", "measure_neurons"} <= set(asking)
