"""Models: their entry in the configuration, how they are loaded, their number of layers, their blocks.

Nothing here depends on a model family. Torch and transformers are imported only where they are needed, because the
check of the configuration uses `read_architecture` and must be fast.
"""

import gc
import hashlib
import json
import os.path
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts.lib.errors import UserError, clip, kind, one_line
from workflow_scripts.lib.runtime.devices import compute_device
from workflow_scripts.lib.storage.files import model_files, sha256

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
DTYPES = ("float32", "bfloat16", "float16")
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTH_KEYS = ("hidden_size", "n_embd", "d_model", "dim")
MOST_LAYERS = 10_000
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")


@dataclass(frozen=True)
class ModelConfig:
    """One entry of `models` in the configuration; `key` is its name there."""

    key: str
    path: str
    """A local folder in Hugging Face format, or a hub name."""
    revision: str | None = None
    dtype: str = "float32"
    prompt: str = "chat"
    instruction: str = INSTRUCTION
    """Line after the question; empty for none. `qwen-boxed` always uses its own."""
    trust_remote_code: bool = False

    @classmethod
    def from_entry(cls, entry: dict[str, Any], key: str | None = None) -> "ModelConfig":
        """Build from the configuration's dictionary; `key` is in it or an argument.

        Raises:
            UserError: an unknown key, or a dtype that is none of `DTYPES`.
        """
        named = {"key": key, **entry} if key is not None else dict(entry)
        named.pop("size", None)  # used only by `make plan`
        name = named.get("key", "?")
        if unknown := sorted(set(named) - {field.name for field in fields(cls)}):
            raise UserError(f"configuration: models.{name}: unknown key {', '.join(unknown)}; remove it")
        config = cls(**{k: v for k, v in named.items() if v is not None or k == "revision"})
        if config.dtype not in DTYPES:
            raise UserError(f"configuration: models.{name}.dtype: {config.dtype!r} is none of {', '.join(DTYPES)}")
        return config

    @property
    def hub_options(self) -> dict[str, Any]:
        """The revision as an option of transformers' loaders; empty if none is set."""
        return {"revision": self.revision} if self.revision else {}


@dataclass(frozen=True)
class Architecture:
    """Number of blocks, width of the residual stream, longest context in tokens (None: not stated)."""

    n_layers: int
    hidden_size: int
    context: int | None


def is_local(path: str) -> bool:
    """Return whether `path` is a folder on this machine rather than a hub name.

    Raises:
        UserError: it can only be a folder, and the folder does not exist.
    """
    if os.path.isdir(path):  # also False for a name that no folder can have
        return True
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise UserError(f"{path}: no such model folder; correct models.<name>.path or create the folder")
    return False


def _config_file(path: str, revision: str | None) -> Path:
    if is_local(path):
        return Path(path) / "config.json"
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(path, "config.json", revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{path}: neither a folder here nor a model on the hub; check the name and the network"
        ) from error


def read_architecture(path: str, revision: str | None = None) -> Architecture:
    """Read layers, width and context from `config.json` (or its `text_config`), without loading the model.

    Raises:
        UserError: the file is missing, is not JSON, or states no number of layers or no width.
    """
    file = _config_file(path, revision)
    raw = _read_json(file)
    text = raw.get("text_config", raw)
    if not isinstance(text, dict):
        raise UserError(f"{file}: text_config is not a mapping; fetch the model again")

    def first(keys: tuple[str, ...]) -> int | None:
        return next((text[key] for key in keys if type(text.get(key)) is int), None)

    layers, width = first(LAYER_KEYS), first(WIDTH_KEYS)
    if layers is None or width is None:
        unknown = " and ".join(keys[0] for keys, value in ((LAYER_KEYS, layers), (WIDTH_KEYS, width)) if value is None)
        raise UserError(f"{file}: {unknown} not found; only decoder language models can be used")
    if not 0 < layers <= MOST_LAYERS or width < 1:
        raise UserError(f"{file}: {clip(str(layers))} layers of {clip(str(width))} are no model; fetch the model again")
    return Architecture(layers, width, first(CONTEXT_KEYS))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{file}: missing; a model folder needs a config.json") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); fetch the model again") from error
    except RecursionError as error:
        raise UserError(f"{file}: is nested too deeply; fetch the model again") from error
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        raise UserError(f"{file}: not valid JSON ({one_line(error)}); fetch the model again") from error
    if not isinstance(raw, dict):
        raise UserError(f"{file}: is {kind(raw)}, not a mapping; fetch the model again")
    return raw


