"""Confidence that a model states and that of its first token: parsing, and what the answers depend on."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from byte_tokenizers import byte_level
from transformers import Qwen2Config, Qwen2ForCausalLM

from workflow_scripts import ask_confidence
from workflow_scripts.lib.confidence import asking
from workflow_scripts.lib.confidence.asking import (
    WORDS,
    Prompt,
    Verbalized,
    ask,
    first_number,
    parse_confidence,
    rounds,
    verbal_prompts,
)
from workflow_scripts.lib.engines.interface import Completion, Sampling
from workflow_scripts.lib.engines.start import load_engine
from workflow_scripts.lib.engines.transformers_engine import TransformersEngine
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, load_model
from workflow_scripts.lib.models.prompts import build_prompt
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet

N = 7
SETTINGS = {"engine": "transformers", "temperature": 1.0, "top_p": 1.0, "stop": "default"}
HOW = {"verbal_tries": 4, "verbal_tokens": 6, "verbal_pilot": None, "seed": 0}


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A random model that reads 600 bytes."""
    folder, tokenizer = tmp_path_factory.mktemp("model"), byte_level(split_words=True)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 600}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **shape, **heads)).save_pretrained(folder)
    return {"key": "tiny", "path": str(folder), "dtype": "float32", "prompt": "plain", "instruction": "Think."}


@pytest.fixture(scope="module")
def model(entry: dict[str, Any]) -> ModelConfig:
    return ModelConfig.from_entry(entry)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, model: ModelConfig) -> Path:
    """Problems, and rollouts of two samples each in one shard and in two."""
    folder, tokenizer = tmp_path_factory.mktemp("data"), load_tokenizer(model)
    names, questions = [f"p-{i}" for i in range(N)], [f"What is {i} and {3 * i}?" for i in range(N)]
    records = {"problem_id": names, "position": range(N), "question": questions}
    write_parquet(pl.DataFrame(records), folder / "problems.parquet")
    rows = [
        {"problem_id": name, "sample": sample, "prompt_ids": build_prompt(question, model, tokenizer)}
        for name, question in zip(names, questions, strict=True)
        for sample in (0, 1)
    ]
    frame = pl.DataFrame(rows)
    write_parquet(frame, folder / "whole.parquet")
    write_parquet(frame[:6], folder / "first.parquet")
    write_parquet(frame[6:], folder / "second.parquet")
    return folder


def run(
    data: Path,
    output: Path,
    entry: dict[str, Any],
    shard: str = "whole",
    batch_size: int = 64,
    pilot: bool = False,
    **how: Any,
) -> pl.DataFrame:
    params = {"model": entry, "dataset": {"template": "{question}"}, "rollouts": SETTINGS, "confidence": HOW | how}
    arguments = ["--params", json.dumps(params), "--problems", str(data / "problems.parquet")]
    arguments += ["--rollouts", str(data / f"{shard}.parquet"), "--batch-size", str(batch_size)]
    arguments += ["--pilot", str(data / "problems.parquet")] * pilot
    ask_confidence.main([*arguments, "--output", str(output)])
    return read_parquet(output)


@pytest.fixture(scope="module")
def asked(data: Path, entry: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return run(data, tmp_path_factory.mktemp("asked") / "0.parquet", entry)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.8", 0.8),
        (" .8\n", 0.8),
        ("1", 1.0),
        ("1.", 1.0),
        ("0", 0.0),
        ("**0.75**", 0.75),
        ("Confidence: 0.9. I am sure", 0.9),
        ("0.35, roughly", 0.35),
        ("80%", None),
        ("0.8%", None),
        ("1/2", None),
        ("1 + 1", None),
        ("0.7-0.8", None),
        ("0.9 - I am sure", 0.9),
        ("0,8", None),
        ("1.5", None),
        ("10", None),
        ("-0.5", None),
        ("\N{MINUS SIGN}0.5", None),
        ("8 or 0.8", None),  # a single number was asked for
        ("0.8 or 8", None),
        ("Try 1, 19 + 1", None),
        ("0.8 %", None),
        ("x1", None),
        ("1st", None),
        ("sure", None),
        ("", None),
    ],
)
def test_a_number_from_0_to_1_and_nothing_else(text: str, value: float | None) -> None:
    assert parse_confidence(text) == value


