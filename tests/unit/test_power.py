"""What a plan says about the power of claims: it follows numbers of problems and seeds as the judge's intervals do."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.paper_claims import TESTS
from workflow_scripts.lib.config.plain import read_yaml
from workflow_scripts.lib.plan.power import STAGES, Power, lines, powers
from workflow_scripts.lib.plan.table import ASSUMPTIONS

CLAIMS = [Claim(**entry) for entry in yaml.safe_load(Path("resources/published/claims.yaml").read_text())["claims"]]
ASSUMED = read_yaml(ASSUMPTIONS)["verdicts"]


def study(n: int, seeds: int = 3, runs: tuple[str, ...] = ("m/d",)) -> dict[str, Any]:
    probes = {"runs": list(runs), "seeds": list(range(seeds))}
    stage = {"runs": list(runs), "n_problems": None}
    datasets = {run.partition("/")[2]: {"n_problems": n} for run in runs}
    config = {"datasets": datasets, "split": {"train_ratio": 0.8}, "value_probes": probes, "dopamine_probes": probes}
    return (
        config
        | dict.fromkeys(("values", *STAGES.values()), stage)
        | {"value_probes": probes, "dopamine_probes": probes}
    )


def found(config: dict[str, Any]) -> dict[str, Power]:
    return {one.key: one for one in powers(CLAIMS, config, ASSUMED)}


def test_every_claim_has_a_row() -> None:
    rows = powers(CLAIMS, study(2000), ASSUMED)
    assert [one.key for one in rows] == list(TESTS)
    printed = lines(rows, CLAIMS, ASSUMED)
    assert all(any(line.startswith(key) for line in printed) for key in TESTS)


def test_more_problems_decide_smaller_effects_but_not_about_sets() -> None:
    few, many = found(study(1000, seeds=10)), found(study(16_000, seeds=10))  # of few seeds, t's tail outweighs n
    for key, test in TESTS.items():
        small, large = few[key].effect, many[key].effect
        assert small is not None and large is not None
        assert large == small if test.family == "sets" else large < small, key
        assert test.family == "sets" or many[key].n == pytest.approx(16 * few[key].n, rel=0.01)


def test_more_seeds_decide_more_and_two_nothing() -> None:
    three, five, two = (found(study(2000, seeds)) for seeds in (3, 5, 2))
    for key in TESTS:
        assert three[key].effect is not None and five[key].effect is not None and two[key].effect is None
        assert five[key].effect < three[key].effect  # type: ignore[operator]
        assert "seeds" in (two[key].why or "")


def test_several_opponents_and_another_model_on_the_same_problems() -> None:
    one, two = found(study(2000)), found(study(2000, runs=("m/d", "other/d")))
    assert one["value_specific"].effect > one["value_necessary"].effect  # type: ignore[operator]
    assert two["value_read"].n == one["value_read"].n
    assert two["value_read"].effect < one["value_read"].effect  # type: ignore[operator]


def test_what_cannot_be_decided_is_named_with_the_reason() -> None:
    rows = powers(CLAIMS, study(60), ASSUMED)
    assert all(one.effect is None for one in rows if TESTS[one.key].table == "value")
    last = lines(rows, CLAIMS, ASSUMED)[-1 if lines(rows, CLAIMS, ASSUMED)[-1].startswith("Cannot") else -2]
    assert last.startswith("Cannot be decided:") and "rarer outcome, 10 needed" in last
