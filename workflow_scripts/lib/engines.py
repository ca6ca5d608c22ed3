"""Choosing an engine by its name in the configuration."""

from typing import Any

from workflow_scripts.lib.engine import Engine
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models import ModelConfig

ENGINES = ("transformers",)


def load_engine(name: str, model: ModelConfig, **settings: Any) -> Engine:
    """Load `model` into the engine called `name`; `settings` are the engine's own (`batch_size`).

    Raises:
        UserError: there is no engine of that name, or the model cannot be loaded.
    """
    if name == "transformers":
        from workflow_scripts.lib.transformers_engine import load

        return load(model, **settings)
    raise UserError(f"configuration: rollouts.engine: {name!r} is none of {', '.join(ENGINES)}")