def test_a_number_that_the_token_limit_may_have_cut_is_none() -> None:
    assert parse_confidence("0.", cut_off=True) is None
    assert parse_confidence("0.8 of", cut_off=True) == 0.8
    assert parse_confidence("0.8", cut_off=False) == 0.8


def test_the_prompt_ends_with_the_words_and_has_no_instruction(model: ModelConfig) -> None:
    tokenizer = load_tokenizer(model)
    (prompt,) = verbal_prompts({"a": "What is 2?"}, "Q: {question}", model, tokenizer).values()
    assert WORDS.startswith("\n\n Rate your confidence in answering this question correctly from 0 to 1 (where 0 means")
    assert WORDS.endswith("confidence). Only output a single number between 0 and 1. Do not try to solve the question.")
    assert prompt is not None and tokenizer.decode(list(prompt)) == f"Q: What is 2?{WORDS}\n"


def test_a_question_that_does_not_fit_is_not_asked(model: ModelConfig) -> None:
    tokenizer, engine = load_tokenizer(model), load_engine("transformers", model)
    prompts = verbal_prompts({"a": "Short?", "b": "Long " * 5000}, "{question}", model, tokenizer)
    assert prompts["a"] is not None and prompts["b"] is None
    said = ask(prompts, engine, Sampling(1.0, 1.0, 3), 2, 0, tokenizer)
    assert (said[1].verbal, said[1].tries, said[1].text) == (None, 0, None)
    assert said[0].tries and said[0].text is not None


def test_every_try_belongs_to_one_batch() -> None:
    assert [list(numbers) for numbers in rounds(1)] == [[0]]
    assert [list(numbers) for numbers in rounds(4)] == [[0], [1, 2, 3]]


def test_the_first_answer_with_a_number_counts() -> None:
    class Spelling:
        def decode(self, ids: list[int], **_: Any) -> str:
            return "".join(map(chr, ids))

    answers = [Completion([ord(c) for c in text], [], "stop") for text in ("no", "0.4", "0.9")]
    assert vars(first_number(answers, 1, Spelling())) == {"verbal": 0.4, "tries": 3, "text": "0.4"}
    assert vars(first_number(answers[:1], 0, Spelling())) == {"verbal": None, "tries": 1, "text": "no"}


def test_one_row_a_problem_whatever_the_shards_and_batches(
    data: Path, entry: dict[str, Any], asked: pl.DataFrame, tmp_path: Path
) -> None:
    assert asked["problem_id"].to_list() == [f"p-{i}" for i in range(N)]
    parts = [run(data, tmp_path / f"{shard}.parquet", entry, shard, batch_size=3) for shard in ("first", "second")]
    joined = pl.concat(parts)
    assert joined.drop("token").equals(asked.drop("token"))
    assert joined["token"].to_list() == pytest.approx(asked["token"].to_list(), abs=1e-5)


def test_tries_end_at_the_first_number(asked: pl.DataFrame) -> None:
    for row in asked.to_dicts():
        assert 1 <= row["tries"] <= HOW["verbal_tries"]
        assert row["tries"] == HOW["verbal_tries"] or row["verbal"] is not None
        assert row["verbal"] is None or parse_confidence(row["text"]) == row["verbal"]


def test_the_seed_reaches_the_answers(data: Path, entry: dict[str, Any], asked: pl.DataFrame, tmp_path: Path) -> None:
    other = run(data, tmp_path / "other.parquet", entry, seed=1)
    assert other["text"].to_list() != asked["text"].to_list()
    assert other["token"].to_list() == asked["token"].to_list()


