"""Check what models and data sets of a configuration name: folders, files, names of the hub, records."""

import os.path
import re
from collections.abc import Iterable
from pathlib import Path

from workflow_scripts.lib.config.schema import Path as KeyPath
from workflow_scripts.lib.config.study import Config
from workflow_scripts.lib.errors import clip, shown
from workflow_scripts.lib.models.load import read_architecture
from workflow_scripts.lib.problems.records import ENDINGS, file_records, url_ending

MOST_SHARDS = 100_000
"""Shards of a data set; each is a job of every stage, and Snakemake holds them all in memory."""
HUB_NAME = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*/\w([\w.-]*\w)?", re.ASCII)
SOURCES = {
    "task": ("reference",),
    "path": ("file", "hub"),
    "url": ("file",),
    "sha256": ("file",),
    "revision": ("hub",),
    "subset": ("hub",),
}
"""Which sources read a key; the others would ignore it."""


def is_hub_name(path: str) -> bool:
    """Return whether `path` can be the name of a model or a data set on the hub, and no path on this machine."""
    owner = path.partition("/")[0]
    return len(path) <= 96 and HUB_NAME.fullmatch(path) is not None and not os.path.isdir(owner)


def folder_faults(name: str, model: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield a local model folder that is missing or incomplete, and a name that the hub cannot have."""
    key, path = ("models", name, "path"), model["path"]
    if not os.path.isdir(path):
        if not is_hub_name(path):
            yield key, f"{clip(path)}: no such folder; correct the path, or write owner/name for a model of the hub"
        return
    wanted = ("config.json", "*.safetensors", "tokenizer*.json")
    if missing := [pattern for pattern in wanted if not any(Path(path).glob(pattern))]:
        advice = "a model folder has config, safetensors and tokenizer"
        yield key, f"{clip(path)} holds no {' and no '.join(missing)}; {advice}"


def layer_faults(name: str, model: Config, config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield layers that a local model does not have."""
    if not os.path.isdir(model["path"]):
        return
    count = read_architecture(model["path"]).n_layers
    for number, layer in enumerate(config["activations"]["layers"]):
        if layer > count:
            fault = f"model {name} has no layer {layer}; its layers are 1 to {count}, and 0 for the embedding"
            yield ("activations", "layers", number), fault


def shard_faults(key: KeyPath, n_problems: int, shard_size: int) -> Iterable[tuple[KeyPath, str]]:
    """Yield a shard size that makes more jobs than Snakemake can hold."""
    if n_problems > MOST_SHARDS * shard_size:
        least = -(-n_problems // MOST_SHARDS)
        fault = f"{shard_size} cuts {n_problems} problems into more than {MOST_SHARDS} shards"
        yield (*key, "shard_size"), f"{fault}; raise it to {least} or more"


def dataset_faults(name: str, dataset: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield a data set without what its source wants, or with what it ignores, and faults of its file."""
    key: KeyPath = ("datasets", name)
    source = dataset["source"]
    yield from shard_faults(key, dataset["n_problems"], dataset["shard_size"])
    wanted = {"reference": "task", "hub": "path", "file": "path"}[source]
    if dataset[wanted] is None and (source != "file" or dataset["url"] is None):
        yield (*key, "source"), f"{source} needs `{wanted}`; add it"
    for ignored, readers in SOURCES.items():
        if dataset[ignored] is not None and source not in readers:
            yield (*key, ignored), f"is only for source: {' or '.join(readers)}; remove it, or set it to null"
    yield from {"reference": task_faults, "hub": hub_faults, "file": file_faults}[source](key, dataset)


def task_faults(key: KeyPath, dataset: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield what the problems of a task cannot have: a hash of their own, answers other than integers."""
    if dataset["content"] is not None:
        yield (*key, "content"), "the problems of a task have no end, and no hash; remove it"
    if dataset["answer"] != "boxed_integer":
        fault = f"{dataset['answer']} does not fit a task, whose answers are integers; write boxed_integer"
        yield (*key, "answer"), fault


def hub_faults(key: KeyPath, dataset: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield a path that is neither a folder nor a name that the hub can have."""
    path = dataset["path"]
    if not os.path.isdir(path) and not is_hub_name(path):
        yield (*key, "path"), f"{shown(path)} is no folder, and no name on the hub; write owner/name"


def file_faults(key: KeyPath, dataset: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield a file that is missing or given twice, an address without a hash, and faults of the records."""
    if dataset["url"] is None and not os.path.isfile(dataset["path"]):
        advice = "correct the path (it is relative to the project's folder)"
        yield (*key, "path"), f"{clip(dataset['path'])}: no such file; {advice}"
    elif dataset["url"] is None:
        yield from record_faults(key, dataset)
    else:
        yield from url_faults(key, dataset)


def url_faults(key: KeyPath, dataset: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield an address beside a path, of a kind of file that cannot be read, or without a hash."""
    if dataset["path"] is not None:
        yield (*key, "path"), "has a url beside it; remove one of the two"
    if url_ending(dataset["url"]) is None:
        yield (*key, "url"), f"ends with none of {', '.join(ENDINGS)}; name a file of one of these kinds"
    if dataset["sha256"] is None and dataset["content"] is None:
        yield (*key, "url"), "needs sha256, the hash of the file, or content, that of its problems; add one of them"


def record_faults(key: KeyPath, dataset: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield that there are fewer records than wanted.

    Raises:
        UserError: a malformed record (from the reader that the workflow itself uses; it names file and line).
    """
    from workflow_scripts.lib.problems.readers import adapt

    count = len(adapt(file_records(dataset["path"], dataset["sha256"]), {"key": key[1], **dataset}))
    if count == 0:
        yield (*key, "path"), f"{clip(dataset['path'])} is empty; write problems into it, one JSON object a line"
    elif count < dataset["n_problems"]:
        fault = f"{dataset['n_problems']} wanted but {dataset['path']} has {count}; set it to at most {count}"
        yield (*key, "n_problems"), fault
