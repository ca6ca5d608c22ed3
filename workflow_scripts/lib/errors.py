"""Errors that a user can fix: one line, no traceback. Whatever is printed of an error contains no secret."""

import atexit
import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NoReturn
from urllib.parse import quote

JOB_SHELL = (
    "export POLARS_MAX_THREADS=$OMP_NUM_THREADS RAYON_NUM_THREADS=$OMP_NUM_THREADS; "
    "trap 'code=$?; ((code <= 128)) || echo \"error: the job was ended by signal $((code - 128)), often for lack of "
    "memory; finished shards are kept: run again, with fewer --cores or a smaller rollouts.batch_size\" >&2' EXIT; "
)
"""Every job's shell begins with this. Snakemake tells BLAS a job's number of threads; other libraries learn it here.

The trap is there because a process that the system ends cannot report it itself.
"""

KINDS = "token|key|sig|signature|secret|password|passwd|credentials?|auth"
SECRET_VARIABLE = re.compile(rf"(^|_)({KINDS}|pat)s?($|_)", re.IGNORECASE)
SECRET_QUERY = re.compile(rf"([?&;](?:[\w.-]*[_.-])?(?:access)?(?:{KINDS})=)[^&;#\s'\"<>]+", re.IGNORECASE)
USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/?#\s'\"<>]+@", re.IGNORECASE)
SHAPED = re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|(?<=Bearer )[\w.~+/=-]{8,}|(?<=Basic )[\w.~+/=-]{8,})")
SHORTEST = 6
"""Values of variables below this length are not treated as secrets: hiding them would only garble the text."""


LONGEST_SHOWN = 80
"""Letters of a value that a message repeats."""


class UserError(Exception):
    """An error that the user can fix. The message names the file, key or line, what is wrong, and what to do."""


def clip(text: str) -> str:
    """Return `text`, shortened so that a message stays readable."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def shown(value: Any) -> str:
    """Return a value as a configuration or a record writes it (null, true, 'text'), shortened."""
    if isinstance(value, str):
        return repr(clip(value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return clip(f"[{', '.join(map(shown, value[:LONGEST_SHOWN]))}]")
    if isinstance(value, Mapping):
        pairs = list(value.items())[:LONGEST_SHOWN]
        return clip(f"{{{', '.join(f'{clip(str(key))}: {shown(inner)}' for key, inner in pairs)}}}")
    return clip(str(value))


def kind(value: Any) -> str:
    """Return what kind of value something is, in words."""
    names = ((bool, "true or false"), (Real, "a number"), (str, "text"), (list, "a list"), (Mapping, "a mapping"))
    return "null" if value is None else next((name for one, name in names if isinstance(value, one)), "of another kind")


def redact(text: str) -> str:
    """Return `text` with secrets replaced by `***`.

    Secrets are the values of environment variables that are named like one, users and passwords in addresses, query
    parameters named like a secret, and words that look like an access token.
    """
    text = SHAPED.sub("***", SECRET_QUERY.sub(r"\1***", USERINFO.sub(r"\1***@", text)))
    for name, value in os.environ.items():
        if SECRET_VARIABLE.search(name) and len(value) >= SHORTEST:
            text = text.replace(value, "***").replace(quote(value, safe=""), "***")
    return text


def one_line(error: Exception) -> str:
    """Return the first line of an error's message, without secrets, or the name of its type if it has no message."""
    lines = redact(str(error)).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def no_room(error: BaseException | None) -> str | None:
    """Return the system's message if a full disk, a quota or a limit on file size caused the error, else None.

    It is searched in the texts of the whole chain of causes: libraries report it in words only, and some fail again
    while they clean up.
    """
    reasons = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
    while error is not None:
        if matching := [reason for reason in reasons if reason in str(error)]:
            return matching[0]
        error = error.__cause__ or error.__context__
    return None


def report_errors(work: Callable[[], None]) -> None:
    """Do `work`; a `UserError`, or a full disk, becomes one line on stderr and exit status 1."""
    try:
        work()
    except UserError as error:
        sys.exit(f"error: {redact(' '.join(str(error).split()))}")
    except Exception as error:
        if reason := no_room(error):
            sys.exit(f"error: {reason}; free disk space and run again")
        sys.exit(redact(traceback.format_exc().rstrip()))


def run_main(main: Callable[[], None]) -> NoReturn:
    """Run a module's `main` as `report_errors` does, and end the process.

    What was registered to run at exit does run; only the interpreter's own tidying is left out, which takes a second or
    two where torch or transformers is imported, to free memory that the system frees anyway.
    """
    report_errors(main)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
