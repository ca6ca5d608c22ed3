"""Every claim of the paper against the tables of a study: the evidence, the test, the verdict.

A claim is a function from tables to a finding. Its test is also given in words (`TESTS`); its wording and its place
in the paper are data (`resources/published/claims.yaml`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from workflow_scripts.lib.claims.averages import (
    AVERAGED,
    FEWEST,
    TOO_FEW,
    Measure,
    above,
    against_each,
    average,
    below,
    decided,
    in_every_group,
    mean_curve,
    overlap,
)
from workflow_scripts.lib.claims.curve_rules import JUDGES, RULES, Curve, curves_of, with_interval
from workflow_scripts.lib.claims.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED, Finding
from workflow_scripts.lib.formatting import number
from workflow_scripts.lib.neurons.catalogue import SELECTIONS
from workflow_scripts.lib.statistics.intervals import wilson

Tables = dict[str, pl.DataFrame]
PRINTED_LEVEL = 0.8
"""The AUC that Appendix I prints for the last response token."""
DISTINCT = 0.1
"""Sets that share less than this are called distinct; the paper prints 0.7 %."""
EVERY = (
    "Supported: against every one the whole interval lies on the claim's side of 0 (all must pass, so no correction is "
    "needed). Contradicted: against at least one it lies on the other side or ends at 0, intervals widened for "
    "their number (Bonferroni). Undecided: anything else. "
)
GROUPS = (
    "The average curve of each must be supported by the rule “keeps its level when pruned”, and there must be at least "
    "two. Contradicted: one of them is, intervals widened for their number (Bonferroni). Undecided: anything else. "
)


@dataclass(frozen=True)
class Test:
    """How a claim is judged: the function, the words, the tables and rows that it reads."""

    judge: Callable[[Tables, float], Finding]
    words: str
    source: str


def pruned(tables: Tables, place: str) -> list[Curve]:
    """Choose the curves of one place that rest on enough problems."""
    name, metric = ("pruning_dopamine", "spearman") if place == "paragraph" else ("pruning_value", "auc")
    table = tables[name].filter(pl.col("n_validation") >= FEWEST)
    return [curve for curve in curves_of(table, metric) if curve.place == place]


def curve_claim(place: str, rule: str) -> Callable[[Tables, float], Finding]:
    """Make a test that applies a rule of `claims.curve_rules` to the average curve over all runs and layers."""

    def judge(tables: Tables, _: float) -> Finding:
        curves = pruned(tables, place)
        if not curves:
            return Finding(UNDECIDED, TOO_FEW)
        chance = 0.0 if place == "paragraph" else 0.5
        finding = decided(JUDGES[rule](mean_curve([curve.points for curve in curves]), chance))
        return Finding(finding.verdict, f"{finding.evidence} (average of {len(curves)} curves)")

    return judge


def final_level(tables: Tables, _: float) -> Finding:
    """Judge the printed level at the last response token, over the whole curve."""
    curves = pruned(tables, "final")
    points = mean_curve([curve.points for curve in curves]) if curves else []
    known = [(p, p.ci_low, p.ci_high) for p in points if p.ci_low is not None and p.ci_high is not None]
    if not known or len(known) < len(points):
        return Finding(UNDECIDED, TOO_FEW if not curves else "a number or its interval is missing")
    evidence = f"{with_interval(points[0])} with all inputs, {with_interval(points[-1])} at {points[-1].prune_ratio:g}"
    if all(low > PRINTED_LEVEL for _, low, _ in known):
        return Finding(SUPPORTED, evidence)
    fallen = [point.prune_ratio for point, _, high in known if high <= PRINTED_LEVEL]
    if fallen:
        return Finding(CONTRADICTED, f"{evidence}; first wholly below {PRINTED_LEVEL:g} at {fallen[0]:g}")
    return Finding(UNDECIDED, evidence)


def robust(by: str) -> Callable[[Tables, float], Finding]:
    """Make a test whether value probes keep their level in every group of runs: `dataset`, `model` or `layer`."""

    def judge(tables: Tables, confidence: float) -> Finding:
        groups: dict[str, list[Any]] = {}
        for curve in pruned(tables, "initial"):
            name = f"layer {curve.layer}" if by == "layer" else str(getattr(curve, by))
            groups.setdefault(name, []).append(curve.points)
        return in_every_group(groups, JUDGES["stable"], 0.5, confidence) if groups else Finding(UNDECIDED, TOO_FEW)

    return judge


def necessary(tables: Tables, _: float) -> Finding:
    """Judge whether ablating the value neurons lowers accuracy at all."""
    rows = tables["table2"].filter(pl.col("selection") == "value").to_dicts()
    change = average(rows, "change", "change_low", "change_high")
    return Finding(below(change), f"change of accuracy {change}")


def harm_against(*others: str) -> Callable[[Tables, float], Finding]:
    """Make a test whether ablating the value neurons does more harm than ablating each of the others."""

    def judge(tables: Tables, confidence: float) -> Finding:
        contrasts = tables["intervention_contrasts"].filter(pl.col("reason").is_null())
        measures = {}
        for name in others:
            if rows := contrasts.filter(pl.col("against") == name).to_dicts():
                measures[SELECTIONS[name]] = average(rows, "difference")
        return against_each(measures, below, confidence)

    return judge


def distinct(tables: Tables, confidence: float) -> Finding:
    """Judge whether value neurons differ from next-token neurons."""
    rows = tables["neuron_overlap"].filter(pl.col("second") == "ntp").to_dicts()
    if not rows or few_problems(tables, "interventions"):
        return Finding(UNDECIDED, TOO_FEW if rows else "not measured")
    shared, total = sum(row["shared"] for row in rows), sum(row["n_neurons"] for row in rows)
    chance = sum(row["chance"] * row["n_neurons"] for row in rows) / total
    low, high = (float(limit) for limit in wilson(shared, total, confidence))
    evidence = f"{shared} of {total} shared, {number(shared / total)} [{number(low)}, {number(high)}]; "
    evidence += f"chance {number(chance)}"
    if low > chance:
        return Finding(CONTRADICTED, evidence)
    return Finding(SUPPORTED if high < DISTINCT else UNDECIDED, evidence)


def few_problems(tables: Tables, name: str) -> bool:
    """Say whether the runs of a table rest on too few problems."""
    runs = tables["table2" if name == "interventions" else name]
    columns = ("model", "dataset") if name == "interventions" else ("model_a", "dataset_a")
    known = runs.select(model=pl.col(columns[0]), dataset=pl.col(columns[1])).unique()
    sizes = tables["rollouts"].join(known, on=["model", "dataset"])["n"].to_list()
    return not sizes or min(sizes) < 5 * FEWEST


def transferred(across: str) -> Callable[[Tables, float], Finding]:
    """Make a test whether probes of other data sets or models find the same value neurons."""

    def judge(tables: Tables, _: float) -> Finding:
        table = tables["transfer"].filter(pl.col("across") == across, pl.col("kind") == "value")
        if len(table) and few_problems(tables, "transfer"):
            return Finding(UNDECIDED, TOO_FEW)
        return overlap(table.to_dicts())

    return judge


def tracking(tables: Tables, confidence: float) -> Finding:
    """Judge whether single dopamine neurons follow the TD errors, and do so more than other neurons."""
    table = tables["trajectories"].filter(pl.col("neuron").is_null())
    measures = {}
    for kind, name in (("dopamine", "Spearman correlation with TD errors"), ("difference", "less that of random ones")):
        if rows := table.filter(pl.col("kind") == kind).to_dicts():
            measures[name] = average(rows, "spearman")
    return against_each(measures, above, confidence)


def confident(method: str) -> Callable[[Tables, float], Finding]:
    """Make a test whether a way to read value neurons predicts success better than every baseline."""

    def judge(tables: Tables, confidence: float) -> Finding:
        table = tables["confidence_contrasts"].filter(pl.col("method") == method, pl.col("model") == "all")
        baselines = table["against"].unique(maintain_order=True).to_list()
        measures = compared(table, baselines)
        finding = against_each(measures, above, confidence)
        missing = [name for name in map(spaced, baselines) if name not in measures]
        left_out = f"; not defined here: {', '.join(missing)}" if missing and measures else ""
        return Finding(finding.verdict, f"{finding.evidence}{left_out}")

    return judge


def searched(*others: str) -> Callable[[Tables, float], Finding]:
    """Make a test whether search by dopamine neurons solves more problems than each of the others."""

    def judge(tables: Tables, confidence: float) -> Finding:
        return against_each(compared(tables["search_contrasts"], others), above, confidence)

    return judge


def compared(table: pl.DataFrame, others: Sequence[str]) -> dict[str, Measure]:
    """Average the difference against each opponent that was measured."""
    measures = {}
    for name in others:
        rows = table.filter(pl.col("against") == name, pl.col("difference").is_not_null()).to_dicts()
        if rows:
            measures[spaced(name)] = average(rows, "difference")
    return measures


def spaced(name: str) -> str:
    """Write the name of a method as evidence shows it."""
    return name.replace("_", " ")


def coupled(measure: str) -> Callable[[Tables, float], Finding]:
    """Make a test whether ablating value neurons changes later dopamine neurons more than ablating random ones."""

    def judge(tables: Tables, confidence: float) -> Finding:
        table = tables["ablation_contrasts"].filter(pl.col("measure") == measure, pl.col("reason").is_null())
        return against_each(compared(table, ("random", "random_matched")), below, confidence)

    return judge


INITIAL = "pruning_value, position initial, every model, dataset and layer"
PARAGRAPH = "pruning_dopamine, every model, dataset and layer"
CONTRASTS = "intervention_contrasts, every model, dataset and layer"
TRACKING = (
    "Two intervals: that of the dopamine neurons' mean correlation with TD errors, and that of its difference from "
    "the same number of random neurons'. Supported: both lie above 0. Contradicted: one lies at or below 0, widened "
    "for two (Bonferroni). Undecided: anything else."
)
TRANSFER = (
    "Averages over pairs of runs, layers and pairs of different seeds. Supported: at every prune ratio from 0.90 on, "
    "even the lowest overlap of seeds lies above the band of random sets and above the overlap under shuffled labels. "
    "Contradicted: at every one, even the highest lies at or below the random expectation or the shuffled labels'. "
    "Undecided: anything else, and where only one pair of seeds was run."
)
OVERLAP = (
    f"Shared neurons over all runs and layers with a Wilson interval. Supported: it lies below {DISTINCT:.0%}. "
    "Contradicted: it lies above chance. Undecided: anything else."
)
LEVEL = (
    f"Supported: at every prune ratio the whole interval lies above {PRINTED_LEVEL:g}. Contradicted: at some ratio it "
    "lies at or below it. Undecided: anything else."
)
ZERO = "Supported: the whole interval lies below 0. Contradicted: at or above 0. Undecided: it contains 0."
DATA_SETS, MODELS, LAYERS = (f"One group a {name}. {GROUPS}" for name in ("data set", "model", "layer"))
TESTS = {
    "value_read": Test(curve_claim("initial", "informative"), AVERAGED + RULES["informative"].rule, INITIAL),
    "value_sparse": Test(curve_claim("initial", "stable"), AVERAGED + RULES["stable"].rule, INITIAL),
    "value_special": Test(curve_claim("initial", "selective"), AVERAGED + RULES["selective"].rule, INITIAL),
    "value_final": Test(final_level, AVERAGED + LEVEL, INITIAL.replace("initial", "final")),
    "value_datasets": Test(robust("dataset"), AVERAGED + DATA_SETS, INITIAL),
    "value_models": Test(robust("model"), AVERAGED + MODELS, INITIAL),
    "value_layers": Test(robust("layer"), AVERAGED + LAYERS, INITIAL),
    "value_necessary": Test(necessary, AVERAGED + ZERO, "table2, selection value"),
    "value_random": Test(harm_against("random", "random_matched", "random_sink_free"), AVERAGED + EVERY, CONTRASTS),
    "value_specific": Test(harm_against("ntp", "magnitude", "wanda"), AVERAGED + EVERY, CONTRASTS),
    "value_distinct": Test(distinct, OVERLAP, "neuron_overlap, second ntp"),
    "td_final": Test(harm_against("value_final"), AVERAGED + EVERY, f"{CONTRASTS}, against value_final"),
    "transfer_datasets": Test(transferred("data sets"), TRANSFER, "transfer, kind value, across data sets"),
    "transfer_models": Test(transferred("models"), TRANSFER, "transfer, kind value, across models"),
    "dopamine_read": Test(curve_claim("paragraph", "informative"), AVERAGED + RULES["informative"].rule, PARAGRAPH),
    "dopamine_sparse": Test(curve_claim("paragraph", "stable"), AVERAGED + RULES["stable"].rule, PARAGRAPH),
    "dopamine_special": Test(curve_claim("paragraph", "selective"), AVERAGED + RULES["selective"].rule, PARAGRAPH),
    "dopamine_tracks": Test(tracking, AVERAGED + TRACKING, "trajectories, the rows over neurons"),
    "confidence_printed": Test(
        confident("value_neurons"), AVERAGED + EVERY, "confidence_contrasts, model all, method value_neurons"
    ),
    "confidence_honest": Test(
        confident("value_neurons_cv"), AVERAGED + EVERY, "confidence_contrasts, model all, method value_neurons_cv"
    ),
    "search": Test(searched("greedy", "random", "implicit_prm"), AVERAGED + EVERY, "search_contrasts"),
    "search_tokens": Test(searched("best_of_n", "majority"), AVERAGED + EVERY, "search_contrasts"),
    "coupled": Test(coupled("correlation_apart"), AVERAGED + EVERY, "ablation_contrasts, measure correlation_apart"),
    "coupled_td": Test(coupled("spearman"), AVERAGED + EVERY, "ablation_contrasts, measure spearman"),
}
"""How every claim is judged, by its key in `resources/published/claims.yaml`."""
