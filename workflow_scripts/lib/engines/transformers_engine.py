"""The generation engine on transformers: own decode loop, one prefill per prefix, rows independent of their batch.

A batch contains up to `batch_size` completions of several requests. Each prefix is read once and its cache repeated for
its keys. Prefixes are padded on the left, so that all rows write the same cache column at each step. Finished rows
leave the cache when at least a share of `COMPACT_SHARE` has finished.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workflow_scripts.lib.engines.interface import Completion, Request, Sampling, room_left
from workflow_scripts.lib.engines.kv_cache import new_cache, select_rows, use_grouped_attention
from workflow_scripts.lib.engines.paragraph_stop import END, START, ParagraphStop
from workflow_scripts.lib.engines.sampling import Uniforms, sample
from workflow_scripts.lib.engines.stopping import HARNESS_CHECK_EVERY, completion, harness_window_hits
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.interventions import Intervention, intervened
from workflow_scripts.lib.models.load import ModelConfig, load_model
from workflow_scripts.lib.models.proof import MaskCheck
from workflow_scripts.lib.models.tokenizer import end_ids, load_tokenizer

PREFILL_TOKENS = 32768
SCORE_LOGITS = 64_000_000
COMPACT_SHARE = 0.2


@dataclass(frozen=True)
class Job:
    """Some of one request's keys; `first` is the index of the first of them among all its keys."""

    request: int
    first: int
    token_ids: tuple[int, ...]
    keys: tuple[str, ...]
    max_tokens: int


def split_jobs(requests: Sequence[Request], batch_size: int) -> Iterator[list[Job]]:
    """Yield batches of at most `batch_size` rows, longest prefixes first, so that neighbours need little padding."""
    batch: list[Job] = []
    room = batch_size
    for index in sorted(range(len(requests)), key=lambda i: (-len(requests[i].token_ids), -requests[i].max_tokens)):
        request, first = requests[index], 0
        while first < len(request.keys):
            keys = request.keys[first : first + room]
            batch.append(Job(index, first, request.token_ids, keys, request.max_tokens))
            first, room = first + len(keys), room - len(keys)
            if room == 0:
                yield batch
                batch, room = [], batch_size
    if batch:
        yield batch


class Decoder:
    """The forward pass over padded token blocks with a growing cache; left or right padding by the mask."""

    def __init__(self, model: PreTrainedModel, attention_mask: torch.Tensor, spare_columns: int) -> None:
        self.model = model
        self.cache = new_cache(model)
        self.columns = 0
        ones = attention_mask.new_ones(attention_mask.shape[0], spare_columns)
        self.padded = not bool(attention_mask.all())
        self.mask = torch.cat([attention_mask, ones], dim=1)
        self.positions = (self.mask.cumsum(-1) - 1).clamp_min(0)
        accepted = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in accepted
        self.takes_keep = "logits_to_keep" in accepted

    def forward(self, token_ids: Int[torch.Tensor, "rows block"], last_only: bool) -> torch.Tensor:
        """Compute logits [rows, block or 1, vocabulary] of the next block of columns."""
        end = self.columns + token_ids.shape[1]
        options: dict[str, object] = {"attention_mask": self.mask[:, :end]} if self.padded else {}
        if self.takes_positions:
            options["position_ids"] = self.positions[:, self.columns : end]
        if last_only and self.takes_keep:
            options["logits_to_keep"] = 1
        logits = self.model(input_ids=token_ids, past_key_values=self.cache, use_cache=True, **options).logits
        self.columns = end
        return logits[:, -1:] if last_only else logits

    def select(self, rows: torch.Tensor) -> None:
        """Keep (or repeat) the rows at these indices."""
        select_rows(self.cache, rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]


