"""Train the next-token probes of a run, layer by layer."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from workflow_scripts.lib.config.sections import NtpProbes
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import ActivationFiles
from workflow_scripts.lib.probes import next_token
from workflow_scripts.lib.probes.data import select_responses, split_of
from workflow_scripts.lib.probes.training import Training, n_batches
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.runtime.reuse import Reuse, digest, environment
from workflow_scripts.lib.storage.tables import read_parquet


def read_parts(
    source: ActivationFiles, problems: Sequence[Path], rollouts: Sequence[Path], vocabulary: int
) -> tuple[next_token.NextTokens, next_token.NextTokens]:
    """Read the tokens to predict in the training part and in the validation part.

    Raises:
        UserError: files that do not belong together, or a training part without tokens.
    """
    table = read_parquet(rollouts).select("problem_id", "sample", "response_ids")
    ids = {(problem_id, sample): tokens for problem_id, sample, tokens in table.iter_rows()}
    split, no_rewards = split_of(problems), dict.fromkeys(ids, 0.0)  # tokens are the target; rewards play no part
    training, validation = (
        next_token.next_tokens(source, select_responses(source, split, no_rewards, part), ids, vocabulary)
        for part in ("train", "validation")
    )
    if not len(training.tokens):
        raise UserError(f"{problems[0].parent}: no response of the training part has a token; raise split.train_ratio")
    return training, validation


def train_layers(
    source: ActivationFiles,
    parts: tuple[next_token.NextTokens, next_token.NextTokens],
    vocabulary: int,
    section: NtpProbes,
    reuse: Reuse[next_token.NtpProbe],
) -> tuple[dict[int, next_token.NtpProbe], list[str], list[dict[str, Any]]]:
    """Return the probe of each layer of `source`, reused or trained, with its origin and its loss.

    The loss is listed with that of the guess that ignores the state.
    """
    training, validation = parts
    settings = Training(**{field.name: getattr(section, field.name) for field in fields(Training)})
    n_responses = len(training.rows)
    label = f"next-token probes of {len(source.layers)} layers, {n_responses} responses"
    progress = Progress(n_batches(n_responses, len(source.layers), settings), "steps", label)
    unigram = next_token.unigram_cross_entropy(training.tokens, validation.tokens, vocabulary)
    common = digest(environment("train_ntp_probes"), vars(section), vocabulary, training.offsets, training.tokens)
    probes, origins, losses = {}, [], []
    for layer in source.layers:
        stored = source.states(layer)
        states = next_token.inputs_of(*stored, training)
        origins.append(digest(common, states))
        if kept := reuse.get(origins[-1]):
            probes[layer] = kept
            progress.advance(progress.total // len(source.layers))
        else:
            probes[layer] = next_token.train(layer, states, training, vocabulary, section.seed, settings, progress)
        inputs = next_token.inputs_of(*stored, validation)
        loss = next_token.cross_entropy(probes[layer], inputs, validation.tokens)
        losses.append({"layer": layer, "cross_entropy": loss, "unigram_cross_entropy": unigram})
    return probes, origins, losses
