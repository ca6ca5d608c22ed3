"""Grades of answers that real models gave, against the verdicts that came with them.

Every disagreement was read and has a class: `theirs` (the record's verdict is wrong: it took another number, kept words
in the answer, forgave a factor of a hundred or an end of an interval), `cut off` (the response ends without an answer,
and the verdict rests on some number in it), `ours`.
"""

import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from workflow_scripts.lib.grading.answers import Grade
from workflow_scripts.lib.grading.grade import Answer, Grader, grade_all

DATA = Path("../shared/data")
WORKERS = min(2, os.cpu_count() or 1)
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} with the recorded answers is not here")

DISAGREEMENTS: dict[str, dict[str, list[str | int]]] = {
    "theirs": {
        "math500 rho-math-1b-v0.1 cot": [
            "algebra/1098",
            "intermediate_algebra/1388",
            "geometry/967",
            "number_theory/914",
            "algebra/351",
            "prealgebra/1922",
            "geometry/254",
            "prealgebra/1973",
            "prealgebra/1730",
            "algebra/1303",
            "prealgebra/1784",
            "prealgebra/1114",
        ],
        "math500 rho-math-7b-interpreter-v0.1 tora": [
            "intermediate_algebra/1388",
            "precalculus/695",
            "prealgebra/1114",
        ],
        "math500 tinyllama-1.1b-owm-0.5B-tokens cot": [
            "intermediate_algebra/1388",
            "prealgebra/105",
            "number_theory/1201",
            "number_theory/466",
            "intermediate_algebra/1714",
            "algebra/776",
        ],
        "math500 rho-math-7b-v0.1 cot": [
            "algebra/2253",
            "prealgebra/105",
            "precalculus/452",
            "geometry/473",
            "number_theory/459",
        ],
        "math500 tinyllama-1.1b-owm-1B-tokens cot": [
            "prealgebra/105",
            "number_theory/1201",
            "counting_and_probability/188",
            "prealgebra/1114",
        ],
        "math500 rho-math-1b-interpreter-v0.1 tora": [
            "precalculus/697",
            "precalculus/659",
            "precalculus/695",
            "intermediate_algebra/1566",
        ],
        "gsm8k rho-math-1b-v0.1 cot": [16, 76, 328, 413, 908, 951],
        "gsm8k rho-math-7b-v0.1 cot": [53, 138, 405, 466, 509, 586, 607, 669, 692, 760, 844, 1182],
        "gsm8k tinyllama-1.1b-owm-1B-tokens cot": [179],
        "gsm8k rho-math-1b-interpreter-v0.1 tora": [199, 594],
        "gsm8k tinyllama-1.1b-owm-0.5B-tokens cot": [280, 512],
        "gsm8k rho-math-7b-interpreter-v0.1 tora": [413, 1067],
    },
    "cut off": {
        "math500 tinyllama-1.1b-owm-0.5B-tokens cot": [
            "prealgebra/1747",
            "counting_and_probability/282",
            "algebra/634",
            "prealgebra/1238",
        ],
        "math500 tinyllama-1.1b-owm-1B-tokens cot": [
            "prealgebra/1747",
            "intermediate_algebra/894",
            "algebra/686",
            "intermediate_algebra/776",
            "prealgebra/1238",
        ],
        "math500 rho-math-7b-interpreter-v0.1 tora": ["intermediate_algebra/964"],
        "math500 rho-math-1b-v0.1 cot": ["prealgebra/1555", "intermediate_algebra/102", "intermediate_algebra/752"],
        "gsm8k tinyllama-1.1b-owm-0.5B-tokens cot": [202],
        "gsm8k tinyllama-1.1b-owm-1B-tokens cot": [771],
    },
    "ours": {
        "math500 rho-math-1b-v0.1 cot": ["prealgebra/505"],
    },
}


