"""Values and TD errors by hand, and on a Markov chain of paragraphs whose state values are known."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from workflow_scripts import estimate_values
from workflow_scripts.lib.config.sections import Values
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.intervals import wilson
from workflow_scripts.lib.statistics.ranks import pearson, spearman
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.values import estimation
from workflow_scripts.lib.values.adaptive import Design
from workflow_scripts.lib.values.noise_ceiling import kept_ceiling, noise_ceiling

GAMMA = 0.99999
SETTINGS = {"n_continuations": 4, "adaptive": None, "gamma": GAMMA, "min_abs_delta": 0.3}


def by_hand() -> dict[str, pl.DataFrame]:
    """Problem a: two paragraphs, ends right. Problem b: no tokens at all. Problem c: not valued."""
    rollouts = pl.DataFrame(
        {
            "problem_id": ["a", "b", "c"],
            "sample": [0, 0, 0],
            "response_ids": [[5, 6, 7], [], [5]],
            "reward": pl.Series([1, 0, 1], dtype=pl.Int8),
        },
        schema_overrides={"response_ids": pl.List(pl.Int32)},
    )
    paragraphs = pl.DataFrame(
        {"problem_id": ["a", "a"], "sample": [0, 0], "paragraph": [1, 2], "start": [0, 2], "end": [2, 3]}
    )
    rewards = {("a", 0): [1, 0, 0, 0], ("a", 1): [1, 1, 1, 0], ("b", 0): [0, 1, 0, 1]}
    rows = [
        (problem, 0, boundary, number, reward)
        for (problem, boundary), several in rewards.items()
        for number, reward in enumerate(several)
    ]
    names = ["problem_id", "sample", "boundary", "continuation", "reward"]
    continuations = pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("reward").cast(pl.Int8))
    return {"rollouts": rollouts, "paragraphs": paragraphs, "continuations": continuations}


def test_a_response_by_hand():
    found = estimation.estimate_values(**by_hand(), settings=Values(SETTINGS))
    assert found.columns == estimation.COLUMNS
    a = found.filter(problem_id="a")
    assert a["boundary"].to_list() == [0, 1, 2]
    assert a["offset"].to_list() == [0, 2, 3]
    assert a["n"].to_list() == [4, 4, 0]
    assert a["n_right"].to_list() == [1, 3, 0]
    assert a["value"].to_list() == [0.25, 0.75, 1.0]
    assert a["value_half_a"].to_list() == [0.5, 1.0, 1.0]  # continuations 0 and 2
    assert a["value_half_b"].to_list() == [0.0, 0.5, 1.0]
    assert (a["ci_low"][0], a["ci_high"][0]) == pytest.approx(wilson(1, 4))
    assert (a["ci_low"][2], a["ci_high"][2]) == (1.0, 1.0)
    assert a["delta"].to_list() == pytest.approx([None, GAMMA * 0.75 - 0.25, GAMMA - 0.75])
    assert a["delta_half_a"].to_list() == pytest.approx([None, GAMMA - 0.5, GAMMA - 1.0])
    assert a["delta_half_b"].to_list() == pytest.approx([None, GAMMA * 0.5, GAMMA - 0.5])
    assert a["kept"].to_list() == [None, True, False]
    low, high = wilson(3, 4)
    assert (a["delta_low"][2], a["delta_high"][2]) == pytest.approx((GAMMA - high, GAMMA - low))


def test_an_empty_response_has_a_value_and_no_td_error():
    found = estimation.estimate_values(**by_hand(), settings=Values(SETTINGS))
    b = found.filter(problem_id="b")
    assert b.select("boundary", "offset", "n", "n_right", "value").rows() == [(0, 0, 4, 2, 0.5)]
    assert all(b[name].to_list() == [None] for name in estimation.TD_ERRORS)
    assert found.filter(problem_id="c").is_empty()


def test_shards_in_any_number_give_the_same_table(tmp_path):
    tables = by_hand()
    for name, table in tables.items():
        write_parquet(table, tmp_path / f"{name}.parquet")
        for shard, problem in enumerate(["a", "b", "c"]):
            write_parquet(table.filter(problem_id=problem), tmp_path / f"{name}{shard}.parquet")
    for output, endings in {"one": [""], "several": ["0", "1", "2"]}.items():
        flags = [
            item for name in tables for item in (f"--{name}", *(str(tmp_path / f"{name}{e}.parquet") for e in endings))
        ]
        params = json.dumps({"values": SETTINGS})
        estimate_values.main(["--params", params, *flags, "--output", str(tmp_path / output)])
    assert read_parquet(tmp_path / "one").equals(read_parquet(tmp_path / "several"))


def lose_a_boundary(tables):
    tables["continuations"] = tables["continuations"].filter(
        ~((pl.col("problem_id") == "a") & (pl.col("boundary") == 1))
    )


def lose_a_continuation(tables):
    tables["continuations"] = tables["continuations"].slice(1)


def count_one_twice(tables):
    tables["continuations"] = tables["continuations"].with_columns(continuation=pl.lit(0, pl.Int64))


def lose_a_paragraph(tables):
    tables["paragraphs"] = tables["paragraphs"].head(1)


def lose_paragraphs_and_continuations(tables):
    second = tables["rollouts"].filter(problem_id="a").with_columns(sample=pl.lit(1, pl.Int64))
    tables["rollouts"] = pl.concat([tables["rollouts"], second])


def repeat(name):
    """The same shard under two names."""

    def spoil(tables):
        tables[name] = pl.concat([tables[name], tables[name].filter(problem_id="a")])

    return spoil


def lose_a_response(tables):
    tables["rollouts"] = tables["rollouts"].filter(pl.col("problem_id") != "a")


def continue_what_is_not_there(tables):
    tables["continuations"] = tables["continuations"].with_columns(
        boundary=pl.when(pl.col("boundary") == 1).then(7).otherwise("boundary")
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose_a_boundary, "problem a, sample 0, boundary 1 has no continuations"),
        (lose_a_continuation, "problem a, sample 0, boundary 0 has not 4 continuations"),
        (count_one_twice, "has not 4 continuations"),
        (lose_a_paragraph, "problem a, sample 0, boundary 1 has another length"),
        (lose_a_response, "another length"),
        (lose_paragraphs_and_continuations, "problem a, sample 1, boundary 0 has no paragraph"),
        (repeat("rollouts"), "rollouts: problem_id a, sample 0 occurs twice; delete the shards that contain it"),
        (repeat("paragraphs"), "paragraphs: problem_id a, sample 0, paragraph 1 occurs twice"),
        (repeat("continuations"), "problem a, sample 0, boundary 0 has not 4 continuations"),
        (continue_what_is_not_there, "boundary 1 has no continuations"),
    ],
)
def test_tables_that_do_not_belong_together_are_refused(spoil, message):
    tables = by_hand()
    spoil(tables)
    with pytest.raises(UserError, match=message):
        estimation.estimate_values(**tables, settings=Values(SETTINGS))


def draw_one_too_many(tables):
    """One boundary goes on after it was decided."""
    more = tables["continuations"].filter(pl.col("n") == pl.col("n").min(), pl.col("continuation") == 0).head(1)
    more = more.with_columns(continuation=pl.col("n").cast(pl.Int64))
    tables["continuations"] = pl.concat([tables["continuations"], more])


def stop_too_early(tables):
    """One boundary stops before it was decided."""
    is_long = pl.col("n") > DESIGN.first
    long = tables["continuations"].filter(is_long).row(0, named=True)
    same = pl.all_horizontal(pl.col(name) == long[name] for name in estimation.STATE)
    tables["continuations"] = tables["continuations"].filter(~(same & (pl.col("continuation") >= DESIGN.first)))


@pytest.mark.parametrize("spoil", [draw_one_too_many, stop_too_early])
def test_boundaries_that_stop_where_the_design_does_not_are_refused(spoil):
    tables, _ = markov_tables(5, DESIGN.budget)
    drawn = stop_adaptively(tables["continuations"])
    tables["continuations"] = drawn.with_columns(n=pl.len().over(estimation.STATE))
    settings = Values(SETTINGS | {"adaptive": ADAPTIVE})
    found = estimation.estimate_values(**tables, settings=settings)
    assert found.filter(pl.col("n") > 0)["n"].n_unique() > 2
    spoil(tables)
    with pytest.raises(UserError, match=r"not the continuations of values\.adaptive"):
        estimation.estimate_values(**tables, settings=settings)


def test_adaptive_values_are_unbiased_where_plain_shares_are_not():
    found = markov_values(3000, None).filter(pl.col("n") > 0)
    side = pl.when(pl.col("truth") < 0.5).then(1).otherwise(-1)
    error = found.select((pl.col("value") - pl.col("truth")) * side).to_series().to_numpy()
    plain = found.select((pl.col("n_right") / pl.col("n") - pl.col("truth")) * side).to_series().to_numpy()
    noise = error.std() / np.sqrt(len(error))
    assert abs(error.mean()) < 3 * noise < abs(plain.mean())
    assert found.select(pl.col("value").is_between("ci_low", "ci_high").all()).item()


def test_no_responses_give_an_empty_table():
    tables = {name: table.clear() for name, table in by_hand().items()}
    found = estimation.estimate_values(**tables, settings=Values(SETTINGS))
    assert found.is_empty() and found.columns == estimation.COLUMNS


STEPS = np.array(  # from each of four states to: the four states, the end with a right answer, the end with a wrong one
    [
        [0.1, 0.4, 0.3, 0.1, 0.05, 0.05],
        [0.1, 0.2, 0.1, 0.2, 0.30, 0.10],
        [0.2, 0.1, 0.2, 0.2, 0.05, 0.25],
        [0.1, 0.2, 0.2, 0.1, 0.20, 0.20],
    ]
)
TRUE_VALUES = np.linalg.solve(np.eye(4) - STEPS[:, :4], STEPS[:, 4])
RIGHT = 4


def walk(starts: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """States of many chains, step by step, until all have ended; an ended chain stays where it is."""
    steps, cumulative = [starts], STEPS.cumsum(1)
    while (steps[-1] < RIGHT).any():
        now, draw = steps[-1].copy(), rng.random(len(starts))
        going = now < RIGHT
        now[going] = (draw[going, None] > cumulative[now[going]]).sum(1)
        steps.append(now)
    return steps


def markov_tables(n_responses: int, n_continuations: int) -> tuple[dict[str, pl.DataFrame], np.ndarray]:
    """Responses of a token a paragraph whose ids are the chain's states, and the true values in table order."""
    rng = generator("markov", n_continuations)
    paths = np.stack(walk(np.zeros(n_responses, int), rng), axis=1)
    responses = [path[: int((path < RIGHT).sum())] for path in paths]
    rewards = [int(path[-1] == RIGHT) for path in paths]
    names = [f"problem-{index:04d}" for index in range(n_responses)]
    rollouts = pl.DataFrame(
        {"problem_id": names, "sample": [0] * n_responses, "response_ids": responses, "reward": rewards}
    )
    states = [
        (name, k, state) for name, response in zip(names, responses, strict=True) for k, state in enumerate(response)
    ]
    paragraphs = pl.DataFrame(
        [(name, 0, k + 1, k, k + 1) for name, k, _ in states],
        schema=["problem_id", "sample", "paragraph", "start", "end"],
        orient="row",
    )
    ends = walk(np.repeat([state for *_, state in states], n_continuations), rng)[-1]
    continuations = pl.DataFrame(
        [(name, 0, k, number) for name, k, _ in states for number in range(n_continuations)],
        schema=["problem_id", "sample", "boundary", "continuation"],
        orient="row",
    ).with_columns(reward=pl.Series((ends == RIGHT).astype(np.int8)))
    truth = [[*TRUE_VALUES[response], reward] for response, reward in zip(responses, rewards, strict=True)]
    tables = {"rollouts": rollouts, "paragraphs": paragraphs, "continuations": continuations}
    return tables, np.concatenate(truth)


