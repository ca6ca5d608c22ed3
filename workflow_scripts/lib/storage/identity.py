"""Whose a file is: model, revision, fingerprint of the weights, data set, shard; and whether a job's files go together.

Every record says it of itself. A file that came from elsewhere under the right name is refused before anything is
computed from it. What a file made by hand does not say is not held against it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.storage.tables import read_about

VERSION = ("model", "revision", "fingerprint")
KEYS = (*VERSION, "dataset")
"""What all files of one run agree on."""


def require(path: str | Path, metadata: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    """See that a file is what was asked for.

    Raises:
        UserError: its metadata say otherwise, or nothing.
    """
    for key, value in expect.items():
        if metadata.get(key) != value:
            found, wanted = json.dumps(metadata.get(key)), json.dumps(value)
            raise UserError(f"{path}: {key} is {found}, but {wanted} is asked for; delete it and run again")


def same_run(told: Mapping[str, Any], /, by_hand: bool = False, **tables: Any) -> dict[str, Any]:
    """What the tables of a job and `told` say together of model and data set.

    A keyword names the kind of one table or of several shards, such as `rollouts=paths` (`any`: of whatever kind); no
    two of these may be the same shard. `told` is what the job knows already: any of `KEYS`, or the shard or layer that
    all tables must be.

    Raises:
        UserError: a table is of another kind, run or shard than told or than another table, or a shard stands twice.
    """
    known, source = dict(told), dict.fromkeys(told, "the job")
    for kind, paths in tables.items():
        shards: dict[tuple[Any, ...], Any] = {}
        for path in [paths] if isinstance(paths, str | Path) else paths or []:
            says = read_about(path, ("kind", "shard", "layer", *KEYS), by_hand)
            if kind != "any" and not by_hand:
                require(path, {"kind": kind} | says, {"kind": kind})
            for key in says.keys() & {*KEYS, *told}:
                known.setdefault(key, says[key])
                if says[key] != known[key]:
                    found, wanted = json.dumps(says[key]), json.dumps(known[key])
                    where = f"{path}: {key} is {found}, but {wanted} in {source[key]}"
                    raise UserError(f"{where}; delete the one that does not belong there and run again")
                source.setdefault(key, str(path))
            if "shard" in says and (other := shards.setdefault((says.get("layer"), says["shard"]), path)) is not path:
                raise UserError(f"{path}: shard {says['shard']}, as {other}; delete the one with the wrong name")
    return {key: known[key] for key in KEYS if key in known}


def table_metadata(kind: str, identity: Mapping[str, Any], **more: Any) -> dict[str, str]:
    """The metadata of a table."""
    return {key: json.dumps(value) for key, value in {"kind": kind, **identity, **more}.items()}


Run = tuple[str, str]
"""Model and data set, the keys of the catalogue."""


def run_of(path: Path, kind: str) -> Run:
    """Model and data set of a result file, read from its place in the results folder.

    `kind` is `shard` (`.../{model}/{dataset}/{file}`), `file` (`.../{model}/{dataset}.parquet`) or `layer`
    (`.../{model}/{dataset}/{layer}/{file}`).
    """
    folder = path.parent.parent if kind == "layer" else path.parent
    return (folder.name, path.stem) if kind == "file" else (folder.parent.name, folder.name)


def group_by_run(paths: Sequence[Path], kind: str) -> dict[Run, list[Path]]:
    """Files of each run, runs and files in the order given.

    Raises:
        UserError: a table says that it is of another run.
    """
    grouped: dict[Run, list[Path]] = {}
    for path in paths:
        grouped.setdefault(run_of(path, kind), []).append(path)
    for (model, dataset), several in grouped.items():
        same_run({"model": model, "dataset": dataset}, any=several)
        for path in several if kind == "layer" else []:
            same_run({"layer": int(path.parent.name)}, any=path)
    return grouped
