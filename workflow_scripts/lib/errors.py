"""Errors that a user can mend: one line, no traceback. Whatever is printed of an error holds no secret."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable
from urllib.parse import quote

SIGNAL_TRAP = (
    "trap 'code=$?; ((code <= 128)) || echo \"error: the job was ended by signal $((code - 128)), often for lack of "
    "memory; finished shards are kept: run again, with fewer --cores or a smaller rollouts.batch_size\" >&2' EXIT; "
)
"""What every job's shell begins with: a process that the system ends cannot say so itself."""

KINDS = "token|key|sig|signature|secret|password|passwd|credentials?|auth"
SECRET_VARIABLE = re.compile(rf"(^|_)({KINDS}|pat)s?($|_)", re.IGNORECASE)
SECRET_QUERY = re.compile(rf"([?&;](?:[\w.-]*[_.-])?(?:access)?(?:{KINDS})=)[^&;#\s'\"<>]+", re.IGNORECASE)
USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/?#\s'\"<>]+@", re.IGNORECASE)
SHAPED = re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|(?<=Bearer )[\w.~+/=-]{8,}|(?<=Basic )[\w.~+/=-]{8,})")
SHORTEST = 6
"""Values of variables below this length are no secrets; hiding them would only garble the text."""


class UserError(Exception):
    """Something the user can put right. The message names the file, key or line, what is wrong, and what to do."""


def redact(text: str) -> str:
    """`text` with secrets replaced by `***`.

    Secrets are the values of variables of the environment that are named as one, users and passwords in addresses,
    query parameters named as a secret, and words that look like an access token.
    """
    text = SHAPED.sub("***", SECRET_QUERY.sub(r"\1***", USERINFO.sub(r"\1***@", text)))
    for name, value in os.environ.items():
        if SECRET_VARIABLE.search(name) and len(value) >= SHORTEST:
            text = text.replace(value, "***").replace(quote(value, safe=""), "***")
    return text


def one_line(error: Exception) -> str:
    """The first line of what a library said, without secrets, or what kind of error it was."""
    lines = redact(str(error)).strip().splitlines()
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
        sys.exit(f"error: {redact(' '.join(str(error).split()))}")
    except Exception as error:
        if reason := no_room(error):
            sys.exit(f"error: {reason}; make room and run again")
        sys.exit(redact(traceback.format_exc().rstrip()))