ADAPTIVE: dict[str, Any] = {"first": 8, "budget": 32, "half_width": 0.2}
DESIGN = Design(**ADAPTIVE)


def stop_adaptively(continuations: pl.DataFrame) -> pl.DataFrame:
    """Of `DESIGN.budget` continuations at each boundary, those that the design would have drawn."""
    rewards = continuations["reward"].to_numpy().reshape(-1, DESIGN.budget)
    n = np.full(len(rewards), DESIGN.budget)
    for look in reversed(DESIGN.looks):
        n[~DESIGN.goes_on(look, rewards[:, :look].sum(1))] = look
    return continuations.filter(continuations["continuation"] < pl.Series(np.repeat(n, DESIGN.budget)))


def markov_values(n_responses: int, n_continuations: int | None) -> pl.DataFrame:
    """The values table of the chain with the true TD errors beside the measured ones; with None, drawn adaptively."""
    tables, truth = markov_tables(n_responses, n_continuations or DESIGN.budget)
    settings = Values(SETTINGS | {"n_continuations": n_continuations})
    if n_continuations is None:
        tables["continuations"] = stop_adaptively(tables["continuations"])
        settings = Values(SETTINGS | {"adaptive": ADAPTIVE})
    found = estimation.estimate_values(**tables, settings=settings).with_columns(truth=pl.Series(truth))
    return found.with_columns(true_delta=GAMMA * pl.col("truth") - pl.col("truth").shift(1))