def test_the_token_is_the_largest_log_probability(data: Path, model: ModelConfig, asked: pl.DataFrame) -> None:
    engine = TransformersEngine(load_model(model), load_tokenizer(model))
    prompt = read_parquet(data / "whole.parquet")["prompt_ids"][0].to_list()
    each = [float(scores[-1]) for scores in engine.score([[*prompt, token] for token in range(engine.vocabulary)])]
    assert asked["token"][0] == pytest.approx(max(each), abs=1e-5)
    assert math.exp(max(each)) <= 1


def test_an_end_token_can_be_the_most_likely_one(data: Path, model: ModelConfig) -> None:
    """With every token an end token the completion is empty, and the number is the same."""
    engine = TransformersEngine(load_model(model), load_tokenizer(model))
    prompts = read_parquet(data / "whole.parquet")["prompt_ids"].to_list()[:3]
    plain = asking.first_token_logprobs(prompts, engine, [])
    every = list(range(engine.vocabulary))
    engine.stop_ids = engine.stop_ids.new_tensor(every)
    assert asking.first_token_logprobs(prompts, engine, every) == pytest.approx(plain, abs=1e-5)


def test_rollouts_of_other_problems_are_refused(data: Path, entry: dict[str, Any], tmp_path: Path) -> None:
    known = read_parquet(data / "problems.parquet")
    write_parquet(known[:2], tmp_path / "problems.parquet")
    write_parquet(read_parquet(data / "whole.parquet"), tmp_path / "whole.parquet")
    with pytest.raises(UserError, match="problem p-2 is not among the problems"):
        run(tmp_path, tmp_path / "out.parquet", entry)
    assert not (tmp_path / "out.parquet").exists()


def test_a_model_that_names_no_number_in_the_pilot_is_asked_no_more() -> None:
    """The pilot is asked whole, whether its problems are in the shard or not, and no problem is asked twice."""
    calls: list[list[str]] = []

    def asked(numbers: set[str]) -> Callable[[Mapping[str, Prompt]], list[Verbalized]]:
        def ask_some(prompts: Mapping[str, Prompt]) -> list[Verbalized]:
            calls.append(list(prompts))
            return [Verbalized(0.5 if name in numbers else None, 2, "x") for name in prompts]

        return ask_some

    names = [f"p-{i}" for i in range(30)]
    pilot, shard = (dict.fromkeys(some, (1,)) for some in (names[:20], names[10:]))
    silent = asking.ask_after_pilot(shard, pilot, asked({"p-25", "p-0"}))
    assert calls == [names[:20]]
    assert [(one.verbal, one.tries) for one in silent] == [(None, 2)] * 10 + [(None, None)] * 10
    calls.clear()
    speaking = asking.ask_after_pilot(shard, pilot, asked({"p-25", "p-0", "p-1"}))  # a tenth
    assert calls == [names[:20], names[20:]]
    assert [name for name, one in zip(shard, speaking, strict=True) if one.verbal] == ["p-25"]
    calls.clear()
    asking.ask_after_pilot(shard, {}, asked(set()))
    assert calls == [[], names[10:]]


@pytest.mark.parametrize("shard", ["first", "second"])
def test_the_pilot_is_the_same_in_every_shard(
    data: Path, entry: dict[str, Any], asked: pl.DataFrame, tmp_path: Path, shard: str
) -> None:
    """The random model names hardly any number: whatever the shard, two problems decide."""
    found = run(data, tmp_path / "out.parquet", entry, shard, pilot=True, verbal_pilot=2)
    assert asked["verbal"].null_count() == N
    assert found["tries"].to_list() == ([4, 4, None] if shard == "first" else [None] * 4)
    assert found["text"].to_list() == ([*asked["text"][:2], None] if shard == "first" else [None] * 4)
