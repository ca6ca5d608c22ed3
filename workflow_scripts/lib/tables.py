"""Tables on disk: Parquet through Polars, written whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import atomic_path


def write_parquet(frame: pl.DataFrame, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write `frame` under a temporary name and rename it onto `path`; `metadata` goes into the file."""
    with atomic_path(path) as temporary:
        frame.write_parquet(temporary, metadata=metadata)


def read_parquet(paths: str | Path | Sequence[str | Path]) -> pl.DataFrame:
    """Read one table from one or several shards, in the order given.

    Raises:
        UserError: a file is missing or is not a readable Parquet file.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    frames = []
    for path in listed:
        try:
            frames.append(pl.read_parquet(path))
        except (OSError, pl.exceptions.PolarsError) as error:
            first_line = str(error).strip().splitlines()[0]
            raise UserError(f"{path}: not a readable Parquet file ({first_line}); delete it and run again") from error
    return pl.concat(frames)