@pytest.mark.parametrize("n_continuations", [8, 16, 64, None])
def test_intervals_cover_the_known_values_of_a_markov_chain(n_continuations):
    found = markov_values(600, n_continuations)
    estimated = found.filter(pl.col("n") > 0)
    inside = estimated.select(pl.col("truth").is_between("ci_low", "ci_high").mean()).item()
    deltas = found.filter(pl.col("delta").is_not_null())
    assert len(estimated) == len(deltas) > 1500
    delta_inside = deltas.select(pl.col("true_delta").is_between("delta_low", "delta_high").mean()).item()
    assert 0.93 <= inside <= 0.98
    assert 0.93 <= delta_inside <= 0.98
    assert found.filter(pl.col("n") == 0).select((pl.col("truth") == pl.col("value")).all()).item()


@pytest.mark.parametrize("n_continuations", [8, None])
def test_the_noise_ceiling_is_what_the_true_td_error_reaches(n_continuations):
    """Over all paragraphs of the chain: the halves tell how well a perfect predictor does."""
    found = markov_values(1500, n_continuations).drop_nulls("delta")
    half_a, half_b, delta, truth = (
        found[name].to_numpy() for name in ("delta_half_a", "delta_half_b", "delta", "true_delta")
    )
    reached = pearson(truth, delta)
    ceiling = noise_ceiling(half_a, half_b, rank=False, delta=None if n_continuations else delta).ceiling
    assert ceiling == pytest.approx(reached, abs=0.02)
    assert 0.7 < reached < 0.97


