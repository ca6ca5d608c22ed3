"""Small runs of trajectories for the tests: hand-made ones with planted neurons, and files around a tiny model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from tiny_models import save_tiny_model

from workflow_scripts.lib.models.activation_files import write_activations
from workflow_scripts.lib.models.load import ModelConfig, fingerprint, load_model
from workflow_scripts.lib.models.states import Response, dump
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.probes import perceptrons
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.trajectories.traces import SCHEMA, Followed, Traced

LAYER, WIDTH = 3, 32
NEURONS = [
    Followed(7, "dopamine", 1, -1, -0.5),
    Followed(3, "dopamine", 2),
    Followed(20, "random"),
    Followed(21, "random"),
]


def row_of(name: str, split: str, deltas: list[float], activations: np.ndarray, first: float = 0.5) -> dict[str, Any]:
    """A response whose paragraphs have three tokens each and these TD errors; reward by the sign of their sum."""
    k = len(deltas)
    values = (first + np.concatenate([[0], np.cumsum(deltas)])).tolist()
    return {
        "problem_id": name,
        "sample": 0,
        "split": split,
        "reward": int(sum(deltas) > 0),
        "pieces": [f" {name}{t}" + ("\n\n" if t % 3 == 2 else "") for t in range(3 * k)],
        "boundaries": list(range(0, 3 * k + 1, 3)),
        **dict.fromkeys(("values", "value_low", "value_high"), values),
        **dict.fromkeys(("deltas", "delta_low", "delta_high"), deltas),
        "kept": [abs(delta) > 0.3 for delta in deltas],
        "activations": activations.tolist(),
    }


def planted(n: int = 40, noise: float = 0.1, seed: int = 0, dataset: str = "ledger") -> Traced:
    """Neuron 7 is minus the TD error at every token, neuron 3 the TD error, both with noise; the others are noise."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(n):
        deltas = rng.uniform(-0.5, 0.5, 4).round(3)
        signal = np.repeat(deltas, 3)
        own = rng.normal(0, 1, (4, 12))
        own[0], own[1] = noise * own[0] - signal, noise * own[1] + signal
        split = "validation" if i % 2 else "train"
        rows.append(row_of(f"p-{i:03d}", split, deltas.tolist(), own, float(rng.uniform(0, 1))))
    return Traced("grpo", dataset, LAYER, "response", NEURONS, pl.DataFrame(rows, schema=SCHEMA))


def ablated_frame(traced: Traced, scale: dict[str, float], draws: int = 3, own_layers: int = 0) -> pl.DataFrame:
    """The table of an ablation that adds noise of the given size under each condition."""
    rng, rows = np.random.default_rng(1), []
    for row in traced.responses.iter_rows(named=True):
        for place in traced.places("dopamine"):
            plain = np.array(row["activations"][place])
            for name, size in scale.items():
                for draw in range(draws if name.startswith("random") else 1):
                    own = plain + size * rng.normal(0, 1, len(plain))
                    none = name == "none"
                    found: dict[str, Any] = {name: row[name] for name in ("problem_id", "sample", "split")}
                    found |= {"neuron": traced.neurons[place].neuron, "condition": name, "draw": draw}
                    found["correlation"] = None if none else float(np.corrcoef(own, plain)[0, 1])
                    found["rmse"] = None if none else float(np.sqrt(((own - plain) ** 2).mean()))
                    found["own_layers"] = own_layers if name == "value" else 0
                    rows.append(found | {"means": own.reshape(-1, 3).mean(1).tolist(), "trajectory": own.tolist()})
    return pl.DataFrame(rows, infer_schema_length=None)


def write_ablated(frame: pl.DataFrame, path: Path, layers: list[int]) -> None:
    """The table of an ablation as its rule writes it."""
    keys = frame.select("condition", "draw").unique().rows() if len(frame) else []
    proofs = [{"condition": c, "draw": d, "layer": 1, "largest_miss": 0.0} for c, d in keys if c != "none"]
    about = {"format": "ablated-1", "ablated_layers": layers, "proofs": proofs}
    write_parquet(frame, path, {name: json.dumps(value) for name, value in about.items()})


