"""The tasks of a newcomer, each really done: its changes stay in the files that CONTRIBUTING lists, and the study runs.

A change is made as a newcomer would make it, by inserting text before a line of a file or by writing a new one.
"""

import re
from pathlib import Path

import polars as pl
import pytest

from tests.workflow.study import ROOT, copy_project, make, rules, with_make, write_model, write_problems

LIBRARY = "workflow_scripts/lib"
SCHEMA = "schemas/config.schema.yaml"
ANSWER = '''"""Grade an answer that is one word."""

from workflow_scripts.lib.grading.answers import Grade, last_boxed


def grade_word(text: str, gold: str) -> Grade:
    """Compare the word in the last box with the correct one, whatever their case."""
    given = last_boxed(text)
    return Grade(int(given is not None and given.lower() == gold.lower()), given, None)
'''
GRADE_WORD = """def _word(answer: Answer, grader: Grader) -> Grade:
    from workflow_scripts.lib.grading.word import grade_word

    return grade_word(answer.text, answer.gold)


"""
LONGEST = '''def _longest(scoring: Scoring, seed: int) -> Scorer:
    """Score candidates by their number of tokens."""
    return lambda step, open_, drawn: [[float(len(one.token_ids)) for one in candidates] for candidates in drawn]


'''
CONSTANT = '''def constant_outcome(labels: Labels) -> Outcome:
    """Return the same score for every response."""
    training, validation = (np.ones(len(part)) for part in (labels.training, labels.validation))
    reason = one_class(labels.training, "training")
    return Outcome("constant", training, validation, undefined=reason, uncalibrated=reason)


'''
FIGURE = '''"""Rule `plot_lengths`: tokens of the answers of each search method, as pdf, svg and png."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.report.figure_command import plot_table


def draw(table: pl.DataFrame, section: dict[str, Any]) -> Figure:
    """Draw a bar per method."""
    figure = plt.figure(figsize=(4, 2), layout="constrained")
    means = table.group_by("method", maintain_order=True).agg(pl.col("tokens").mean())
    figure.subplots().barh(means["method"].to_list(), means["tokens"].to_list())
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Read the table and write the figure."""
    plot_table(argv, __doc__, draw)


if __name__ == "__main__":
    run_main(main)
'''
RULE = '''

rule plot_lengths:
    """Tokens of the answers of each search method."""
    input:
        table=f"{OUT}/tables/table4.parquet",
        code=modules("plot_lengths"),
    output:
        figures=figures("lengths"),
    log:
        f"{OUT}/logs/plot_lengths.log",
    benchmark:
        f"{OUT}/benchmarks/plot_lengths.jsonl"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=more_each_attempt(2000),
        runtime=more_each_attempt(20),
        gpu=0,
    params:
        settings=section("figures.lengths"),
        versions=pins("matplotlib"),
        folder=output_folder,
    shell:
        """
        python -m workflow_scripts.plot_lengths --params {params.settings:q} \\
            --table {input.table} --output-dir {params.folder} \\
            2> >(tee {log} >&2)
        """
'''
FIGURE_KEY = """      lengths:
        description: Tokens of the answers of each search method.
        runs_of: search
        $ref: "#/$defs/figure"
        default: {}
"""
END = ""
"""The place at the end of a file; a file that is not there is made."""

Change = tuple[str, str, str]
"""A file, the text before which is inserted, and what is."""
TASKS: dict[str, list[Change]] = {
    "answer type": [
        (f"{LIBRARY}/grading/word.py", END, ANSWER),
        (f"{LIBRARY}/grading/grade.py", "@dataclass(frozen=True)\nclass AnswerType", GRADE_WORD),
        (f"{LIBRARY}/grading/grade.py", '    "math": AnswerType', '    "word": AnswerType(_word),\n'),
        (f"{LIBRARY}/problems/readers.py", '    "math": _plain', '    "word": _plain,\n'),
        (SCHEMA, "math, choice, code, instructions]", "word, "),
    ],
    "selection of neurons": [
        (
            f"{LIBRARY}/neurons/catalogue.py",
            '    "ntp": Selection',
            '    "first": Selection("first neurons", ("measures",)),\n',
        ),
        (
            f"{LIBRARY}/neurons/selections.py",
            '    if selection == "random_sink_free"',
            '    if selection == "first":\n        return list(range(k))\n',
        ),
        (SCHEMA, "ntp, magnitude, wanda]\n        default: [value, value_final", "first, "),
        (SCHEMA, "ntp, magnitude, wanda]\n        default: null", "first, "),
    ],
    "step scorer": [
        (
            f"{LIBRARY}/search/methods.py",
            '    "greedy": Method',
            '    "longest": Method("longest candidate", "guided"),\n',
        ),
        (f"{LIBRARY}/search/scorers.py", "CATALOGUE = {", LONGEST),
        (f"{LIBRARY}/search/scorers.py", '"dopamine": _dopamine', '"longest": _longest, '),
        (SCHEMA, "greedy, best_of_n, majority]", "longest, "),
    ],
    "confidence method": [
        (
            f"{LIBRARY}/confidence/methods.py",
            '    "question_length": Method',
            '    "constant": Method("a constant", "nothing"),\n',
        ),
        (f"{LIBRARY}/confidence/outcomes.py", "def calibrate(", CONSTANT),
        (
            f"{LIBRARY}/confidence/predictions.py",
            "        confidence.length_outcome(",
            "        confidence.constant_outcome(study.labels),\n",
        ),
    ],
    "figure": [
        ("workflow_scripts/plot_lengths.py", END, FIGURE),
        ("rules/search.smk", END, RULE),
        ("report/captions/lengths.md", END, "# Lengths\n\nTokens of the answers of each search method.\n"),
        (SCHEMA, "  reference_models:\n    description: The recipes", FIGURE_KEY + "\n"),
    ],
    "probe target": [
        (
            f"{LIBRARY}/probes/targets.py",
            '    "mc": ProbeTarget',
            '    "half": ProbeTarget(lambda values, rewards, last, how: rewards / 2),\n',
        ),
        (SCHEMA, "mc, final]", "half, "),
    ],
}
MOST = {
    "answer type": 4,
    "selection of neurons": 4,
    "step scorer": 4,
    "confidence method": 3,
    "figure": 4,
    "probe target": 2,
}