def fingerprint(path: str, revision: str | None = None) -> str:
    """Return a SHA-256 over names and contents of a folder's model files, or `name@revision` for a model of the hub.

    Raises:
        UserError: the folder contains no model file.
    """
    if not is_local(path):
        return f"{path}@{revision or 'main'}"
    files = model_files(path)
    if not files:
        raise UserError(f"{path}: contains no model files; correct models.<name>.path")
    lines = "".join(f"{file.name} {sha256(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def import_transformers() -> None:
    """Import transformers in two thirds of the time, which every job with a model needs before it begins.

    It imports scikit-learn, but only for assisted generation; and no object that an import makes is garbage.
    """
    hidden = "sklearn" not in sys.modules
    if hidden:
        sys.modules["sklearn"] = None  # type: ignore[assignment]  # not found, says Python
    gc.disable()
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    finally:
        gc.enable()
        if hidden:
            del sys.modules["sklearn"]


def load_model(config: ModelConfig) -> "PreTrainedModel":
    """Load for inference: eval mode, no gradients, scaled-dot-product attention, on a GPU if there is one.

    Raises:
        UserError: the files are missing, cut off, of an unknown family, or lack weights.
    """
    import_transformers()
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    is_local(config.path)
    device = compute_device()  # before a library asks CUDA for anything
    disable_progress_bar()  # its carriage returns spoil log files
    load: Any = AutoModelForCausalLM.from_pretrained
    options: dict[str, Any] = {
        "dtype": getattr(torch, config.dtype),
        "trust_remote_code": config.trust_remote_code,
        "use_safetensors": True,  # the other format is a pickle
        "output_loading_info": True,
    }
    options |= config.hub_options
    try:
        try:
            model, info = load(config.path, attn_implementation="sdpa", **options)
        except ValueError as error:  # a family without this kind of attention uses its own
            if "scaled_dot_product_attention" not in str(error):
                raise
            model, info = load(config.path, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(f"{config.path}: model {config.key} cannot be loaded ({one_line(error)})") from error
    if missing := sorted(info["missing_keys"]):
        raise UserError(f"{config.path}: {len(missing)} weights are missing ({missing[0]}, ...); fetch the model again")
    model.requires_grad_(False)
    return model.eval().to(device)


def decoder_blocks(model: "PreTrainedModel") -> "list[torch.nn.Module]":
    """Return the model's blocks in order: the module list of length n_layers nearest to the token embedding.

    Other lists may have that length by chance (experts inside a block, blocks of an image encoder), hence "nearest".

    Raises:
        UserError: the model has no such list.
    """
    from torch.nn import ModuleList

    n_layers = model.config.get_text_config(decoder=True).num_hidden_layers
    names = {id(module): name for name, module in model.named_modules()}
    parent = names[id(model.get_input_embeddings())].rpartition(".")[0]
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, ModuleList) and len(m) == n_layers]
    if not lists:
        raise UserError(f"{type(model).__name__}: no list of {n_layers} blocks found; this model cannot be hooked")
    return list(min(lists, key=lambda item: (item[0].rpartition(".")[0] != parent, item[0].count(".")))[1])


def identity_of(config: ModelConfig, dataset: str | None = None) -> dict[str, Any]:
    """Return the metadata that identify the model in files; the files of a local model are read for it."""
    model = {"model": config.key, "revision": config.revision, "fingerprint": fingerprint(config.path, config.revision)}
    return model if dataset is None else model | {"dataset": dataset}


def vocabulary_of(config: ModelConfig) -> int:
    """Return how many tokens the model can predict, from its configuration only.

    Raises:
        UserError: the configuration cannot be read.
    """
    from transformers import AutoConfig

    try:
        settings = AutoConfig.from_pretrained(
            config.path, trust_remote_code=config.trust_remote_code, **config.hub_options
        )
        return int(settings.get_text_config(decoder=True).vocab_size)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{config.path}: size of the vocabulary cannot be read ({one_line(error)})") from error
