"""Tables on disk: Parquet by Polars, written whole or not at all, with a checksum over every byte."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.errors import UserError, one_line
from workflow_scripts.lib.storage.checksums import PLACEHOLDER, fill, intact
from workflow_scripts.lib.storage.files import atomic_path


def write_parquet(frame: pl.DataFrame, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write `frame` under a temporary name and rename it to `path`; `metadata` goes into the file."""
    with atomic_path(path) as temporary:
        frame.write_parquet(temporary, metadata={**(metadata or {}), "checksum": PLACEHOLDER})
        fill(temporary)


def read_parquet(paths: str | Path | Sequence[str | Path], by_hand: bool = False) -> pl.DataFrame:
    """Read one table from one or several shards, in the order given.

    `by_hand`: accept a file without a checksum.

    Raises:
        UserError: a file is missing, damaged, or was not written by the project.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    return pl.concat([read_checked(path, pl.read_parquet, by_hand) for path in listed])


def read_about(path: str | Path, names: Sequence[str], by_hand: bool = False) -> dict[str, Any]:
    """Read these names from a table's metadata, decoded; missing names are left out.

    Raises:
        UserError: as `read_parquet`.
    """
    metadata = read_checked(path, pl.read_parquet_metadata, by_hand)
    return {name: json.loads(metadata[name]) for name in names if name in metadata}


def check_once(frame: pl.DataFrame, keys: Sequence[str], what: str) -> None:
    """Raise if a record occurs twice in `frame`, because a mean over overlapping shards would count it twice.

    Raises:
        UserError: a record occurs twice; `what` names the table.
    """
    twice = frame.select(keys).filter(pl.struct(keys).is_duplicated())
    if len(twice):
        record = ", ".join(f"{key} {value}" for key, value in twice.sort(keys).row(0, named=True).items())
        raise UserError(f"{what}: {record} occurs twice; delete the shards that contain it and run again")


def read_checked(path: str | Path, read: Callable[..., Any], by_hand: bool = False) -> Any:
    """Return what `read` returns for a file that is what its writer wrote.

    Raises:
        UserError: as `read_parquet`.
    """
    try:
        if (whole := intact(path)) or (whole is None and by_hand):
            return read(path)
        reason = "damaged or cut off" if whole is False else "has no checksum"
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({one_line(error)}); delete it and run again") from error
    raise UserError(f"{path}: not a readable Parquet file ({reason}); delete it and run again")