def records(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def golds() -> list[str]:
    return [record["answer"].rpartition("####")[2].strip() for record in records("gsm8k_test")]


def graded(answers: list[tuple[str, str]]) -> list[Grade]:
    return list(grade_all([Answer(text, gold) for text, gold in answers], Grader("math"), WORKERS))


def harness_answers() -> list[tuple[str, str | int, str, str, bool]]:
    """(data set and model, problem, response, right answer, verdict) of the six models of the two recorded sets."""
    by_id = {record["unique_id"]: record["answer"] for record in records("math500")}
    found: list[tuple[str, str | int, str, str, bool]] = []
    for r in records("rollouts_math500_greedy"):
        name = r["unique_id"].removeprefix("test/").removesuffix(".json")
        found.append(
            (f"math500 {r['model']} {r['mode']}", name, r["response"][0], by_id[r["unique_id"]], r["score"][0])
        )
    for r in records("rollouts_gsm8k_greedy"):
        found.append(
            (f"gsm8k {r['model']} {r['mode']}", r["idx"], r["response"][0], golds_once[r["idx"]], r["score"][0])
        )
    return found


golds_once = golds() if DATA.is_dir() else []


def test_recorded_verdicts_of_two_harnesses() -> None:
    answers = harness_answers()
    grades = graded([(text, gold) for _, _, text, gold, _ in answers])
    table = Counter(
        (source.split()[0], verdict, bool(one.reward))
        for (source, *_, verdict), one in zip(answers, grades, strict=True)
    )
    print(dict(table))
    found = {(one[0], one[1]) for one, grade in zip(answers, grades, strict=True) if one[4] != bool(grade.reward)}
    known = {(source, name) for some in DISAGREEMENTS.values() for source, names in some.items() for name in names}
    assert found == known
    assert sum(map(len, DISAGREEMENTS["ours"].values())) <= 0.005 * len(answers)
    assert not [one for one in grades if one.reason == "timeout"]


def test_recorded_verdicts_of_the_authors_of_gsm8k() -> None:
    answers = [
        (r[name]["solution"], gold, r[name]["is_correct"])
        for r, gold in zip(records("gsm8k_openai_model_solutions"), golds_once, strict=True)
        for name in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    ]
    grades = graded([(text, gold) for text, gold, _ in answers])
    assert [bool(one.reward) for one in grades] == [verdict for *_, verdict in answers]


SETS = {"gsm8k_test": "answer", "math500": "solution", "minerva_math": "solution"}


@pytest.mark.parametrize("name", SETS)
def test_right_answers_are_right_however_stated(name: str) -> None:
    from workflow_scripts.lib.grading.answers import last_boxed

    rows = [(record, record[SETS[name]]) for record in records(name)]
    if name == "gsm8k_test":
        pairs = list(zip(golds_once, (solution for _, solution in rows), strict=True))
    else:
        pairs = [(str(record.get("answer") or last_boxed(solution)), solution) for record, solution in rows]
    for stated in (
        [(f"so \\boxed{{{gold}}}.", gold) for gold, _ in pairs],
        [(f"Therefore the final answer is ${gold}$. I hope it is correct.", gold) for gold, _ in pairs],
        [(f"The answer is {gold}.", gold) for gold, _ in pairs],
        [(solution, gold) for gold, solution in pairs],
    ):
        assert [text for (text, _), one in zip(stated, graded(stated), strict=True) if not one.reward] == []


ACCEPTED = {("5", "x=5"), ("x=5", "5")}
"""Right answers of two problems that differ in the name of the unknown alone."""


@pytest.mark.parametrize("name", SETS)
def test_wrong_answers_are_wrong(name: str) -> None:
    """Another problem's answer, and the right one off by one digit."""
    from workflow_scripts.lib.grading.answers import last_boxed

    if name == "gsm8k_test":
        right = golds_once
    else:
        right = [str(record.get("answer") or last_boxed(record["solution"])) for record in records(name)]
    others = [(right[(i + step) % len(right)], gold) for i, gold in enumerate(right) for step in (1, 7, 101)]
    changed = [(off_by_one(gold), gold) for gold in right if any(letter.isdigit() for letter in gold)]
    wrong = [(given, gold) for given, gold in others + changed if "".join(given.split()) != "".join(gold.split())]
    grades = graded([(f"\\boxed{{{given}}}", gold) for given, gold in wrong])
    passed = [pair for pair, one in zip(wrong, grades, strict=True) if one.reward]
    print(name, len(wrong), passed)
    assert len(passed) <= 0.005 * len(wrong)


def off_by_one(gold: str) -> str:
    """The answer with its last digit changed."""
    place = max(i for i, letter in enumerate(gold) if letter.isdigit())
    return gold[:place] + str((int(gold[place]) + 1) % 10) + gold[place + 1 :]
