"""Files that are either whole or absent, and the hashes of their content."""

import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_scripts.lib.errors import UserError, no_room

MODEL_FILES = (".json", ".safetensors", ".model", ".txt", ".jinja", ".py")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`: renamed to it if the block succeeds, removed if it fails.

    The temporary name keeps the file's ending, because some writers choose a format by it. The bytes are on the disk
    before the name is, so that a loss of power leaves no empty file under that name.

    Raises:
        UserError: there is no space for the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = path.with_name(f".{socket.gethostname()}.{os.getpid()}.{path.name}")
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except Exception as error:
        if reason := no_room(error) or refused(temporary):
            free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB are free there"
            raise UserError(f"{path}: not written: {reason}; {free}: free disk space and run again") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def refused(path: Path) -> str | None:
    """Return why the system accepts no more bytes there, by writing some: not every library passes the error on."""
    try:
        with path.open("ab") as file:
            file.write(bytes(2**20))
    except OSError as error:
        return no_room(error)
    return None


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` that killed writers on any host have left.

    A file has one writer: a folder has one run, and a run one job for each file. So the writer of a temporary file that
    still exists is dead, or was abandoned by the run and must not finish.
    """
    host = r"(?:[^.]+\.)*[^.]*[^.\d][^.]*"  # a label of digits alone would belong to the file's own name
    leftover = re.compile(rf"\.{host}\.\d+\.{re.escape(path.name)}")
    with os.scandir(path.parent) as entries:
        for temporary in [Path(entry.path) for entry in entries if leftover.fullmatch(entry.name)]:
            temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Make the system write a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_files(folder: str | Path) -> list[Path]:
    """Return the files of a folder that make up a model (settings, weights, tokenizer, template, code), by name."""
    return sorted(file for file in Path(folder).iterdir() if file.suffix in MODEL_FILES and file.is_file())