def pad(sequences: Sequence[Sequence[int]], side: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and mask [rows, longest], padded with token 0 on the `left` or `right`."""
    width = max(len(sequence) for sequence in sequences)
    ids, mask = np.zeros((len(sequences), width), np.int64), np.zeros((len(sequences), width), np.int64)
    for row, sequence in enumerate(sequences):
        place = slice(width - len(sequence), width) if side == "left" else slice(0, len(sequence))
        ids[row, place], mask[row, place] = sequence, 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


class TransformersEngine:
    """An `Engine` over any causal language model of transformers."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int = 256) -> None:
        use_grouped_attention(model)
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.device = next(model.parameters()).device
        listed = getattr(model.generation_config, "eos_token_id", None)
        self.stop_ids = torch.tensor(end_ids(listed, tokenizer), dtype=torch.long, device=self.device)
        text_config = model.config.get_text_config(decoder=True)
        self.context: int | None = getattr(text_config, "max_position_embeddings", None)
        self.vocabulary: int = text_config.vocab_size
        self.paragraphs = ParagraphStop(tokenizer, self.vocabulary, self.device)

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, seed: int
    ) -> Iterator[tuple[int, list[Completion]]]:
        """Yield (index of the request, its completions in the order of its keys) as requests finish.

        Raises:
            UserError: a prefix is empty or longer than the model's context, or logits are not finite.
        """
        pending: dict[int, list[Completion | None]] = {i: [None] * len(r.keys) for i, r in enumerate(requests)}
        bounded = [replace(r, max_tokens=room_left(i, r, self.context)) for i, r in enumerate(requests)]
        for jobs in split_jobs(bounded, self.batch_size):
            completions = iter(self._run_batch(jobs, sampling, seed))
            for job in jobs:
                siblings = pending[job.request]
                for place in range(job.first, job.first + len(job.keys)):
                    siblings[place] = next(completions)
                if job.first + len(job.keys) == len(siblings):
                    yield job.request, [completion for completion in pending.pop(job.request) if completion is not None]
        for index, missing in pending.items():
            if not missing:
                yield index, []

    @torch.inference_mode()
    def _run_batch(self, jobs: list[Job], sampling: Sampling, seed: int) -> list[Completion]:
        counts = [len(job.keys) for job in jobs]
        keys = [key for job in jobs for key in job.keys]
        limits = np.repeat([job.max_tokens for job in jobs], counts)
        if limits.max() == 0:
            return [Completion([], [], "length") for _ in keys]
        ids, mask = pad([job.token_ids for job in jobs], "left", self.device)
        decoder = Decoder(self.model, mask, int(limits.max()))
        logits = self._prefill(decoder, ids)
        rows = torch.repeat_interleave(torch.arange(len(jobs)), torch.tensor(counts)).to(self.device)
        decoder.select(rows)
        state = BatchState(keys, limits, seed, self.device)
        self._decode(decoder, logits[rows], state, sampling)
        return [self._completion(state, row, sampling) for row in range(len(keys))]

    def _prefill(self, decoder: Decoder, ids: torch.Tensor) -> torch.Tensor:
        """Read the prefixes a block of columns at a time, so that memory does not grow with their length."""
        block = max(1, PREFILL_TOKENS // ids.shape[0])
        for start in range(0, ids.shape[1], block):
            logits = decoder.forward(ids[:, start : start + block], last_only=True)
        return logits[:, -1]

    def _decode(self, decoder: Decoder, logits: torch.Tensor, state: "BatchState", sampling: Sampling) -> None:
        while True:
            tokens, logprobs = sample(logits, state.uniforms.next(), sampling)
            if not bool(torch.isfinite(logprobs).all()):
                raise UserError(f"{self.model.name_or_path}: its logits are not finite; try dtype float32")
            state.record(tokens, logprobs, torch.isin(tokens, self.stop_ids))
            if sampling.paragraph:
                state.watch(self.paragraphs, tokens)
            if sampling.stop == "harness" and state.step % HARNESS_CHECK_EVERY == 0:
                state.finish(harness_window_hits(state.window(), self.tokenizer))
            active = state.active.nonzero().squeeze(-1)
            if len(active) == 0:
                return
            if len(active) <= (1 - COMPACT_SHARE) * len(tokens):
                decoder.select(active)
                state.select(active)
                tokens = tokens[active]
            logits = decoder.forward(tokens[:, None], last_only=True)[:, -1]

    def _completion(self, state: "BatchState", row: int, sampling: Sampling) -> Completion:
        length = int(state.lengths[row])
        token_ids, logprobs = (kept[row, :length].tolist() for kept in (state.tokens, state.logprobs))
        return completion(token_ids, logprobs, bool(state.stopped[row]), sampling, self.paragraphs)

    def intervened(self, what: Intervention) -> AbstractContextManager[MaskCheck]:
        """Mask neurons in every pass until the block ends (`interventions.intervened`)."""
        return intervened(self.model, what)

    @torch.inference_mode()
    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Return one array per sequence: log-probability of each token given those before it; NaN for the first."""
        scores: list[np.ndarray] = [np.empty(0, np.float32)] * len(sequences)
        order = [i for i in sorted(range(len(sequences)), key=lambda i: -len(sequences[i])) if len(sequences[i])]
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            ids, mask = pad([sequences[i] for i in batch], "right", self.device)
            block = max(1, min(SCORE_LOGITS // (len(batch) * self.vocabulary), PREFILL_TOKENS // len(batch)))
            scored = self._score_batch(Decoder(self.model, mask, 0), ids, block)
            for row, i in enumerate(batch):
                scores[i] = scored[row, : len(sequences[i])]
        return scores

    def _score_batch(self, decoder: Decoder, ids: torch.Tensor, block: int) -> np.ndarray:
        scored = torch.full(ids.shape, torch.nan)
        for start in range(0, ids.shape[1] - 1, block):
            end = min(start + block, ids.shape[1] - 1)
            logits = decoder.forward(ids[:, start:end], last_only=False).float()
            chosen = logits.gather(-1, ids[:, start + 1 : end + 1, None]).squeeze(-1)
            scored[:, start + 1 : end + 1] = (chosen - logits.logsumexp(-1)).cpu()
        return scored.numpy()


class BatchState:
    """The tokens that a batch has generated so far; rows leave the active set, never the record."""

    def __init__(self, keys: Sequence[str], limits: np.ndarray, seed: int, device: torch.device) -> None:
        n_rows, width = len(keys), int(limits.max())
        self.uniforms = Uniforms(seed, keys, device)
        self.tokens = torch.zeros((n_rows, width), dtype=torch.int32, device=device)
        self.logprobs = torch.zeros((n_rows, width), dtype=torch.float32, device=device)
        self.lengths = torch.zeros(n_rows, dtype=torch.long, device=device)
        self.stopped = torch.zeros(n_rows, dtype=torch.bool, device=device)
        self.limits = torch.as_tensor(limits, device=device)
        self.rows = torch.arange(n_rows, device=device)
        self.active = self.limits > 0
        self.paragraph = torch.full_like(self.lengths, START)
        self.step = 0

    def record(self, tokens: torch.Tensor, logprobs: torch.Tensor, ends: torch.Tensor) -> None:
        """Record one step of the current rows; `ends` marks stop tokens, which are not kept."""
        self.tokens[self.rows, self.step] = tokens.to(torch.int32)
        self.logprobs[self.rows, self.step] = logprobs
        self.step += 1
        kept = self.active & ~ends
        self.lengths[self.rows[kept]] = self.step
        self.stopped[self.rows[self.active & ends]] = True
        self.active = kept & (self.limits[self.rows] > self.step)

    def window(self) -> list[tuple[int, list[int]]]:
        """Return (index among the current rows, last tokens) of the active rows."""
        begin = max(0, self.step - 2 * HARNESS_CHECK_EVERY)
        places = self.active.nonzero().squeeze(-1)
        return list(zip(places.tolist(), self.tokens[self.rows[places], begin : self.step].tolist(), strict=True))

    def watch(self, paragraphs: ParagraphStop, tokens: torch.Tensor) -> None:
        """Follow the paragraphs of the current rows by the tokens just recorded; end rows with a complete paragraph."""
        self.paragraph = paragraphs.batch(self.paragraph, tokens)
        self.active = self.active & (self.paragraph != END)

    def finish(self, places: list[int]) -> None:
        """End the rows at these indices."""
        self.active[places] = False

    def select(self, places: torch.Tensor) -> None:
        """Keep the rows at these indices as the current rows."""
        self.rows, self.active, self.paragraph = self.rows[places], self.active[places], self.paragraph[places]
        self.uniforms.select(places.tolist())


def load(config: ModelConfig, batch_size: int = 256) -> TransformersEngine:
    """Load model and tokenizer into an engine."""
    return TransformersEngine(load_model(config), load_tokenizer(config), batch_size)
