"""Use saved probes on new text: how sure is the model before it answers, and which steps of an answer change that?

    python -m workflow_scripts.score --run grpo/ledger --input questions.jsonl --output scores.jsonl

Input: one JSON object a line (.jsonl, .jsonl.gz), or a .parquet file such as the study's own rollouts. A line has

  question      the question; it is put into the prompt that the study uses for this model and data set
  answer        optional: the answer as text

or token ids, which are taken as they are and go before the texts if a line has both:

  prompt_ids    the whole prompt (in place of question)
  response_ids  the answer (in place of answer); end tokens and padding at its end are left out

A probe reads the states that the model has while it reads these ids, so an answer may come from vLLM, transformers or
anything else. Prefer ids where you have them: text that is turned into tokens again may become other tokens.

Output: the same lines in the same order, with everything that they had, and

  confidence    V(s_0): the predicted chance of a right answer, from the end of the prompt alone
  value         the same at the answer's last token (null without an answer)
  steps         the paragraphs of the answer, in order (null without an answer): text; start and end, its place among
                the answer's tokens; tokens, how many; value, the predicted chance at its end; score, by how much it
                changes the chance as the dopamine probe sees it (null without a dopamine probe)
  note          what to know about the line, or null

All predictions are means over the seeds of the probes trained on true labels, and over all layers in the file unless
--layer names one. Nothing is trained or sampled here.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.config.schema import did_you_mean
from workflow_scripts.lib.config.study import pair
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.models.load import (
    ModelConfig,
    fingerprint,
    load_model,
)
from workflow_scripts.lib.models.paragraphs import paragraph_boundaries
from workflow_scripts.lib.models.prompts import Wording
from workflow_scripts.lib.models.states import Response
from workflow_scripts.lib.probes.score_lines import LineReader, answered
from workflow_scripts.lib.probes.scoring import Reader, ResponseScores, open_probes, score_responses
from workflow_scripts.lib.problems.records import file_records
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.files import atomic_path


def open_study(files: Sequence[str], run: str) -> tuple[dict[str, Any], ModelConfig, Wording]:
    """Read the configuration (later files on top), and the run's model and words around questions.

    Raises:
        UserError: a fault of the configuration, or a run that names what it does not have.
    """
    config, names = read_study(files), pair(run)
    for kind, name in zip(("models", "datasets"), names, strict=True):
        if name not in config[kind]:
            raise UserError(f"--run {run}: {kind} has no entry {name!r}; {did_you_mean(name, list(config[kind]))}")
    dataset = config["datasets"][names[1]]
    words = Wording(dataset["template"], dataset["instruction"], dataset["response_prefix"])
    return config, ModelConfig.from_entry(config["models"][names[0]], names[0]), words


def open_readers(arguments: argparse.Namespace, model: ModelConfig, answers: bool) -> tuple[Reader, Reader | None]:
    """Open value probes and, where there are answers, dopamine probes; None if the run has none and none are named."""
    if not 0 < arguments.keep <= 1:
        raise UserError(f"--keep: {arguments.keep} is out of range; give a share above 0, at most 1")
    if arguments.batch_tokens is not None and arguments.batch_tokens < 1:
        raise UserError(f"--batch-tokens: {arguments.batch_tokens} is out of range; give at least 1")
    identity = {"model": model.key, "revision": model.revision}
    identity["fingerprint"] = fingerprint(model.path, model.revision)
    folder = Path("results/probes") / arguments.run
    wanted, default = arguments.dopamine, folder / "dopamine.safetensors"
    options = (identity, arguments.layer, arguments.keep)
    value = open_probes(arguments.value or folder / "value.safetensors", "value", *options)
    if not answers or (wanted is None and not default.is_file()):
        return value, None
    return value, open_probes(wanted or default, "dopamine", *options)


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config", nargs="+", default=["config.yaml"], help="configuration files, later ones on top (config.yaml)"
    )
    parser.add_argument("--run", required=True, help="MODEL/DATASET: whose probes, and how questions become prompts")
    parser.add_argument("--input", required=True, type=Path, help="questions, with answers or without")
    parser.add_argument(
        "--questions-only",
        action="store_true",
        help="leave answers alone; for a data set's own file, whose `answer` is the right answer and not the model's",
    )
    parser.add_argument("--output", required=True, type=Path, help="where the scores go, one JSON object a line")
    parser.add_argument("--value", type=Path, help="value probes (results/probes/MODEL/DATASET/value.safetensors)")
    parser.add_argument(
        "--dopamine",
        type=Path,
        help="dopamine probes (results/probes/MODEL/DATASET/dopamine.safetensors). Probes normalised over the response "
        "need finished answers; for answers still being written take dopamine_causal.safetensors",
    )
    parser.add_argument("--layer", type=int, help="read this layer's probes alone (the mean over all layers)")
    parser.add_argument(
        "--keep",
        type=float,
        default=1.0,
        help="share of neurons that a probe may see, the most important ones: 0.01 leaves the value neurons proper (1)",
    )
    parser.add_argument("--batch-tokens", type=int, help="tokens at a time; less takes less memory (the study's)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Read and check everything, then load the model, score, and write the output whole.

    Raises:
        UserError: the first thing that is wrong.
    """
    arguments = read_arguments(argv)
    config, model, wording = open_study(arguments.config, arguments.run)
    reader = LineReader(model, wording, arguments.questions_only)
    lines = [reader.line(place, record) for place, record in file_records(arguments.input)]
    readers = open_readers(arguments, model, any(line.response_ids is not None for line in lines))
    responses = [Response(line.place, 0, line.prompt_ids, line.response_ids or []) for line in lines]
    boundaries = [paragraph_boundaries(one.response_ids, reader.tokenizer) for one in responses]
    settings, progress = config["activations"], Progress(len(lines), "lines", "score")
    dtype, tokens = getattr(torch, settings["dtype"]), arguments.batch_tokens or settings["batch_tokens"]
    found: list[ResponseScores] = []
    if lines:
        found = score_responses(load_model(model), responses, boundaries, readers, dtype, tokens, progress.advance)
    with atomic_path(arguments.output) as temporary, temporary.open("w", encoding="utf-8") as file:
        for line, own, scores in zip(lines, boundaries, found, strict=True):
            row = answered(line, own, scores, readers[1], reader.tokenizer)
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    print(f"{arguments.output}: {len(lines)} lines", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
