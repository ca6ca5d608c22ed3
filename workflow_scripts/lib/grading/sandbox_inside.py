"""What runs inside the sandbox: one program's function on all its inputs. Standard library only, no other module.

Values cross the wall as JSON in which lists stand for themselves and everything else that JSON lacks has a tag. Nothing
that comes out is ever executed.
"""

import copy
import json
import os
import resource
import sys
from typing import Any

NOBODY = 65534
PACKAGES = "/packages"
"""Where the sandbox shows numpy, which programs may expect."""
MOST_VALUES = 200_000


class TooLarge(Exception):
    """A result of more than `MOST_VALUES` values."""


def size(value: Any, most: int) -> int:
    """How many values a result has, counted up to `most`."""
    if isinstance(value, dict):
        inner: Any = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner = value
    else:
        return 1 + len(value) // 64 if isinstance(value, (str, bytes)) else 1
    count = 1
    for one in inner:
        count += size(one, most - count)
        if count > most:
            break
    return count


def encode(value: Any) -> Any:
    """A value as JSON; what has no tag becomes the name of its type, which equals nothing."""
    if value is None or isinstance(value, (bool, str)):
        return value if type(value) in (bool, str, type(None)) else encode(str(value))
    if isinstance(value, int):
        return {"int": hex(value)}
    if isinstance(value, float):
        return {"float": float.hex(value)}
    if isinstance(value, complex):
        return {"complex": [float.hex(value.real), float.hex(value.imag)]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, list):
        return [encode(one) for one in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(one)] for key, one in value.items()]}
    for kind, name in ((tuple, "tuple"), (set, "set"), (frozenset, "set")):
        if isinstance(value, kind):
            return {name: [encode(one) for one in value]}
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return encode(value.tolist())
    return {"other": type(value).__name__}


def decode(value: Any) -> Any:
    """The value again; what is opaque stays a dictionary with its tag.

    Raises:
        ValueError, TypeError: it was not made by `encode`.
    """
    if isinstance(value, list):
        return [decode(one) for one in value]
    if not isinstance(value, dict):
        return value
    ((tag, inner),) = value.items()
    if tag == "int":
        return int(inner, 16)
    if tag == "float":
        return float.fromhex(inner)
    if tag == "complex":
        return complex(*map(float.fromhex, inner))
    if tag == "bytes":
        return bytes.fromhex(inner)
    if tag == "dict":
        return {decode(key): decode(one) for key, one in inner}
    if tag in ("tuple", "set"):
        return {"tuple": tuple, "set": set}[tag](decode(one) for one in inner)
    return value


def confine(limits: dict[str, int]) -> None:
    """Give up what the sandbox does not take by itself: the root user, and more than a share of the machine."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"]))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits["processes"]:
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["processes"],) * 2)
    if limits["processes"] and os.getuid() == 0:  # the kernel does not count the root user's processes
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def call_all(task: dict[str, Any]) -> list[Any]:
    """What the function gives for each call, encoded; `raised` where it gives nothing."""
    names: dict[str, Any] = {"__name__": "answer"}
    exec(compile(task["program"], "answer", "exec"), names)
    given = []
    for arguments in task["calls"]:
        try:
            result = names[task["entry_point"]](*copy.deepcopy(decode(arguments)))
            if size(result, MOST_VALUES) > MOST_VALUES:
                raise TooLarge
            given.append(encode(result))
        except Exception as error:
            given.append({"raised": type(error).__name__})
    return given


def main() -> None:
    """Read a task from standard input; write what its calls give to where standard output was."""
    task = json.load(sys.stdin)
    answer = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):  # what the program prints goes nowhere
        os.dup2(nowhere, number)
    sys.path.append(PACKAGES)
    confine(task["limits"])
    text = json.dumps({"given": call_all(task), "cpu_seconds": sum(os.times()[:2])}).encode()
    while text:
        text = text[os.write(answer, text) :]


if __name__ == "__main__":
    main()
