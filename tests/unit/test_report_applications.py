"""The report's sections on claims, transfer, confidence, search and trajectories, with tables made by hand."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import synthetic_results as synthetic
import test_write_report as whole
import traced_runs as runs
import yaml

from workflow_scripts import judge_claims, plot_pruning, tabulate_interventions, tabulate_results, write_report
from workflow_scripts.lib.report.trajectories_page import script_hash
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.trajectories.traces import write_trace

ROOT = Path(__file__).resolve().parents[2]
RUN = {"model": "grpo", "dataset": "ledger"}
PAIR = {"model_a": "grpo", "dataset_a": "ledger", "model_b": "grpo", "dataset_b": "locks", "across": "data sets"}
LIMITS = {"ci_low": 0.1, "ci_high": 0.3}


def contrast(**names: Any) -> dict[str, Any]:
    """A difference of 0.2 that is supported."""
    row = {**RUN, "n": 300, "difference": 0.2, **LIMITS, "p_value": 0.0004, "reason": None}
    return row | names


def overlap(ratio: float) -> dict[str, Any]:
    """Value neurons of two data sets that overlap far beyond chance."""
    row = {**PAIR, "kind": "value", "layer": 2, "prune_ratio": ratio, "n_kept": 19, "d": 192, "iou": 0.5, "n_pairs": 6}
    row |= {"iou_low": 0.4, "iou_high": 0.6, "same_seed": 0.7, "random_mean": 0.05, "random_high": 0.15}
    return row | {"random_low": 0.0, "shuffled": 0.1, "within": 0.8, "reason": None}


def rise() -> dict[str, Any]:
    """An overlap that rises towards a prune ratio of 1."""
    row = {**PAIR, "kind": "value", "layer": 2, "from_ratio": 0.9, "to_ratio": 0.99, "d": 192, "iou_from": 0.31}
    row |= {"iou_to": 0.52, "above_from": 0.26, "above_to": 0.51, "difference": 0.25, "ci_low": 0.15, "ci_high": 0.35}
    return row | {"n_seeds": 3, "reason": None}


def peak(kind: str, neighbour: str) -> dict[str, Any]:
    """Neurons that follow their own paragraph's TD error."""
    row = {**RUN, "layer": 4, "kind": kind, "neighbour": neighbour, "n": 44, "n_problems": 30, "spearman": 0.61}
    return row | {"spearman_neighbour": -0.07, "difference": 0.68, "ci_low": 0.5, "ci_high": 0.8, "reason": None}


def setting(name: str, same: bool) -> dict[str, Any]:
    """A setting that the paper prints."""
    return {"table": "Table 6", "setting": name, "key": f"rollouts.{name}", "paper": "1", "study": "1", "same": same}


def measured(method: str, auc: float | None) -> dict[str, Any]:
    """A row of Table 3."""
    row: dict[str, Any] = {**RUN, "method": method, "n": 300, "chosen_on": "nothing"}
    for name, low, high in (
        ("auc", "ci_low", "ci_high"),
        ("brier", "brier_low", "brier_high"),
        ("ece", "ece_low", "ece_high"),
        ("auc_within_length", "auc_within_low", "auc_within_high"),
    ):
        row |= {name: auc, low: None if auc is None else auc - 0.05, high: None if auc is None else auc + 0.05}
    return row | {"reason": None if auc is not None else "the model named no number"}


def tables() -> dict[str, list[dict[str, Any]]]:
    """Every table of the applications, a few rows each."""
    rank = {**PAIR, "kind": "value", "layer": 2, "spearman": 0.4, **LIMITS, "same_seed": 0.5, "shuffled": 0.1}
    search = {**RUN, "n": 300, "tokens": 278.0, "seconds": 4.0}
    neuron = {**RUN, "layer": 4, "n": 60, "reason": None, **LIMITS, "spearman": 0.2}
    held = {**RUN, "layer": 4, "neuron": None, "condition": "value", "draw": 0, "n": 60, "correlation": 0.2, **LIMITS}
    held |= {"rmse": 0.2, "rmse_low": 0.1, "rmse_high": 0.3, "spearman": 0.2, "spearman_low": 0.1}
    lengths = contrast(method="value_neurons_cv", against="question_length")
    return {
        "transfer": [overlap(ratio) for ratio in (0.5, 0.9, 0.96, 0.99)],
        "transfer_rise": [rise()],
        "importance_correlation": [rank | {"within": 0.8, "reason": None}],
        "table3": [
            *(
                measured(name, auc)
                for name, auc in (("value_neurons_cv", 0.7), ("value_neurons", 0.72), ("verbal", None))
            ),
            measured("value_neurons_cv", 0.69) | {"model": "all", "dataset": "all"},
        ],
        "confidence_contrasts": [lengths, lengths | {"model": "all", "dataset": "all"}],
        "reliability": [],
        "table4": [
            search | {"method": method, "seed": seed, "accuracy": accuracy, "ci_low": 0.5, "ci_high": 0.9}
            for method, accuracy in (("dopamine", 0.8), ("greedy", 0.6))
            for seed in (0, 1, None)
        ],
        "search_contrasts": [contrast(method="dopamine", against="greedy", tokens_ratio=3.6)],
        "trajectories": [
            *({**neuron, "neuron": 7 if kind == "dopamine" else None, "kind": kind} for kind in ("dopamine", "random")),
            {**neuron, "neuron": None, "kind": "dopamine"},
            {**neuron, "neuron": None, "kind": "difference"},
        ],
        "peaks": [peak(kind, side) for kind in ("dopamine", "random", "difference") for side in ("previous", "next")],
        "settings": [setting("temperature", True), setting("n_samples", False)],
        "trajectory_ablation": [held | {"spearman_high": 0.3, "reason": None}],
        "ablation_contrasts": [contrast(measure="correlation_apart", against="random")],
    }


