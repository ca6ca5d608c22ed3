"""Score every response of a run by every confidence method (method, section 8; paper, Table 3)."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from workflow_scripts.lib.confidence import outcomes as confidence
from workflow_scripts.lib.confidence.folds import fold_outputs, folds_of
from workflow_scripts.lib.confidence.methods import CHOSEN_ON, METHODS, VALUE_METHODS
from workflow_scripts.lib.confidence.outcomes import Labels, Outcome
from workflow_scripts.lib.config.sections import ValueProbes
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import ActivationFiles, open_activations
from workflow_scripts.lib.probes.data import Responses, rewards_of, select_responses, split_of
from workflow_scripts.lib.probes.perceptrons import Probes
from workflow_scripts.lib.storage.tables import check_once, read_parquet

Array = np.ndarray
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "problem_id": pl.String,
    "sample": pl.Int64,
    "split": pl.String,
    "reward": pl.Int8,
    "prompt_tokens": pl.Int64,
    "method": pl.String,
    "layer": pl.Int64,
    "seed": pl.Int64,
    "score": pl.Float64,
    "probability": pl.Float64,
    "fold": pl.Int64,
}
CHOICES: dict[str, pl.DataType | type[pl.DataType]] = {
    "method": pl.String,
    "layer": pl.Int64,
    "seed": pl.Int64,
    "prune_ratio": pl.Float64,
    "regularization": pl.Float64,
    "sign": pl.Int64,
    "selection_auc": pl.Float64,
    "chosen_on": pl.String,
    "n_training": pl.Int64,
    "n_folds": pl.Int64,
    "undefined": pl.String,
    "uncalibrated": pl.String,
}


@dataclass(frozen=True)
class Study:
    """Both parts of one run: responses, prompt lengths, labels."""

    source: ActivationFiles
    training: Responses
    validation: Responses
    lengths: dict[str, int]
    labels: Labels

    def lengths_of(self, part: Responses) -> Array:
        """Return the prompt tokens of each response."""
        return np.array([self.lengths[name] for name in part.problem_ids], dtype=float)

    def initial_states(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return s_0 of the training and of the validation responses at one layer, [R, d] each."""
        states, offsets = self.source.states(layer)
        training, validation = (states[torch.from_numpy(offsets[p.rows])] for p in (self.training, self.validation))
        return training, validation


def read_study(arguments: argparse.Namespace, n_folds: int, seed: int) -> Study:
    """Read the responses of a run, split, with rewards and folds."""
    source = open_activations(arguments.activations)
    split, rewards = split_of(arguments.problems), rewards_of(arguments.rollouts)
    training, validation = (select_responses(source, split, rewards, part) for part in ("train", "validation"))
    prompts = read_parquet(arguments.rollouts).select("problem_id", pl.col("prompt_ids").list.len())
    labels = Labels(training.rewards, validation.rewards, folds_of(training.problem_ids, n_folds, seed))
    return Study(source, training, validation, {name: int(n) for name, n in prompts.iter_rows()}, labels)


def all_outcomes(
    study: Study,
    probes: Probes,
    config: dict[str, Any],
    asked: pl.DataFrame,
    layers: Sequence[int],
    ratios: Sequence[float],
    memory: float,
) -> list[Outcome]:
    """Return the outcomes of every method.

    Args:
        study: the responses of the run.
        probes: value probes on true rewards, for the methods on value neurons.
        config: how those were trained.
        asked: what the model was asked for, a row per problem.
        layers: layers of the methods on value neurons.
        ratios: prune ratios to choose among.
        memory: gigabytes that training in folds may take.

    Raises:
        UserError: a problem with a response was not asked.
    """
    verbalized = asked_methods(study, asked)  # first, because it may refuse its input, and folds take long
    return [
        *value_methods(study, probes, layers, config, ratios, memory),
        *linear_methods(study),
        *verbalized,
        confidence.length_outcome(study.lengths_of(study.training), study.lengths_of(study.validation), study.labels),
    ]


def value_methods(
    study: Study,
    probes: Probes,
    layers: Sequence[int],
    config: dict[str, Any],
    ratios: Sequence[float],
    memory: float,
) -> list[Outcome]:
    """Return the outcomes of both methods on value neurons."""
    section = ValueProbes(config | {"seeds": config["seeds"][:1], "shuffled_seeds": []})
    source = open_activations(study.source.paths, layers)
    by_fold = fold_outputs(source, study.training, study.labels.folds, section, ratios, memory)
    held_out = {layer: study.initial_states(layer)[1] for layer in layers}
    return [
        outcome
        for method in VALUE_METHODS
        for layer in layers
        for outcome in confidence.value_outcomes(
            method, probes.of(layer=layer), held_out[layer], ratios, by_fold.get(layer), study.labels
        )
    ]


def linear_methods(study: Study) -> list[Outcome]:
    """Return the outcomes of both linear methods, each at the layer that the folds choose among all stored ones."""
    means, logistic = [], []
    for layer in study.source.layers:
        states = confidence.without_rounding(study.initial_states(layer))
        means.append(confidence.linear_candidate("lcd", states, layer, study.labels))
        logistic += [
            confidence.linear_candidate("lcd_logistic", states, layer, study.labels, c)
            for c in confidence.REGULARIZATIONS
        ]
    return [confidence.best(candidates, study.labels) for candidates in (means, logistic)]


