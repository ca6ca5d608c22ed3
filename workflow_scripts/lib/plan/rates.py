"""Seconds of work on a named device: two lines of arithmetic each, from data sheets and assumed utilisation.

Generating: a decoding step of B sequences reads all weights and the keys and values of B contexts once, and computes
2 x parameters x B operations; it takes the longer of both, and at least the fixed cost of a step. B is the configured
batch, unless memory or the number of sequences is smaller. The last sequence of a shard may be decoded alone.

Reading: 2 x parameters operations a token, at the reached share of the peak. Attention is left out: at a few thousand
tokens it adds little. Training of probes: their operations in single precision, and the bytes of the states moved.
"""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import read_architecture
from workflow_scripts.lib.models.size import WIDTHS
from workflow_scripts.lib.plan.quantities import Size, Work


@dataclass(frozen=True)
class Device:
    """Peak operations a second in half and single precision, bytes a second and of memory; reached shares of them.

    `states` is the bytes of hidden states a second. The others are seconds: `step` the minimum of a decoding step,
    `fitted` of fitting confidence, `start` of starting a job (one that reads with a language model, one that generates,
    any other), `graded` of grading a response, by answer type.
    """

    key: str
    name: str
    half: float
    single: float
    bandwidth: float
    memory: float
    generating: float
    reading: float
    training: float
    step: float
    states: float
    fitted: float
    start: dict[str, float]
    graded: dict[str, float]


@dataclass(frozen=True)
class Setting:
    """Running, as configured: engine, sequences at a time, number format, the answer type graded."""

    engine: str
    batch_size: int
    dtype: str
    memory_share: float
    answer: str
    context: float


READERS = {"dump_activations", "measure_neurons", "ablate_value_neurons"}
"""Rules that read with transformers, whatever the engine."""


def device(assumptions: dict[str, Any], key: str, end: int) -> Device:
    """Return a named device at one end of the assumed ranges: 0 the fast, 1 the slow one.

    Raises:
        UserError: no such device is described.
    """
    if key not in assumptions["devices"]:
        known = ", ".join(assumptions["devices"])
        raise UserError(f"GPU={key}: resources/plan/assumptions.yaml describes {known}; name one, or add it there")
    sheet = assumptions["devices"][key]
    used = assumptions["utilisation"]["cpu" if key == "cpu" else "gpu"]
    share = {name: used[name]["range"][1 - end] for name in ("generating", "reading", "training")}
    seconds = assumptions["seconds"]
    kinds = dict.fromkeys(("other", "read", "generate"), "start")
    if key != "cpu":
        kinds |= {"read": "load", "generate": "engine_start"}
    return Device(
        key,
        **sheet,
        **share,
        step=used["step"]["range"][end],
        states=assumptions["states_per_second"]["range"][1 - end],
        fitted=seconds["fitted"]["range"][end],
        start={kind: seconds[name]["range"][end] for kind, name in kinds.items()},
        graded={answer: one["range"][end] for answer, one in seconds["graded"].items()},
    )


def batch(work: Work, jobs: int, size: Size, device: Device, how: Setting) -> float:
    """Return the sequences that are decoded at a time.

    They are at most those of a shard, and at most those whose keys and values fit into memory.
    """
    width = WIDTHS[how.dtype]
    room = device.memory * how.memory_share - size.parameters * width
    fits = room / max(key_bytes(size, width) * how.context, 1)
    return max(1.0, min(how.batch_size, work.sequences / jobs, fits))


def key_bytes(size: Size, width: int) -> float:
    """Return the bytes of the keys and values of one token."""
    return 2 * size.n_layers * size.key_width * width


def step_seconds(sequences: float, size: Size, device: Device, how: Setting) -> float:
    """Return the seconds of one decoding step."""
    width = WIDTHS[how.dtype]
    touched = size.parameters * width + sequences * how.context * key_bytes(size, width)
    computed = 2 * size.parameters * sequences / (device.half * device.reading)
    return max(touched / (device.bandwidth * device.generating), computed, device.step)


def seconds(work: Work, jobs: int, size: Size, device: Device, how: Setting, slow: bool) -> float:
    """Return the seconds of all of a rule's jobs of one run, one after another.

    `slow`: each shard has a sequence that takes all it may.
    """
    kind = "generate" if work.generated else "read" if work.rule in READERS else "other"
    if kind == "generate" and how.engine != "vllm":
        kind = "read"
    total = jobs * device.start[kind]
    if work.generated:
        side_by_side = batch(work, jobs, size, device, how)
        total += work.generated / side_by_side * step_seconds(side_by_side, size, device, how)
        if slow:
            total += jobs * work.longest * step_seconds(1, size, device, how)
    total += work.read * 2 * size.parameters / (device.half * device.reading)
    total += work.flops / (device.single * device.training) + work.moved / device.states
    return total + work.fitted * device.fitted + work.graded * device.graded.get(how.answer, device.graded["other"])


def sizes(models: dict[str, Any]) -> dict[str, Size]:
    """Return the sizes of the models that are known.

    They are those of local folders, and those that the configuration states.
    """
    known = {}
    for name, entry in models.items():
        if Path(entry["path"]).is_dir():
            known[name] = local_size(Path(entry["path"]))
        elif entry.get("size"):
            known[name] = Size(**entry["size"])
    return known


def local_size(folder: Path) -> Size:
    """Read the size of a model folder from its `config.json` and the headers of its weights."""
    architecture = read_architecture(str(folder))
    raw = json.loads((folder / "config.json").read_text())
    text = raw.get("text_config", raw)
    heads = text.get("num_attention_heads") or 1
    width = text.get("head_dim") or architecture.hidden_size // heads
    return Size(
        sum(map(parameters, folder.glob("*.safetensors"))),
        architecture.hidden_size,
        architecture.n_layers,
        text.get("vocab_size") or 0,
        width * (text.get("num_key_value_heads") or heads),
    )


def parameters(path: Path) -> int:
    """Count the numbers in a safetensors file, by its header; 0 for another file."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            header = json.loads(file.read(min(length, 100_000_000)))
        except (json.JSONDecodeError, UnicodeDecodeError):
            return 0
    return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
