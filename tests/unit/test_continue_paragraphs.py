"""Paragraphs and their continuations on a tiny random model with a real engine: what they depend on, and what not."""

import json
from typing import Any

import polars as pl
import pytest
import torch
from byte_tokenizers import byte_level
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from workflow_scripts import continue_paragraphs, segment_paragraphs
from workflow_scripts.lib.config.sections import Values
from workflow_scripts.lib.engines.interface import Sampling
from workflow_scripts.lib.engines.start import load_engine
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.grade import Grader
from workflow_scripts.lib.grading.responses import ResponseGrader
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.values import continuations
from workflow_scripts.lib.values.adaptive import Design

MAX_TOKENS, N = 60, 4
TEXTS = {  # responses by (problem, sample): the box comes first, so that a continuation from later boundaries is right
    ("a", 0): "See \\boxed{12}.\n\nThe sum.\n\nSo the end",
    ("a", 1): "Another \\boxed{3}.\n\n\nThe end",
    ("b", 0): "One paragraph",
    ("c", 0): "",
    ("d", 0): "It is \\boxed{12}\n\nx",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a random model that ends often: one token in thirty is an end token."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = byte_level(split_words=True)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    built = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, **shape))
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2)
    built.generation_config = GenerationConfig(eos_token_id=list(range(0, len(tokenizer), 30)))
    built.save_pretrained(folder)
    return {"key": "tiny", "path": str(folder), "dtype": "float32"}


@pytest.fixture(scope="module")
def tokenizer(model):
    return load_tokenizer(ModelConfig.from_entry(model))


@pytest.fixture(scope="module")
def engine(model):
    return load_engine("transformers", ModelConfig.from_entry(model))


@pytest.fixture(scope="module")
def problems():
    names = ["a", "b", "c", "d", "e"]
    return pl.DataFrame({"problem_id": names, "position": range(5), "gold": ["12"] * 5, "spec": [None] * 5})


@pytest.fixture(scope="module")
def rollouts(tokenizer):
    """Responses spelled character by character, as no tokenizer would spell them."""

    def spell(text: str) -> list[int]:
        return [token for character in text for token in tokenizer(character)["input_ids"]]

    rows = [(name, sample, spell(f"{name}?"), spell(text)) for (name, sample), text in TEXTS.items()]
    ids = pl.List(pl.Int32)
    schema = {"problem_id": pl.String(), "sample": pl.Int64(), "prompt_ids": ids, "response_ids": ids}
    return pl.DataFrame(rows, schema=schema, orient="row")