def asked_methods(study: Study, asked: pl.DataFrame) -> list[Outcome]:
    """Return the outcomes of the methods for which the model was asked.

    Raises:
        UserError: a problem with a response was not asked.
    """
    check_once(asked, ["problem_id"], "asked")
    unasked = sorted({*study.training.problem_ids, *study.validation.problem_ids} - set(asked["problem_id"].to_list()))
    if unasked:
        raise UserError(f"--asked: problem {unasked[0]} was not asked; pass all shards of the data set")
    tries = max(asked["tries"].drop_nulls().to_list(), default=0)
    how_often = f"{tries} tries" if tries > 1 else "one try"
    silent = f"the model named no number from 0 to 1 in {how_often} for any problem"
    words = {
        "verbal": (
            silent if tries else "no question leaves room in the model's context to be asked for confidence",
            f"a number from 0 to 1 in {how_often}",
        ),
        "token": ("no first token has a log-probability", "a log-probability of the first token"),
    }
    outcomes = []
    for method, texts in words.items():
        ended = pilot_result(asked, how_often) if method == "verbal" else None
        known = dict(asked.select("problem_id", pl.col(method).cast(pl.Float64).fill_null(float("nan"))).iter_rows())
        training, validation = (
            np.array([known[name] for name in part.problem_ids], dtype=float)
            for part in (study.training, study.validation)
        )
        outcomes.append(confidence.verbalized_outcome(method, training, validation, texts, study.labels, ended))
    return outcomes


def pilot_result(asked: pl.DataFrame, how_often: str) -> str | None:
    """Say how many of the problems that were asked first got a number, if the others were therefore not asked."""
    pilot = asked.filter(pl.col("tries") > 0)
    if not asked["tries"].null_count():
        return None
    named = len(pilot) - pilot["verbal"].null_count()
    return (
        f"the model named a number from 0 to 1 in {how_often} for only {named} of the {len(pilot)} problems that were "
        "asked first; the others were not asked"
    )


def response_columns(study: Study, part: Responses, name: str) -> dict[str, object]:
    """Return the columns that identify the responses of rows."""
    return {
        "problem_id": part.problem_ids,
        "sample": [study.source.rows[row][1] for row in part.rows],
        "split": [name] * len(part),
        "reward": part.rewards.astype(np.int8),
        "prompt_tokens": study.lengths_of(part).astype(np.int64),
    }


def prediction_rows(study: Study, outcome: Outcome, first: bool) -> list[pl.DataFrame]:
    """Return rows of one outcome: validation, and training where it is the `first` one of its method and layer."""
    labels = {"method": outcome.method, "layer": outcome.layer, "seed": outcome.seed}
    parts = [(study.validation, "validation", outcome.validation)]
    parts += [(study.training, "train", outcome.training)] if first else []
    frames = []
    for part, name, scores in parts:
        held_out = name == "validation"
        chances = confidence.probabilities(outcome, study.labels) if held_out else np.full(len(part), np.nan)
        folds = study.labels.folds.numbers if outcome.trained and not held_out and study.labels.folds.n else None
        columns = response_columns(study, part, name) | {"score": scores, "probability": chances, "fold": folds}
        frames.append(pl.DataFrame(columns | labels, schema_overrides=SCHEMA).select(list(SCHEMA)))
    return frames


def predictions(study: Study, outcomes: Sequence[Outcome]) -> pl.DataFrame:
    """Tabulate all outcomes, by problem, sample, method, layer and seed.

    Training rows of fitted methods have their fold. No training row has a probability, because probabilities were
    fitted to those rows.
    """
    seen: set[tuple[str, int | None]] = set()
    frames = [pl.DataFrame(schema=SCHEMA)]
    for outcome in outcomes:
        frames += prediction_rows(study, outcome, (outcome.method, outcome.layer) not in seen)
        seen.add((outcome.method, outcome.layer))
    place = pl.col("method").replace_strict({name: i for i, name in enumerate(METHODS)})
    rows = pl.concat(frames).with_columns(pl.col("score", "probability").fill_nan(None))
    return rows.sort("problem_id", "sample", place, "layer", "seed")


def choices(outcomes: Sequence[Outcome], labels: Labels) -> pl.DataFrame:
    """Tabulate the choices made for each outcome, and the data they were made on."""
    names = set(CHOICES) & set(Outcome.__dataclass_fields__)
    common = {"n_training": len(labels.training), "n_folds": labels.folds.n}
    rows = [
        {name: getattr(outcome, name) for name in names}
        | {"chosen_on": CHOSEN_ON[outcome.method]}
        | {"selection_auc": None if np.isnan(outcome.selection_auc or 0.0) else outcome.selection_auc}
        | common
        for outcome in outcomes
    ]
    return pl.DataFrame(rows, schema=CHOICES)