def insert(folder: Path, change: Change) -> None:
    """Make a change; the text that it goes before occurs once in the file."""
    name, before, text = change
    path = folder / name
    old = path.read_text() if path.exists() else ""
    if before == END:
        path.write_text(old + text)
    else:
        assert old.count(before) == 1, (name, before)
        path.write_text(old.replace(before, text + before))


def listed(task: str) -> set[str]:
    """The files that CONTRIBUTING lists for a task."""
    row = re.search(rf"^\| an? {task} \| (.+?) \|", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    assert row, task
    return set(re.findall(r"`([^`]+)`", row.group(1)))


@pytest.mark.parametrize("task", TASKS)
def test_a_task_touches_the_files_that_contributing_lists(task: str) -> None:
    named = {"word": "<type>", "plot_lengths": "plot_<name>", "lengths": "<name>", "search": "<stage>"}
    touched = {name for name, _, _ in TASKS[task]}
    if task in ("answer type", "figure"):
        folders = ("rules", "report/captions", "workflow_scripts", f"{LIBRARY}/grading")
        touched = {
            f"{Path(name).parent}/{named.get(Path(name).stem, Path(name).stem)}{Path(name).suffix}"
            if str(Path(name).parent) in folders
            else name
            for name in touched
        }
    assert touched == listed(task)
    assert len(touched) <= MOST[task]


@pytest.mark.parametrize("task", ["data set", "model"])
def test_data_sets_and_models_are_configuration_alone(task: str) -> None:
    assert listed(task) == {"studies/<study>.yaml"}


STUDY = """
study: mine
models: { newcomer: { path: resources/models/newcomer } }
datasets: { words: { source: file, path: data/words.jsonl, n_problems: 48, answer: word, shard_size: 48 } }
rollouts: { runs: [newcomer/words], max_tokens: 24 } # the model reads 512 tokens in all
interventions: { selections: [value, first], dose_selections: [value], draws: 1 }
search: { seeds: [0], n_problems: 10, candidates: 2 }
value_probes: { target: half, epochs: 2, hidden: 8, seeds: [0], learning_rate: 0.01 }
"""
SMALL = """
values: { n_continuations: 4 }
activations: { dtype: float32 }
dopamine_probes: { epochs: 2, hidden: 8, seeds: [0], learning_rate: 0.01 }
ntp_probes: { epochs: 1, hidden: 8 }
confidence: { folds: 2, verbal_tries: 1, verbal_tokens: 4 }
pruning: { random_draws: 2, bootstrap: 20 }
"""
FILES = ("studies/mine.yaml", "studies/small.yaml")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project with one of each, in which a study of two files has run by `make`; and what that printed."""
    folder = with_make(copy_project(tmp_path_factory.mktemp("newcomers") / "project"))
    for changes in TASKS.values():
        for change in changes:
            insert(folder, change)
    write_model(folder / "resources" / "models" / "newcomer", seed=3)
    write_problems(folder / "data" / "words.jsonl", 96, prefix="w")
    for name, text in zip(FILES, (STUDY, SMALL), strict=True):
        (folder / name).write_text(text)
    study = f"STUDY={' '.join(FILES)}"
    planned = make(folder, "plan", study)
    assert planned.returncode == 0, planned.stderr
    done = make(folder, "run", study, "ARGS=--cores 2")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_a_study_with_one_of_each_runs_to_its_report(own: tuple[Path, str]) -> None:
    results = own[0] / "results" / "studies" / "mine"
    tables = {name: pl.read_parquet(results / "tables" / f"{name}.parquet") for name in ("table2", "table3", "table4")}
    assert "first" in tables["table2"]["selection"].to_list()
    assert "constant" in tables["table3"]["method"].to_list()
    every = {"dopamine", "longest", "random", "greedy", "best_of_n", "majority"}  # that needs no reference model
    assert set(tables["table4"]["method"]) == every
    report = (results / "report.html").read_text()
    for words in ("irst neurons", "a constant", "longest candidate", "Tokens of the answers of each search method."):
        assert words in report, words


def test_a_study_lies_beside_the_default_study(own: tuple[Path, str]) -> None:
    folder, printed = own
    results = folder / "results"
    assert printed.splitlines()[-1] == "The report is results/studies/mine/report.html"
    assert not [name for name in ("report.html", "tables", "figures", "provenance") if (results / name).exists()]
    assert (results / "studies/mine/neurons/newcomer.parquet").exists()
    assert (results / "studies/mine/logs/write_report.log").exists()
    assert "implicit_prm (search.reference names no model)" in (results / "studies/mine/report.html").read_text()
    named = re.findall(r"results/\S+", (results / "studies/mine/provenance.html").read_text())
    assert any(name.startswith("results/studies/mine/tables/") for name in named)
    assert rules(folder, "--configfile", "config.yaml", *FILES) == {}