def run(folder, model, problems, rollouts, shard_size=4, batch_size=256, n_problems=4, adaptive=None):
    """Both rules through their entry points, shard by shard; the tables of all shards together."""
    folder.mkdir()
    write_parquet(problems, folder / "problems.parquet")
    halves = [folder / "first.parquet", folder / "second.parquet"]
    write_parquet(rollouts.head(2), halves[0])
    write_parquet(rollouts.slice(2), halves[1])
    values = {"n_problems": n_problems, "shard_size": shard_size, "n_continuations": N, "adaptive": adaptive, "seed": 0}
    settings = {
        "engine": "transformers",
        "max_tokens": MAX_TOKENS,
        "temperature": 1.0,
        "top_p": 0.95,
        "stop": "default",
    }
    params = {"model": model, "rollouts": settings, "values": values, "grading": {"allow_unsandboxed": False}}
    params |= {"dataset": {"answer": "boxed_integer", "response_prefix": ""}}
    outputs: dict[str, list[Any]] = {"paragraphs": [], "continuations": []}
    for shard in range(-(-n_problems // shard_size)):
        paragraphs, continuations = folder / f"paragraphs{shard}", folder / f"continuations{shard}"
        common = ["--params", json.dumps(params), "--shard", str(shard), "--problems", str(folder / "problems.parquet")]
        common += ["--rollouts", *map(str, halves)]
        segment_paragraphs.main([*common, "--output", str(paragraphs)])
        flags = ["--paragraphs", str(paragraphs), "--batch-size", str(batch_size), "--output", str(continuations)]
        continue_paragraphs.main([*common, *flags])
        outputs["paragraphs"].append(paragraphs)
        outputs["continuations"].append(continuations)
    return {name: read_parquet(paths) for name, paths in outputs.items()}


@pytest.fixture(scope="module")
def tables(tmp_path_factory, model, problems, rollouts):
    return run(tmp_path_factory.mktemp("run") / "run", model, problems, rollouts)


def test_paragraphs_are_spans_of_the_sampled_tokens(tables, rollouts, tokenizer):
    found = tables["paragraphs"]
    assert found.group_by("problem_id", "sample", maintain_order=True).agg("paragraph").rows() == [
        ("a", 0, [1, 2, 3]),
        ("a", 1, [1, 2]),
        ("b", 0, [1]),
        ("d", 0, [1, 2]),
    ]
    joined = found.group_by("problem_id", "sample").agg(pl.col("text").str.join(""))
    assert all(text == TEXTS[name, sample] for name, sample, text in joined.rows())
    for name, sample, start, end, text in found.drop("paragraph").rows():
        response = rollouts.filter(problem_id=name, sample=sample)["response_ids"].item().to_list()
        assert tokenizer.decode(response[start:end]) == text


def test_every_boundary_has_its_continuations_in_order(tables):
    counted = tables["continuations"].group_by("problem_id", "sample", "boundary", maintain_order=True)
    expected = [("a", 0, 0), ("a", 0, 1), ("a", 0, 2), ("a", 1, 0), ("a", 1, 1)]
    expected += [("b", 0, 0), ("c", 0, 0), ("d", 0, 0), ("d", 0, 1)]
    assert counted.agg("continuation").rows() == [(*place, list(range(N))) for place in expected]


def test_a_continuation_is_graded_with_its_prefix_and_a_cut_off_one_is_wrong(tables):
    found = tables["continuations"]
    boxed = ((pl.col("problem_id") == "a") & (pl.col("sample") == 0)) | (pl.col("problem_id") == "d")
    stopped = pl.col("finish_reason") == "stop"
    right = boxed & (pl.col("boundary") > 0) & stopped  # a random model writes no box of its own
    assert found.select((pl.col("reward") == right).all()).item()
    assert set(found["finish_reason"]) == {"stop", "length"} and 0 < found["reward"].sum() < len(found)


def test_a_continuation_has_the_tokens_that_its_response_had_left(tables):
    offsets = tables["paragraphs"].select("problem_id", "sample", pl.col("start"), boundary=pl.col("paragraph") - 1)
    found = tables["continuations"].join(offsets, on=["problem_id", "sample", "boundary"])
    left = MAX_TOKENS - pl.col("start")
    length = pl.col("response_ids").list.len().cast(pl.Int64)
    assert found.select((length <= left).all()).item()
    assert found.filter(pl.col("finish_reason") == "length").select((length == left).all()).item()
    assert found.filter(pl.col("finish_reason") == "length", pl.col("start") > 0).height > 0


def test_samples_of_a_problem_share_the_continuations_of_a_shared_prefix(tables, rollouts):
    found = tables["continuations"].filter(problem_id="a")
    first, second = (found.filter(sample=s, boundary=0)["response_ids"].to_list() for s in (0, 1))
    assert first == second
    assert len({tuple(ids) for ids in first}) > 1
    assert found.filter(sample=0, boundary=1)["response_ids"].to_list() != first
    prefixes = continuations.collect_prefixes(rollouts.filter(problem_id="a"), tables["paragraphs"])
    assert [prefix.places for prefix in prefixes if len(prefix.places) > 1] == [[("a", 0, 0), ("a", 1, 0)]]


def test_prefixes_are_the_token_ids_of_the_rollout(tables, rollouts, engine):
    """Continuing from the ids by hand gives the recorded continuation; the text spelled anew would not do."""
    row = rollouts.row(0, named=True)
    end = tables["paragraphs"].row(1, named=True)["end"]
    prefixes = continuations.collect_prefixes(rollouts.head(1), tables["paragraphs"])
    request = prefixes[2].request(range(N), MAX_TOKENS)
    assert request.token_ids == (*row["prompt_ids"], *row["response_ids"][:end])
    assert request.max_tokens == MAX_TOKENS - end
    ((_, completions),) = engine.generate([request], Sampling(1.0, 0.95, MAX_TOKENS), 0)
    recorded = tables["continuations"].filter(problem_id="a", sample=0, boundary=2)["response_ids"].to_list()
    assert [completion.token_ids for completion in completions] == recorded


@pytest.mark.parametrize(("shard_size", "batch_size"), [(1, 256), (3, 5), (4, 1)])
def test_shards_and_batches_change_nothing(tmp_path, model, problems, rollouts, tables, shard_size, batch_size):
    found = run(tmp_path / "run", model, problems, rollouts, shard_size, batch_size)
    for name, table in tables.items():
        assert found[name].equals(table)


def test_the_order_of_the_rollouts_changes_nothing(tmp_path, model, problems, rollouts, tables):
    found = run(tmp_path / "run", model, problems, rollouts.reverse())
    assert found["continuations"].equals(tables["continuations"])


def test_one_response_more_leaves_the_others_alone(tmp_path, model, problems, rollouts, tables):
    fewer = rollouts.filter(~((pl.col("problem_id") == "a") & (pl.col("sample") == 0)))
    found = run(tmp_path / "run", model, problems, fewer)
    kept = tables["continuations"].join(fewer.select("problem_id", "sample"), on=["problem_id", "sample"], how="semi")
    assert found["continuations"].equals(kept)


def test_no_tokens_left_is_a_wrong_and_empty_continuation(rollouts, tables, engine, tokenizer):
    prefixes = continuations.collect_prefixes(rollouts.head(1), tables["paragraphs"])
    sampling = Sampling(1.0, 0.95, max_tokens=len(prefixes[1].response_ids))
    found = {id(p): done for p, done in continuations.sample_continuations(prefixes, engine, sampling, range(2), 0)}
    assert len(found) == 3
    assert all(done.token_ids for done in found[id(prefixes[0])])
    for prefix in prefixes[1:]:
        assert [(one.token_ids, one.finish_reason) for one in found[id(prefix)]] == [([], "length")] * 2
    grader = ResponseGrader({prefixes[0].problem_id: {"gold": "12", "spec": None}}, "", Grader("boxed_integer"))
    sampler = continuations.Sampler(engine, sampling, 0, tokenizer, grader)
    drawn = {id(prefix): rows for prefix, rows in sampler.draw(prefixes, range(2))}
    assert all(drawn[id(prefix)] == [([], "length", 0)] * 2 for prefix in prefixes[1:])


ADAPTIVE: dict[str, Any] = {"first": 4, "budget": 12, "half_width": 0.3}
LOOKS = (4, 6, 9, 12)


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory, model, problems, rollouts):
    return run(tmp_path_factory.mktemp("adaptive") / "run", model, problems, rollouts, adaptive=ADAPTIVE)


def test_adaptive_continuations_are_the_first_ones_of_a_fixed_number(
    tmp_path, monkeypatch, model, problems, rollouts, adaptive
):
    monkeypatch.setitem(globals(), "N", 12)
    fixed = run(tmp_path / "run", model, problems, rollouts)["continuations"]
    drawn = adaptive["continuations"]
    place = ["problem_id", "sample", "boundary", "continuation"]
    assert drawn.equals(fixed.join(drawn.select(place), on=place, how="semi", maintain_order="left"))
    numbers = drawn.group_by(place[:3], maintain_order=True).agg("continuation", "reward")
    assert all(found.to_list() == list(range(len(found))) for found in numbers["continuation"])
    assert len({len(found) for found in numbers["continuation"]}) > 1
    for rewards in numbers["reward"].to_list():
        assert len(rewards) == next(n for n in LOOKS if not Design(**ADAPTIVE).goes_on(n, sum(rewards[:n])))


@pytest.mark.parametrize(("shard_size", "batch_size"), [(1, 256), (3, 5)])
def test_shards_and_batches_change_nothing_in_rounds(
    tmp_path, model, problems, rollouts, adaptive, shard_size, batch_size
):
    found = run(tmp_path / "run", model, problems, rollouts, shard_size, batch_size, adaptive=ADAPTIVE)
    assert found["continuations"].equals(adaptive["continuations"])


def test_a_round_asks_only_for_what_is_open(rollouts, tables):
    """Boundaries by the number of right answers among the first four: the uncertain ones are asked for again."""
    prefixes = continuations.collect_prefixes(rollouts.head(2), tables["paragraphs"])
    right = {prefix.places[0]: number for number, prefix in enumerate(prefixes)}
    asked: list[tuple[list[int], range]] = []

    def draw(which, numbers):
        asked.append(([right[prefix.places[0]] for prefix in which], numbers))
        for prefix in reversed(which):
            yield prefix, [([], "stop", int(number < right[prefix.places[0]])) for number in numbers]

    graded = continuations.continue_all(prefixes, Design(4, 8, 0.3), draw)
    assert asked == [([0, 1, 2, 3], range(4)), ([1, 2, 3], range(4, 6)), ([2, 3], range(6, 8))]
    assert [len(graded[prefix.places[0]]) for prefix in prefixes] == [4, 6, 8, 8]
    assert graded["a", 1, 0] is graded["a", 0, 0]  # a shared prefix


def test_only_the_first_problems_are_valued(tmp_path, model, problems, rollouts):
    found = run(tmp_path / "run", model, problems, rollouts, shard_size=4, n_problems=1)
    assert set(found["continuations"]["problem_id"]) == {"a"} == set(found["paragraphs"]["problem_id"])


def test_a_problem_without_rollout_is_named(problems, rollouts):
    with pytest.raises(UserError, match="problem e "):
        segment_paragraphs.valued_rollouts(problems, rollouts, Values({"n_problems": 5, "shard_size": 5}), shard=0)


def test_paragraphs_of_other_rollouts_are_refused(rollouts, tables):
    with pytest.raises(UserError, match="problem a, sample 0 are not those of its response"):
        continuations.collect_prefixes(rollouts, tables["paragraphs"].slice(3))
