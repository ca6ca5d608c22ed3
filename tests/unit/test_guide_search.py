"""Search on the reference model: the best is appended, what is spent is counted, and batches change nothing."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from tests.unit.entries import dataset_entry
from tests.unit.tiny_models import save_tiny_model
from workflow_scripts.guide_search import main
from workflow_scripts.lib.config.study import with_defaults
from workflow_scripts.lib.engines.interface import Completion, Request, Sampling
from workflow_scripts.lib.engines.transformers_engine import TransformersEngine, load
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.answers import Grade
from workflow_scripts.lib.models.load import ModelConfig, identity_of
from workflow_scripts.lib.models.paragraphs import paragraph_boundaries
from workflow_scripts.lib.models.prompts import build_prompt
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.probes.perceptrons import Probes, Spec, save
from workflow_scripts.lib.reference.tasks import generate_problems
from workflow_scripts.lib.search.guided import Draws, Prompt, best
from workflow_scripts.lib.search.methods import METHODS
from workflow_scripts.lib.search.run import chosen_problems
from workflow_scripts.lib.search.whole_responses import spelt, votes, whole_responses, within
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet

N, LAYER, MODEL = 8, 4, Path("resources/models/grpo")
VALIDATION = [f"ledger-{i:06d}" for i in range(N) if i % 4]
SEARCH: dict[str, Any] = {"methods": list(METHODS), "layer": LAYER, "candidates": 3, "n_problems": None}
BASE = {"key": "base", "path": "resources/models/base", "instruction": ""}


def write_probes(path: Path, kind: str, **metadata: Any) -> None:
    torch.manual_seed(len(kind))
    specs = [Spec(LAYER, 0, "true"), Spec(LAYER, 1, "true")]
    shapes = {"w1": (2, 8, 192), "b1": (2, 8), "w2": (2, 8), "b2": (2,), "mean": (2, 192)}
    tensors = {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}
    identity = identity_of(ModelConfig("grpo", str(MODEL)), "ledger")
    found = identity | {"kind": kind, "config": {"normalization": "causal"}} | metadata
    save(Probes(specs, **tensors, scale=torch.ones(2, 192)), found, path)


def prepare(folder: Path, reverse: bool = False, **dopamine: Any) -> Path:
    """Problems, three of four for validation, and random probes."""
    made = generate_problems("ledger", "evaluation", N, 0)
    rows = [
        {
            "problem_id": f"ledger-{i:06d}",
            "position": i,
            "question": problem.question,
            "gold": str(problem.gold),
            "spec": None,
            "place": f"ledger-{i:06d}",
            "split": "validation" if i % 4 else "train",
        }
        for i, problem in enumerate(made)
    ]
    frame = pl.DataFrame(rows[::-1] if reverse else rows, schema_overrides={"spec": pl.String})
    write_parquet(frame, folder / "problems.parquet")
    write_probes(folder / "dopamine.safetensors", "dopamine", **dopamine)
    write_probes(folder / "value.safetensors", "value")
    return folder


def params(max_tokens: int = 256, **search: Any) -> str:
    rollouts = {
        "engine": "transformers",
        "max_tokens": max_tokens,
        "temperature": 1.0,
        "top_p": 0.95,
        "stop": "default",
    }
    dataset = dataset_entry("ledger", answer="boxed_integer")
    model = {"key": "grpo", "path": str(MODEL), "instruction": ""}
    sections = {"model": model, "dataset": dataset, "rollouts": rollouts, "search": SEARCH | search}
    return json.dumps(sections | {"activations": {"dtype": "float16"}, "grading": {"allow_unsandboxed": False}})


def answer(
    folder: Path, name: str = "0", batch_size: int = 64, seed: int = 0, reference: Any = BASE, **changes: Any
) -> tuple[pl.DataFrame, pl.DataFrame]:
    files = {"output": folder / f"{name}.parquet", "candidates": folder / f"{name}.candidates.parquet"}
    given = ["--params", params(**changes), "--seed", str(seed), "--problems", str(folder / "problems.parquet")]
    given += ["--dopamine-probes", str(folder / "dopamine.safetensors"), "--value-probes"]
    given += [str(folder / "value.safetensors"), "--reference", json.dumps(reference)]
    given += ["--batch-size", str(batch_size), "--batch-tokens", str(40 * batch_size)]
    main([*given, *(part for key, path in files.items() for part in (f"--{key}", str(path)))])
    return read_parquet(files["output"]), read_parquet(files["candidates"])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, pl.DataFrame]:
    return answer(prepare(tmp_path_factory.mktemp("search")))


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return load(ModelConfig("grpo", str(MODEL), instruction=""), 64)


Tables = tuple[pl.DataFrame, pl.DataFrame]


def of(frame: pl.DataFrame, **wanted: Any) -> list[dict[str, Any]]:
    return frame.filter([pl.col(name) == value for name, value in wanted.items()]).to_dicts()


def test_every_method_answers_every_validation_problem_once(found: Tables) -> None:
    answers, _ = found
    assert answers.select("method", "problem_id").rows() == [(m, p) for m in METHODS for p in VALIDATION]
    assert set(answers["seed"]) == {0} and set(answers["reward"]) <= {0, 1} and (answers["seconds"] > 0).all()
    graded = {row["problem_id"]: row["gold"] for row in read_gold()}
    for row in answers.to_dicts():
        right = f"\\boxed{{{graded[row['problem_id']]}}}" in row["text"] and row["finish_reason"] == "stop"
        assert row["reward"] == int(right)
    assert set(answers["reward"]) == {0, 1}


def read_gold() -> list[dict[str, str]]:
    made = generate_problems("ledger", "evaluation", N, 0)
    return [{"problem_id": f"ledger-{i:06d}", "gold": str(problem.gold)} for i, problem in enumerate(made)]


@pytest.mark.parametrize("method", ["dopamine", "implicit_prm", "random"])
def test_the_best_of_the_candidates_is_appended_at_every_step(found: Tables, method: str) -> None:
    tokenizer = load_tokenizer(ModelConfig("grpo", str(MODEL)))
    for row in of(found[0], method=method):
        drawn = of(found[1], method=method, problem_id=row["problem_id"])
        written: list[int] = []
        for step in range(1, row["steps"] + 1):
            several = [one for one in drawn if one["step"] == step]
            assert [one["candidate"] for one in several] == [0, 1, 2]
            (chosen,) = [one for one in several if one["chosen"]]
            assert chosen["candidate"] == best([one["score"] for one in several])
            assert row["scores"][step - 1] == chosen["score"]
            written += chosen["token_ids"]
            assert chosen["finish_reason"] == (row["finish_reason"] if step == row["steps"] else "paragraph")
            assert paragraph_boundaries(written, tokenizer)[-2:-1] == [len(written) - len(chosen["token_ids"])]
        assert row["token_ids"] == written and row["drawn"] == len(drawn) == 3 * row["steps"]
        assert row["tokens"] == sum(len(one["token_ids"]) for one in drawn)


def test_methods_choose_among_the_same_first_candidates(found: Tables) -> None:
    first = [
        [(one["problem_id"], one["candidate"], one["token_ids"]) for one in of(found[1], method=method, step=1)]
        for method in ("dopamine", "implicit_prm", "random")
    ]
    assert first[0] == first[1] == first[2] and len(first[0]) == 3 * len(VALIDATION)
    scores = [[row["scores"] for row in of(found[0], method=method)] for method in ("dopamine", "random")]
    assert scores[0] != scores[1]


def test_whole_responses_cost_no_more_than_the_guided_search(found: Tables) -> None:
    spent = {row["problem_id"]: row["tokens"] for row in of(found[0], method="dopamine")}
    for method in ("best_of_n", "majority"):
        for row in of(found[0], method=method):
            drawn = of(found[1], method=method, problem_id=row["problem_id"])
            assert row["drawn"] == len(drawn) and row["tokens"] == sum(len(one["token_ids"]) for one in drawn)
            assert row["tokens"] <= spent[row["problem_id"]] or row["drawn"] == 1
            chosen = best([one["score"] for one in drawn])
            assert drawn[chosen]["chosen"] and drawn[chosen]["token_ids"] == row["token_ids"]
            assert row["scores"] == [drawn[chosen]["score"]]
    assert max(row["drawn"] for row in of(found[0], method="best_of_n")) > 1


def test_greedy_takes_the_most_likely_tokens(found: Tables) -> None:
    (one,) = of(found[1], method="greedy", problem_id=VALIDATION[0])
    assert (one["score"], one["chosen"], one["step"]) == (None, True, 0)
    assert of(found[0], method="greedy", problem_id=VALIDATION[0])[0]["tokens"] == len(one["token_ids"])


def test_batches_order_and_fewer_problems_change_nothing_but_rounding(found: Tables, tmp_path: Path) -> None:
    few = answer(prepare(tmp_path, reverse=True), batch_size=5, n_problems=3)
    for mine, other, key in zip(few, found, (["seconds"], []), strict=True):
        expected = other.filter(pl.col("problem_id").is_in(VALIDATION[:3])).drop(key)
        lists = [name for name in ("scores", "score") if name in expected.columns]
        assert mine.drop([*key, *lists]).equals(expected.drop(lists))
        for name in lists:
            ours, theirs = (torch.tensor(frame[name].explode().drop_nulls().to_list()) for frame in (mine, expected))
            torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=0)


def test_another_seed_draws_others_and_a_limit_cuts_responses_off(found: Tables, tmp_path: Path) -> None:
    cut, drawn = answer(prepare(tmp_path), seed=1, max_tokens=25, methods=["random", "majority"])
    assert set(cut["finish_reason"]) == {"length"} and set(cut["reward"]) == {0}
    assert set(cut["token_ids"].list.len()) == {25}
    assert set(cut.filter(pl.col("method") == "majority")["drawn"]) == {3}  # no dopamine: as many as candidates
    assert set(drawn.filter(pl.col("method") == "majority")["score"]) == {0.0}  # what was cut off has no answer
    other = [one["token_ids"][:20] for one in of(drawn, method="majority")]
    assert other != [one["token_ids"][:20] for one in of(found[1], method="majority")][: len(other)]


def test_no_validation_problem_gives_empty_tables(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    frame = read_parquet(folder / "problems.parquet").with_columns(split=pl.lit("train"))
    write_parquet(frame, folder / "problems.parquet")
    answers, candidates = answer(folder)
    assert answers.is_empty() and candidates.is_empty() and "reward" in answers.columns


def test_problems_are_the_first_of_validation_in_the_order_of_the_data_set() -> None:
    rows = [("c", 2, "validation"), ("a", 0, "train"), ("b", 1, "validation")]
    frame = pl.DataFrame(rows, schema=["problem_id", "position", "split"], orient="row")
    assert chosen_problems(frame, None)["problem_id"].to_list() == ["b", "c"]
    assert chosen_problems(frame, 1)["problem_id"].to_list() == ["b"]


def test_probes_and_references_that_do_not_fit_are_refused_before_work_starts(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "a", config={"normalization": "response"})
    with pytest.raises(UserError, match=r"dopamine.safetensors: not trained on causal features"):
        answer(folder)
    with pytest.raises(UserError, match=r"dopamine.safetensors: dataset is \"locks\", but \"ledger\" is asked for"):
        answer(prepare(tmp_path / "b", dataset="locks"))
    with pytest.raises(UserError, match=r"search.reference: a method scores against this model; name it"):
        answer(prepare(tmp_path / "c"), reference=None)
    stranger = save_tiny_model(tmp_path / "tiny")
    with pytest.raises(UserError, match=r"search.reference: tiny does not share the tokenizer of grpo"):
        answer(tmp_path / "c", reference={"key": "tiny", "path": str(stranger)})
    with pytest.raises(UserError, match=r"dopamine probes: none of layer 5"):
        answer(tmp_path / "c", layer=5, methods=["dopamine"])


def test_which_whole_responses_are_kept_depends_on_the_budget_alone(engine: TransformersEngine) -> None:
    question = generate_problems("ledger", "evaluation", 1, 0)[0].question
    ids = build_prompt(question, ModelConfig("grpo", str(MODEL), instruction=""), engine.tokenizer)
    prompts = [Prompt(name, tuple(ids)) for name in ("a", "b", "c")]
    budgets = [400, 1, 150]
    ways = [whole_responses(Draws(engine, 0), prompts, budgets, Sampling(1.0, 0.95, 256), first)[0] for first in (1, 4)]
    lengths = [[[len(one.token_ids) for one in several] for several in way] for way in ways]
    assert lengths[0] == lengths[1] and len(lengths[0][1]) == 1
    assert [[one.token_ids for one in several] for several in ways[0]] == [
        [one.token_ids for one in several] for several in ways[1]
    ]
    assert all(one.finish_reason == "stop" for several in ways[0] for one in several)
    assert 200 < sum(lengths[0][0]) <= 400 and len(lengths[0][0]) > 2


def completions(*lengths: int) -> list[Completion]:
    return [Completion([1] * length, [], "stop") for length in lengths]


def test_what_fits_into_a_budget() -> None:
    assert [within(completions(5, 5, 5), budget) for budget in (0, 5, 9, 10, 14, 15, 99)] == [1, 1, 1, 2, 2, 3, 3]
    assert within(completions(0, 0, 5), 1) == 1  # a response without tokens costs one


def test_votes_are_counted_by_value_and_what_does_not_parse_comes_last() -> None:
    grades = [Grade(0, "x y", "unparsable"), Grade(0, None, None), Grade(0, "1,000", None), Grade(0, " a  b", None)]
    assert [spelt(one) for one in grades] == [None, None, "1000", "a b"]
    counted = votes([None, "7", "8", "8", "7", "9"])
    assert counted == [0.0, 2.0, 2.0, 2.0, 2.0, 1.0] and best(counted) == 1  # a tie: the answer seen first
    assert votes([None, None]) == [0.0, 0.0] and best(votes([None, None])) == 0


def test_what_several_methods_draw_is_drawn_once_and_charged_to_each(engine: TransformersEngine) -> None:
    draws, wanted = Draws(engine, 0), [Request((1, 5, 6), ("a", "b"), 20), Request((1, 5, 6), ("a",), 20)]
    first, spent = draws.take(wanted[:1], Sampling(1.0, 1.0, 20))
    engine_of = draws.engine
    draws.engine = None  # type: ignore[assignment]  # whatever is drawn now would fail
    again, charged = draws.take(wanted[1:], Sampling(1.0, 1.0, 20))
    assert again[0] == first[0][:1] and 0 < charged <= spent
    draws.engine = engine_of
    other, _ = draws.take(wanted[1:], Sampling(1.0, 1.0, 20, paragraph=True))
    assert len(draws.known) == 3 and other[0][0].token_ids == again[0][0].token_ids[: len(other[0][0].token_ids)]


def test_the_configuration_of_a_search_has_these_methods() -> None:
    assert with_defaults({"search": {"reference": "m"}})["search"]["methods"] == list(METHODS)
    without = with_defaults({})["search"]["methods"]
    assert without == [name for name in METHODS if name != "implicit_prm"]
