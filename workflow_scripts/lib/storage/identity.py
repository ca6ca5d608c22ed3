"""Which model, revision, data set and shard a file belongs to, and whether the files of a job belong together.

Every file states this, with a fingerprint of the weights, in its metadata. A file from elsewhere under the expected
name is refused before anything is computed from it. Hand-made files may omit these fields.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.storage.tables import read_about

VERSION = ("model", "revision", "fingerprint")
KEYS = (*VERSION, "dataset")
"""The values that all files of one run share."""


def require(path: str | Path, metadata: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    """Raise unless the metadata of a file contain the expected values.

    Raises:
        UserError: a value is missing or different.
    """
    for key, value in expect.items():
        if metadata.get(key) != value:
            stated, required = json.dumps(metadata.get(key)), json.dumps(value)
            raise UserError(f"{path}: {key} is {stated}, but {required} is asked for; delete it and run again")


def same_run(expected: Mapping[str, Any], /, by_hand: bool = False, **tables: Any) -> dict[str, Any]:
    """Return the values of `KEYS` that the tables of a job and `expected` share; raise unless they agree.

    A keyword names the kind of one table or of several shards, such as `rollouts=paths` (`any`: of whatever kind); no
    two of these may be the same shard. `expected` is what the job knows already: any of `KEYS`, or the shard or layer
    that all tables must be.

    Raises:
        UserError: a table has another kind, run or shard than expected or than another table, or a shard occurs twice.
    """
    known, source = dict(expected), dict.fromkeys(expected, "the job")
    for kind, paths in tables.items():
        shards: dict[tuple[Any, ...], Any] = {}
        for path in [paths] if isinstance(paths, str | Path) else paths or []:
            metadata = read_about(path, ("kind", "shard", "layer", *KEYS), by_hand)
            if kind != "any" and not by_hand:
                require(path, {"kind": kind} | metadata, {"kind": kind})
            for key in metadata.keys() & {*KEYS, *expected}:
                known.setdefault(key, metadata[key])
                if metadata[key] != known[key]:
                    stated, required = json.dumps(metadata[key]), json.dumps(known[key])
                    difference = f"{path}: {key} is {stated}, but {required} in {source[key]}"
                    raise UserError(f"{difference}; delete the one that does not belong there and run again")
                source.setdefault(key, str(path))
            if "shard" in metadata:
                other = shards.setdefault((metadata.get("layer"), metadata["shard"]), path)
                if other is not path:
                    raise UserError(
                        f"{path}: shard {metadata['shard']}, as {other}; delete the one with the incorrect name"
                    )
    return {key: known[key] for key in KEYS if key in known}


def table_metadata(kind: str, identity: Mapping[str, Any], **more: Any) -> dict[str, str]:
    """Return the metadata of a table: its kind, its identity and more, each as JSON."""
    return {key: json.dumps(value) for key, value in {"kind": kind, **identity, **more}.items()}


Run = tuple[str, str]
"""Model and data set, the keys of the catalogue."""


def run_of(path: Path, kind: str) -> Run:
    """Return model and data set of a result file, from its path in the results folder.

    `kind` is `shard` (`.../{model}/{dataset}/{file}`), `file` (`.../{model}/{dataset}.parquet`) or `layer`
    (`.../{model}/{dataset}/{layer}/{file}`).
    """
    folder = path.parent.parent if kind == "layer" else path.parent
    return (folder.name, path.stem) if kind == "file" else (folder.parent.name, folder.name)


def group_by_run(paths: Sequence[Path], kind: str) -> dict[Run, list[Path]]:
    """Group files by run, runs and files in the order given.

    Raises:
        UserError: the metadata of a table name another run.
    """
    grouped: dict[Run, list[Path]] = {}
    for path in paths:
        grouped.setdefault(run_of(path, kind), []).append(path)
    for (model, dataset), files in grouped.items():
        same_run({"model": model, "dataset": dataset}, any=files)
        for path in files if kind == "layer" else []:
            same_run({"layer": int(path.parent.name)}, any=path)
    return grouped
