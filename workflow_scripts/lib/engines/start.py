"""Choosing an engine by its name in the configuration, and the options of a command line that starts one."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from workflow_scripts.lib.engines.interface import Engine, EngineOptions, Sampling
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, import_transformers
from workflow_scripts.lib.runtime.devices import claim

ENGINES = ("transformers", "vllm")
LIBRARIES = {"transformers": ("transformers",), "vllm": ("vllm", "transformers")}
"""The libraries that an engine's text depends on besides torch."""


def load_engine(
    name: str, model: ModelConfig, options: EngineOptions | None = None, masked_layers: Sequence[int] = ()
) -> Engine:
    """Load `model` into the engine called `name`. `masked_layers` are the layers for later calls of `intervened`.

    Raises:
        UserError: no engine has that name, it is not installed, there are too few GPUs, or the model cannot be loaded.
    """
    options = options or EngineOptions()
    claim(options.gpus)
    if name == "transformers":
        import_transformers()
        from workflow_scripts.lib.engines.transformers_engine import load

        return load(model, options.batch_size)
    if name == "vllm":
        from workflow_scripts.lib.engines.vllm_engine import VllmEngine

        return VllmEngine(model, options, masked_layers)
    raise UserError(f"configuration: rollouts.engine: {name!r} is none of {', '.join(ENGINES)}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a module that generates; none of them changes a result."""
    parser.add_argument("--batch-size", type=int, default=64, help="sequences at a time")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that vLLM splits the model among; 0: the CPU")
    parser.add_argument("--vllm", type=json.loads, default={}, help="JSON: section vllm of the configuration")


def options_of(arguments: argparse.Namespace) -> EngineOptions:
    """Return the options that were given on the command line."""
    return EngineOptions(arguments.batch_size, arguments.gpus, **arguments.vllm)


def start(
    settings: Any, model: ModelConfig, arguments: argparse.Namespace, masked_layers: Sequence[int] = ()
) -> Engine:
    """Start the engine of section `rollouts` as the command line says (`add_options`).

    Raises:
        UserError: as `load_engine`.
    """
    return load_engine(settings.engine, model, options_of(arguments), masked_layers)


def sampling_of(settings: Any, logprobs: bool = False, max_tokens: int | None = None) -> Sampling:
    """Return how section `rollouts` draws tokens; `max_tokens` replaces the configured number."""
    limit = settings.max_tokens if max_tokens is None else max_tokens
    return Sampling(settings.temperature, settings.top_p, limit, settings.stop, logprobs)