@pytest.mark.parametrize("n_continuations", [16, 64, None])
def test_the_kept_ceiling_is_what_the_true_td_error_reaches_among_kept_paragraphs(n_continuations):
    found = markov_values(1500, n_continuations)
    kept = found.filter("kept")
    reached = float(spearman(kept["true_delta"].to_numpy(), kept["delta"].to_numpy()))
    halves = noise_ceiling(kept["delta_half_a"].to_numpy(), kept["delta_half_b"].to_numpy()).ceiling
    design = Design(n_continuations, n_continuations) if n_continuations else DESIGN
    ceiling = kept_ceiling(found, design, GAMMA, 0.3, generator("ceiling")).value
    assert ceiling is not None and halves is not None
    assert abs(ceiling - reached) < 0.03
    assert abs(ceiling - reached) < abs(halves - reached)


def noise_values(n_states: int) -> pl.DataFrame:
    """Pairs of boundaries with the same true value, 1/2, at both."""
    right = generator("noise").binomial(16, 0.5, (n_states, 2))
    halves = generator("halves").hypergeometric(right, 16 - right, 8)  # how many of the right ones are even
    delta, half_a = (right[:, 1] - right[:, 0]) / 16, (halves[:, 1] - halves[:, 0]) / 8
    first = pl.DataFrame({"problem_id": [f"p{i}" for i in range(n_states)], "sample": [0] * n_states})
    second = first.with_columns(boundary=pl.lit(1), n=16, n_right=pl.Series(right[:, 1]), value=right[:, 1] / 16)
    second = second.with_columns(delta=pl.Series(delta), delta_half_a=half_a, delta_half_b=2 * delta - half_a)
    first = first.with_columns(boundary=pl.lit(0), n=16, n_right=pl.Series(right[:, 0]), value=right[:, 0] / 16)
    both = pl.concat([first, second], how="diagonal")
    return both.with_columns(kept=pl.col("delta").abs() > 0.3)


def test_on_pure_noise_the_halves_of_kept_paragraphs_promise_what_the_kept_ceiling_does_not():
    found = noise_values(3000)
    kept = found.filter("kept")
    halves = noise_ceiling(kept["delta_half_a"].to_numpy(), kept["delta_half_b"].to_numpy()).ceiling
    assert halves is not None and halves > 0.8
    ceiling = kept_ceiling(found, Design(16, 16), 1.0, 0.3, generator("ceiling"))
    assert ceiling.value is None or ceiling.value < 0.45


def test_no_kept_ceiling_without_kept_paragraphs():
    found = markov_values(20, 16).with_columns(kept=pl.col("delta").abs() > 2)
    assert "too few" in str(kept_ceiling(found, Design(16, 16), GAMMA, 2, generator("none")).reason)
