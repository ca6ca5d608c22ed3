"""A checksum stored inside the file it covers: what is read is what was written, to the last bit.

A writer puts `PLACEHOLDER` into the file's own metadata; `fill` replaces its zeros by the checksum of all bytes, these
zeros included. So every change is detected: of the data, the metadata or the checksum itself. It guards against
accidents, not against somebody who computes a new checksum.
"""

import mmap
from pathlib import Path
from typing import Any

import xxhash

NAME = b"reward-subsystem-xxh3-128:"
ZEROS = b"0" * 32
PLACEHOLDER = (b'"%s%s"' % (NAME, ZEROS)).decode()
"""As JSON, like other metadata."""


def digest(*parts: Any) -> str:
    """Return XXH3 with 128 bits of the parts, one after the other. It takes some 15 GB/s, so reading stays as fast."""
    state = xxhash.xxh3_128()
    for part in parts:
        state.update(part)
    return state.hexdigest()


def fill(path: Path, length: int | None = None) -> None:
    """Replace the file's placeholder by the checksum of its first `length` bytes (default: all).

    Raises:
        OSError: there is no placeholder, so the file is not what its writer was given to write.
    """
    with path.open("r+b") as file, mmap.mmap(file.fileno(), length or 0, access=mmap.ACCESS_READ) as content:
        place = content.rfind(NAME + ZEROS) + len(NAME)
        if place < len(NAME):
            raise OSError(f"{path}: was not written whole")
        file.seek(place)
        file.write(digest(content).encode())


def intact(path: str | Path, length: int | None = None) -> bool | None:
    """Return whether the first `length` bytes (default: all) are those that were written; None without a checksum.

    Raises:
        OSError: the file does not exist or cannot be read.
    """
    size = Path(path).stat().st_size
    if not size or (length or 0) > size:
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), length or 0, access=mmap.ACCESS_READ) as content:
        place = content.rfind(NAME) + len(NAME)
        if place < len(NAME):
            return None
        with memoryview(content) as view, view[:place] as before, view[place + len(ZEROS) :] as after:
            return digest(before, ZEROS, after) == content[place : place + len(ZEROS)].decode("latin-1")