def tiny_run(folder: Path, n: int = 24) -> Path:
    """All files of a run of a tiny model: n problems (two thirds for training), responses of 9 tokens, one of none."""
    config = ModelConfig("tiny", str(save_tiny_model(folder / "model")))
    tokenizer, model = load_tokenizer(config), load_model(config)
    rng = np.random.default_rng(0)
    names = [f"p-{i:03d}" for i in range(n)]
    lengths = [0 if i == n - 3 else 9 for i in range(n)]
    responses = [
        Response(name, 0, rng.integers(13, 190, 4 + i % 3).tolist(), rng.integers(13, 190, lengths[i]).tolist())
        for i, name in enumerate(names)
    ]
    split = ["train" if i % 3 else "validation" for i in range(n)]
    write_parquet(pl.DataFrame({"problem_id": names, "split": split}), folder / "problems.parquet")
    identity = {"model": "tiny", "revision": None, "fingerprint": fingerprint(config.path), "dataset": "sums"}
    for shard, part in enumerate((responses[: n // 2], responses[n // 2 :])):
        states = dump(model, part, [1, 2, LAYER], torch.float16, 64)
        about = identity | {"dtype": "float16", "n_layers": 3, "shard": shard}
        write_activations(states, about, folder / f"activations/{shard}.safetensors")
        rewards = [int(rng.random() < 0.5) for _ in part]
        rows = [
            {"problem_id": one.problem_id, "sample": 0, "prompt_ids": one.prompt_ids, "response_ids": one.response_ids}
            | {"reward": reward, "text": tokenizer.decode(list(one.response_ids), clean_up_tokenization_spaces=False)}
            for one, reward in zip(part, rewards, strict=True)
        ]
        write_parquet(pl.DataFrame(rows, infer_schema_length=None), folder / f"rollouts/{shard}.parquet")
    write_values(folder, responses, rng)
    for kind in ("value", "dopamine"):
        specs = perceptrons.specs_of([1, 2, LAYER], [0, 1], [0])
        stacks = [perceptrons.initial_weights(10 * i + (kind == "value"), WIDTH, 4, 1) for i in range(len(specs))]
        tensors = {name: torch.cat([one[name] for one in stacks]) for name in perceptrons.PARAMETERS}
        ones = torch.ones(len(specs), WIDTH)
        stack = perceptrons.Probes(specs, **tensors, mean=0 * ones, scale=ones)
        perceptrons.save(stack, identity | {"kind": kind}, folder / f"{kind}.safetensors")
    return folder


def write_values(folder: Path, responses: list[Response], rng: np.random.Generator) -> None:
    """Values at boundaries 0, 3, 6 and 9 (of an empty response, at 0), and the paragraphs."""
    rows, paragraphs = [], []
    for one in responses:
        offsets = [0, 3, 6, 9] if one.response_ids else [0]
        value = rng.random(len(offsets)).tolist()
        for k, offset in enumerate(offsets):
            row: dict[str, Any] = {"problem_id": one.problem_id, "sample": 0, "boundary": k, "offset": offset}
            delta = value[k] - value[k - 1] if k else None
            row |= {"value": value[k], "ci_low": value[k] - 0.1, "ci_high": value[k] + 0.1, "delta": delta}
            row |= dict.fromkeys(("delta_low", "delta_high"), delta)
            rows.append(row | {"kept": abs(delta) > 0.2 if delta is not None else None})
            if k:
                paragraphs.append((one.problem_id, 0, k, offsets[k - 1], offset))
    write_parquet(pl.DataFrame(rows, infer_schema_length=None), folder / "values.parquet")
    names = ["problem_id", "sample", "paragraph", "start", "end"]
    write_parquet(pl.DataFrame(paragraphs, schema=names, orient="row"), folder / "paragraphs.parquet")


def files(folder: Path, kind: str, ending: str, reverse: bool = False) -> list[str]:
    """The shards of one kind, as arguments."""
    return [str(path) for path in sorted((folder / kind).glob(f"*.{ending}"), reverse=reverse)]


def trace_arguments(folder: Path, reverse: bool = False, **section: Any) -> list[str]:
    """The command line of `trace_neurons`, output `traced.parquet`."""
    normalization = section.pop("normalization", "response")
    params = {
        "model": {"key": "tiny", "path": str(folder / "model")},
        "trajectories": {"layer": LAYER, "n_neurons": 3, "seed": 0} | section,
        "dopamine_probes": {"normalization": normalization},
    }
    flags = ["--params", json.dumps(params), "--problems", str(folder / "problems.parquet")]
    flags += ["--probes", str(folder / "dopamine.safetensors"), "--values", str(folder / "values.parquet")]
    flags += ["--paragraphs", str(folder / "paragraphs.parquet")]
    flags += ["--rollouts", *files(folder, "rollouts", "parquet", reverse)]
    flags += ["--activations", *files(folder, "activations", "safetensors", reverse)]
    return [*flags, "--output", str(folder / "traced.parquet")]


def ablate_arguments(folder: Path, batch_tokens: int = 64, reverse: bool = False, **section: Any) -> list[str]:
    """The command line of `ablate_value_neurons`, output `ablated.parquet`."""
    wanted = {"ablated_layers": [1, 2], "ablated_share": 0.25, "draws": 2, "seed": 0} | section
    params = {
        "model": {"key": "tiny", "path": str(folder / "model")},
        "activations": {"dtype": "float16"},
        "trajectories": wanted,
    }
    flags = ["--params", json.dumps(params), "--traced", str(folder / "traced.parquet")]
    flags += ["--probes", str(folder / "value.safetensors"), "--batch-tokens", str(batch_tokens)]
    flags += ["--rollouts", *files(folder, "rollouts", "parquet", reverse)]
    flags += ["--activations", *files(folder, "activations", "safetensors", reverse)]
    return [*flags, "--output", str(folder / "ablated.parquet")]
