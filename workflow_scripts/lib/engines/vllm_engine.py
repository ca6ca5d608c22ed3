"""The generation engine on vLLM, for one GPU, several, or none.

The engine runs in the process that made it (its workers for further GPUs are that process's children), so it cannot
outlive its rule. Tokens are drawn by `vllm_worker.NamedStreams`, from the same random streams as in the transformers
engine: both engines give the same completions except for rounding, in any batch.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from workflow_scripts.lib.engines.interface import Completion, EngineOptions, Request, Sampling, room_left
from workflow_scripts.lib.engines.paragraph_stop import ParagraphStop
from workflow_scripts.lib.engines.stopping import completion
from workflow_scripts.lib.errors import UserError, one_line
from workflow_scripts.lib.models.interventions import Intervention, check_intervention
from workflow_scripts.lib.models.load import ModelConfig, read_architecture
from workflow_scripts.lib.models.proof import MaskCheck
from workflow_scripts.lib.models.tokenizer import end_tokens, load_tokenizer

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # no process of the engine's own: faster on a CPU, and it ends with the rule
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the first model runner calls samplers alike on CPU and GPU
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # two jobs of a run would be bound to the same cores
    "VLLM_NO_USAGE_STATS": "1",
}
CPU_BLOCK = 32
"""Tokens in a block of the cache on a CPU, the smallest fast number, because prefixes share only full blocks."""


def import_vllm() -> tuple[Any, str]:
    """Import `vllm` with its environment set up; return it and the name of the module that it loads.

    Raises:
        UserError: it is not installed, or not for this torch.
    """
    os.environ.update(ENVIRONMENT)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        import vllm

        from workflow_scripts.lib.engines import vllm_worker  # registers its loader; vLLM finds the rest by name

        return vllm, vllm_worker.__name__
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            f"rollouts.engine: vllm cannot be imported ({one_line(error)}); run `make vllm` or choose transformers"
        ) from error


class VllmEngine:
    """An `Engine` over the models that vLLM runs. `masked_layers` are those that `intervened` can change."""

    def __init__(self, model: ModelConfig, options: EngineOptions, masked_layers: Sequence[int] = ()) -> None:
        (self.vllm, self.worker), self.model = import_vllm(), model
        self.tokenizer = load_tokenizer(model)
        self.architecture = read_architecture(model.path, model.revision)
        self.masked_layers, self.processed = list(masked_layers), 0
        self.stop_ids = end_tokens(model, self.tokenizer)
        for layer in masked_layers:
            check_intervention(Intervention(layer, ()), self.architecture.n_layers, self.architecture.hidden_size)
        try:
            self.llm = self.vllm.LLM(**self._arguments(options))
        except Exception as error:
            reason = " ".join(str(error).split())[:300]  # the first line alone often says nothing
            raise UserError(f"{model.path}: vLLM cannot run model {model.key} ({reason})") from error
        self.engine = self.llm.llm_engine
        self.paragraphs = ParagraphStop(self.tokenizer, self.llm.model_config.get_vocab_size())

    def _arguments(self, options: EngineOptions) -> dict[str, Any]:
        on_gpu, model = torch.cuda.is_available(), self.model
        arguments: dict[str, Any] = {
            "model": model.path,
            "revision": model.revision,
            "dtype": model.dtype,
            "trust_remote_code": model.trust_remote_code,
            "load_format": "safetensors",  # the other formats are pickles
            "tensor_parallel_size": max(1, options.gpus),
            "enforce_eager": options.eager if options.eager is not None else not on_gpu,
            "max_num_seqs": options.batch_size,
            "max_model_len": self.architecture.context,
            "enable_prefix_caching": options.prefix_caching,
            "async_scheduling": False,  # a row's step is the length of its output, which must not run ahead
            "logits_processors": [f"{self.worker}:NamedStreams"],
            "language_model_only": True,
            "skip_tokenizer_init": True,
            "use_tqdm_on_load": False,
            "disable_log_stats": True,
            "seed": 0,
        }
        if on_gpu:
            arguments["gpu_memory_utilization"] = options.gpu_memory_utilization
        else:
            arguments |= {"kv_cache_memory_bytes": int(options.cpu_cache_gb * 2**30), "block_size": CPU_BLOCK}
        if self.masked_layers:
            arguments |= {
                "load_format": "masked",
                "additional_config": {"masked_layers": self.masked_layers},
                "worker_extension_cls": f"{self.worker}.Masks",
            }
        return arguments

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, seed: int
    ) -> Iterator[tuple[int, list[Completion]]]:
        """Yield (index of the request, its completions in the order of its keys) as requests finish.

        Raises:
            UserError: a prefix is empty or longer than the model's context, logits are not finite, or vLLM failed; a
                paragraph is requested from a model without an end token.
        """
        if sampling.paragraph and not self.stop_ids:
            raise UserError(f"{self.model.path}: has no end token, so vLLM cannot end a paragraph; choose transformers")
        pending: dict[int, list[Completion | None]] = {i: [None] * len(r.keys) for i, r in enumerate(requests)}
        prompts: list[tuple[str, tuple[int, ...], Any]] = []
        for index, request in enumerate(requests):
            room = room_left(index, request, self.architecture.context)
            if room == 0:
                pending[index] = [Completion([], [], "length") for _ in request.keys]
            else:
                params = ((f"{index}/{n}", self._params(sampling, room, seed, k)) for n, k in enumerate(request.keys))
                prompts += [(name, request.token_ids, settings) for name, settings in params]
        for index in [index for index, completions in pending.items() if None not in completions]:
            yield index, [one for one in pending.pop(index) if one is not None]
        for name, output in self._run(prompts):
            index, place = map(int, name.split("/"))
            siblings = pending[index]
            siblings[place] = self._completion(output, sampling)
            if None not in siblings:
                yield index, [one for one in pending.pop(index) if one is not None]

    def _params(self, sampling: Sampling, max_tokens: int, seed: int, key: str) -> Any:
        drawn = {"seed": seed, "key": key, "temperature": sampling.temperature, "top_p": sampling.top_p}
        drawn |= {"end": self.stop_ids[0]} if sampling.paragraph else {}
        return self._sampling_params(
            max_tokens=max_tokens,
            logprobs=0 if sampling.logprobs else None,
            extra_args=drawn if sampling.temperature > 0 or sampling.paragraph else None,
        )

    def _sampling_params(self, **settings: Any) -> Any:
        """Return greedy settings, because the random draw happens before vLLM chooses."""
        only_end = self.vllm.sampling_params.RequestOutputKind.FINAL_ONLY
        return self.vllm.SamplingParams(
            temperature=0.0,
            ignore_eos=True,
            stop_token_ids=self.stop_ids,
            detokenize=False,
            output_kind=only_end,
            **settings,
        )

    def _run(self, prompts: Sequence[tuple[str, tuple[int, ...], Any]]) -> Iterator[tuple[str, Any]]:
        """Yield (name, vLLM's output) as requests finish; abort the unfinished ones when the caller stops."""
        unfinished = {name for name, _, _ in prompts}
        try:
            for name, token_ids, params in prompts:
                self.engine.add_request(name, {"prompt_token_ids": list(token_ids)}, params)
            while self.engine.has_unfinished_requests():
                for output in self.engine.step():
                    unfinished.discard(output.request_id)
                    read, written = len(output.prompt_token_ids), len(output.outputs[0].token_ids)
                    self.processed += read - (output.num_cached_tokens or 0) + written - 1
                    yield output.request_id, output
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{self.model.path}: vLLM failed ({one_line(error)}); finished shards are kept: run again, "
                "with a smaller rollouts.batch_size if memory was short"
            ) from error
        finally:
            if unfinished:
                self.engine.abort_request(list(unfinished))

    def _completion(self, output: Any, sampling: Sampling) -> Completion:
        result = output.outputs[0]
        token_ids, stopped = list(result.token_ids), result.finish_reason == "stop"
        logprobs = [step[token].logprob for step, token in zip(result.logprobs or [], token_ids, strict=False)]
        if not np.isfinite(logprobs).all():
            raise UserError(f"{self.model.path}: its logits are not finite; try dtype float32")
        if stopped:
            token_ids, logprobs = token_ids[:-1], logprobs[: len(token_ids) - 1]
        return completion(token_ids, logprobs, stopped, sampling, self.paragraphs)

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Return one array per sequence: log-probability of each token given those before it; NaN for the first."""
        scores = [np.full(len(sequence), np.nan, np.float32) for sequence in sequences]
        params = self._sampling_params(max_tokens=1, prompt_logprobs=0)
        prompts = [(str(i), tuple(tokens), params) for i, tokens in enumerate(sequences) if len(tokens)]
        for name, output in self._run(prompts):
            tokens = sequences[int(name)]
            steps = zip(output.prompt_logprobs[1:], tokens[1:], strict=True)
            scores[int(name)][1:] = [step[token].logprob for step, token in steps]
        return scores

    @contextmanager
    def intervened(self, what: Intervention) -> Iterator[MaskCheck]:
        """Mask neurons until the block ends; then the mask check is complete.

        Cached keys and values depend on the intervention they were made under, so the prefix cache is emptied before
        and after.

        Raises:
            UserError: the model lacks the layer or a neuron, or the engine was made without a mask for the layer.
        """
        check_intervention(what, self.architecture.n_layers, self.architecture.hidden_size)
        if what.layer not in self.masked_layers:
            masked = ", ".join(map(str, self.masked_layers)) or "none"
            raise UserError(
                f"layer {what.layer} has no mask in this engine (layers with one: {masked}); load the engine with it"
            )
        shift = list(what.means) if what.mode == "mean" else [0.0] * len(what.neurons)
        self._mask(what.layer, list(what.neurons), what.factor if what.mode == "scale" else 0.0, shift)
        check, self.processed = MaskCheck(), 0
        try:
            yield check
            counts = self.llm.collective_rpc("masked_so_far", args=(what.layer,))
            check.processed, check.changed = self.processed, min(positions for positions, _ in counts)
            check.largest_miss = float(np.max([miss for _, miss in counts]))
        finally:
            self._mask(what.layer, [], 0.0, [])

    def _mask(self, layer: int, neurons: list[int], factor: float, shift: list[float]) -> None:
        self.llm.collective_rpc("mask_neurons", args=(layer, neurons, factor, shift))
        if not self.llm.reset_prefix_cache():
            raise UserError("vLLM kept its prefix cache while requests ran; finish them before a mask changes")