def write_page(folder: Path) -> Path:
    """The report of a study with everything in it."""
    synthetic.study(folder)
    config = whole.CONFIG | {"trajectories": {"page_responses": 40, "runs": ["grpo/ledger"]}}
    params = json.dumps(config)
    tabulate_results.main(synthetic.tabulate_arguments(folder))
    tabulate_interventions.main(synthetic.intervention_arguments(folder, {}))
    for name, rows in tables().items():
        write_parquet(pl.DataFrame(rows, infer_schema_length=None), folder / "tables" / f"{name}.parquet")
    listed = [str(path) for path in sorted((folder / "tables").glob("*.parquet")) if path.stem != "claims"]
    claims = ["--published", str(ROOT / "resources/published/claims.yaml"), "--output-dir", str(folder / "tables")]
    judge_claims.main(
        [
            "--params",
            json.dumps(json.loads(params) | {"interventions": synthetic.INTERVENTIONS}),
            "--masks",
            str(folder / "scores/masks.parquet"),
            *claims,
        ]
    )
    curves = [str(folder / "tables" / f"pruning_{kind}.parquet") for kind in ("value", "dopamine")]
    plot_pruning.main(["--params", params, "--tables", *curves, "--output-dir", str(folder / "figures")])
    write_trace(runs.planted(40), folder / "trajectories.parquet")
    arguments = whole.report_arguments(folder, config)
    place = arguments.index("--figures")
    judged = [str(folder / f"tables/{name}.parquet") for name in ("claims", "claim_cells", "selectivity", "table1")]
    more = [path for path in [*listed, *judged] if path not in arguments]
    arguments[place:place] = more
    write_report.main([*arguments, "--trajectories", str(folder / "trajectories.parquet")])
    return folder / "report.html"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("applications"))


def test_every_claim_has_a_row_with_verdict_and_evidence(report: Path) -> None:
    page = whole.page_of(report)
    entries = yaml.safe_load((ROOT / "resources/published/claims.yaml").read_text())["claims"]
    assert {f"claim-{entry['key']}" for entry in entries} <= set(page.ids)
    text = whole.flat(page)
    assert f"Of {len(entries)} claims: " in text
    for entry in entries:
        assert entry["claim"] in text and entry["printed"] in text


def test_the_page_is_sound_and_runs_one_script_named_by_its_hash(report: Path) -> None:
    page = whole.page_of(report)
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in set(page.links) - {"provenance.html"})
    text = report.read_text(encoding="utf-8")
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    assert text.count("<script") == 2 and f"script-src '{script_hash(script)}'" in text
    assert "None" not in whole.flat(page).partition("trajectories-data")[0].partition("(function")[0]


def test_numbers_stand_with_intervals_beside_the_papers(report: Path) -> None:
    text = whole.flat(whole.page_of(report))
    assert "0.50 [0.40, 0.60]0.050.150.100.800.70" in text  # an overlap beside random sets, shuffled labels, seeds
    assert "Paper: Llama-3.1-8B on MATH5000.690.640.690.540.63" in text
    assert "Here: grpo/ledger0.72 [0.67, 0.77]" in text
    assert "The model named no number" in text
    assert "Paper72.272.275.077.8" in text and "grpo/ledger60.0 [50.0, 90.0]––80.0 [50.0, 90.0]" in text
    assert "mean0.80 [0.50, 0.90]300278" in text  # the mean over seeds
    assert "value0.310.520.260.510.250 [0.150, 0.350]" in text  # an overlap that rises
    assert "dopamineprevious440.61\N{MINUS SIGN}0.070.680 [0.500, 0.800]" in text  # a peak on its own paragraph
    assert "0.200 [0.100, 0.300]< 0.0013.60" in text


def test_table_1_holds_this_studys_numbers(report: Path) -> None:
    text = whole.flat(whole.page_of(report))
    assert "confidence before the answer: AUC 0.690 [0.640, 0.740]" in text
    assert "guided search: accuracy 0.80; greedy decoding 0.60" in text


def test_a_study_without_applications_says_so(tmp_path: Path) -> None:
    synthetic.study(tmp_path)
    text = whole.flat(whole.page_of(whole.make_report(tmp_path)))
    for said in (
        "No two runs were compared",
        "Confidence was not measured",
        "No search was run",
        "No neuron was traced",
    ):
        assert said in text
    assert "The claims were not judged in this study." in text


def test_a_browser_runs_the_view_of_trajectories_under_the_pages_own_policy(report: Path, tmp_path: Path) -> None:
    flags = ["--window-size=1100,900", "--virtual-time-budget=3000", "--dump-dom"]
    shown = whole.browse(report, tmp_path, *flags).stdout
    view = shown.partition('id="trajectories-view"')[2].partition("</section>")[0]
    assert view.count("<option") > 40 and "<svg" in view
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(report.read_text(encoding="utf-8").replace("script-src 'sha256-", "script-src 'sha256-x"))
    blocked = whole.browse(spoilt, tmp_path, *flags).stdout.partition('id="trajectories-view"')[2]
    assert "<svg" not in blocked.partition("</section>")[0]
