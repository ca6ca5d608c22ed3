"""Errors that a user can mend: one line, no traceback."""

import errno
import os
import sys
from collections.abc import Callable

LAST_WORDS = (
    "trap 'code=$?; ((code <= 128)) || echo \"error: the job was ended by signal $((code - 128)), often for lack of "
    "memory; finished shards are kept: run again, with fewer --cores or a smaller rollouts.batch_size\" >&2' EXIT; "
)
"""What every job's shell begins with: a process that the system ends cannot say so itself."""


class UserError(Exception):
    """Something the user can put right. The message names the file, key or line, what is wrong, and what to do."""


def one_line(error: Exception) -> str:
    """The first line of what a library said, or what kind of error it was."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def no_room(error: BaseException | None) -> str | None:
    """What was said of a disk, quota or allowed size that is used up, if that is how it began.

    Libraries tell it by words alone, and some fail again while they clean up.
    """
    reasons = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
    while error is not None:
        if found := [reason for reason in reasons if reason in str(error)]:
            return found[0]
        error = error.__cause__ or error.__context__
    return None


def run_main(main: Callable[[], None]) -> None:
    """Run a module's `main`; a `UserError`, or a full disk, becomes one line on stderr and exit status 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except Exception as error:
        if not (reason := no_room(error)):
            raise
        sys.exit(f"error: {reason}; make room and run again")
