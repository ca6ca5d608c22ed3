"""A report with long names, long reasons and long evidence in every section, for the tests of its layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import synthetic_results as synthetic
import test_report_applications as applications
import test_write_report as whole
import traced_runs as runs

from workflow_scripts import judge_claims, plot_dose, plot_pruning, tabulate_interventions, tabulate_results
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.trajectories.traces import write_trace

ROOT = Path(__file__).resolve().parents[2]
LONG = {
    "grpo": "simplerl-14b",
    "ppo": "qwen2.5-7b-ppo-zero",
    "ledger": "minerva_math",
    "codes": "mbpp_plus",
    "easy": "gsm8k_main",
    "locks": "arc_challenge",
}
REASON = (
    "the interval of the difference is missing because fewer than 20 validation problems have both a correct and an "
    "incorrect response within one group of question lengths, so that the bootstrap over problems has no spread left"
)
EVIDENCE = "; ".join(
    f"{name}: 0.0{i} [\N{MINUS SIGN}0.01{i}, 0.08{i}] with all inputs, 0.7{i} [0.65{i}, 0.77{i}] at a ratio of 0.99"
    for i, name in enumerate(["random neurons", "matched random neurons", "sink-free random neurons"] * 3)
)
CONFIG: dict[str, Any] = {
    **whole.CONFIG,
    "study": "paper",
    "models": {
        name: {"path": f"/data/checkpoints/hub/{name}-zoo", "revision": "a" * 40, "dtype": "bfloat16", "prompt": "chat"}
        for name in (LONG["grpo"], LONG["ppo"])
    },
    "datasets": {
        LONG[name]: {"source": "hub", "path": f"owner/{LONG[name]}", "n_problems": 1319, "answer": "math"}
        for name in ("ledger", "codes", "easy")
    },
    "rollouts": {"runs": [f"{LONG['grpo']}/{LONG[name]}" for name in ("ledger", "codes", "easy", "locks")] * 3},
    "interventions": synthetic.INTERVENTIONS,
    "trajectories": {"page_responses": 10, "runs": [f"{LONG['grpo']}/{LONG['ledger']}"]},
    "figures": {
        "fig1": {"runs": [f"{LONG['grpo']}/{LONG['ledger']}", f"{LONG['grpo']}/{LONG['codes']}"], "layers": [2, 3, 4]},
        "fig4": {"runs": [f"{LONG['grpo']}/{LONG['ledger']}"], "layers": [2, 3, 4]},
        "dose": {"runs": [f"{LONG['grpo']}/{LONG['ledger']}"], "layers": None},
    },
}


def renamed(table: pl.DataFrame) -> pl.DataFrame:
    """The table with the long names, and a long reason wherever a row has no interval or none is undecided."""
    names = [name for name in table.columns if name.startswith(("model", "dataset"))]
    table = table.with_columns(pl.col(name).cast(pl.String).replace(LONG) for name in names)
    if "reason" in table.columns and len(table):
        given = (
            pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit(REASON)).otherwise(pl.col("reason").cast(pl.String))
        )
        table = table.with_columns(reason=given)
    return table


def change(path: Path, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Edit a table in its place."""
    write_parquet(edit(pl.read_parquet(path)), path)


def more_rows() -> dict[str, list[dict[str, Any]]]:
    """The tables of the applications with every method in them."""
    rows = applications.tables()
    methods = ("lcd", "lcd_logistic", "token", "question_length")
    rows["table3"] += [applications.measured(name, 0.6) for name in methods]
    for method in ("value_neurons", "value_neurons_cv"):
        rows["confidence_contrasts"] += [applications.contrast(method=method, against=name) for name in methods]
    rows["search_contrasts"] += [
        applications.contrast(method="dopamine", against=name, tokens_ratio=1.0)
        for name in ("random", "implicit_prm", "best_of_n", "majority")
    ]
    return rows


def write_tables(folder: Path) -> list[str]:
    """All tables of the study, claims included; their paths."""
    synthetic.study(folder)
    synthetic.write_masked(folder, "grpo", "ledger", {"value": 0.6, "magnitude": 0.6}, n_problems=300)
    tabulate_results.main(synthetic.tabulate_arguments(folder))
    tabulate_interventions.main(synthetic.intervention_arguments(folder))
    for name, rows in more_rows().items():
        write_parquet(pl.DataFrame(rows, infer_schema_length=None), folder / "tables" / f"{name}.parquet")
    paths = sorted((folder / "tables").glob("*.parquet"))
    listed, params = [str(path) for path in paths], json.dumps(CONFIG)
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
    for path in paths:
        change(path, renamed)
    change(folder / "tables/claims.parquet", lambda table: table.with_columns(evidence=pl.lit(EVIDENCE)))
    return [
        *listed,
        *(str(folder / f"tables/{name}.parquet") for name in ("claims", "claim_cells", "selectivity", "table1")),
    ]


def report_arguments(folder: Path) -> list[str]:
    """The command line of `write_report` for a study written to `folder`."""
    tables, params = write_tables(folder), json.dumps(CONFIG)
    curves = [str(folder / "tables" / f"pruning_{kind}.parquet") for kind in ("value", "dopamine")]
    figures = ["--params", params, "--output-dir", str(folder / "figures")]
    plot_pruning.main([*figures, "--tables", *curves])
    plot_dose.main([*figures, "--table", str(folder / "tables/dose_response.parquet")])
    write_trace(runs.planted(40), folder / "trajectories.parquet")
    arguments = whole.report_arguments(folder, CONFIG)
    start = arguments.index("--tables")
    end = arguments.index("--figures")
    return [*arguments[: start + 1], *tables, *arguments[end:], "--trajectories", str(folder / "trajectories.parquet")]
