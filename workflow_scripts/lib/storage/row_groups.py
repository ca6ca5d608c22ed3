"""Large tables on disk, of which one part at a time is in memory: each part is a row group of a Parquet file.

Columns of lists of float32 are stored byte by byte (BYTE_STREAM_SPLIT): signs and exponents, which are alike, then
compress well. Any reader of Parquet reads the whole table.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from workflow_scripts.lib.storage.checksums import PLACEHOLDER, fill
from workflow_scripts.lib.storage.files import atomic_path
from workflow_scripts.lib.storage.tables import read_checked


def write_groups(parts: Iterable[pl.DataFrame], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write the parts of a table, at least one and all with the same columns, one after the other.

    A part without rows is a row group too. The file gets its name when it is whole.
    """
    with atomic_path(path) as temporary:
        writer = None
        for part in parts:
            table = part.to_arrow()
            if writer is None:
                floats = [name for name, kind in part.schema.items() if kind == pl.List(pl.Float32)]
                writer = pq.ParquetWriter(
                    temporary,
                    table.schema,
                    compression="zstd",
                    use_dictionary=[name for name in part.columns if name not in floats],
                    use_byte_stream_split=[f"{name}.list.element" for name in floats],
                    store_schema=False,
                )
            writer.write_table(table, row_group_size=max(1, len(part)))
        assert writer is not None, "a table has at least one part"
        writer.add_key_value_metadata({**metadata, "checksum": PLACEHOLDER})
        writer.close()
        fill(temporary)


def read_groups(path: str | Path) -> Iterator[pl.DataFrame]:
    """Yield the parts of a table, in the order in which they were written.

    Raises:
        UserError: the file is missing, damaged, or was not written by the project.
    """
    file = read_checked(path, pq.ParquetFile)
    for number in range(file.num_row_groups):
        yield pl.DataFrame(file.read_row_group(number))
