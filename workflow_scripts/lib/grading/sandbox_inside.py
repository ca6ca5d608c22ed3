"""Code that runs inside the sandbox: one program's function on all its inputs. Standard library only, no other module.

Values enter and leave as JSON, in which lists represent themselves and every type that JSON lacks has a tag. Nothing
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
"""The folder of numpy in the sandbox; programs may import it."""
MOST_VALUES = 200_000


class TooLarge(Exception):
    """A result of more than `MOST_VALUES` values."""


def size(value: Any, most: int) -> int:
    """Count the values in a result, up to `most`."""
    if isinstance(value, dict):
        inner: Any = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner = value
    else:
        return 1 + len(value) // 64 if isinstance(value, (str, bytes)) else 1
    count = 1
    for element in inner:
        count += size(element, most - count)
        if count > most:
            break
    return count


def encode(value: Any) -> Any:
    """Encode a value as JSON; one without a tag becomes the name of its type, which equals nothing."""
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
        return [encode(element) for element in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(element)] for key, element in value.items()]}
    for kind, name in ((tuple, "tuple"), (set, "set"), (frozenset, "set")):
        if isinstance(value, kind):
            return {name: [encode(element) for element in value]}
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return encode(value.tolist())
    return {"other": type(value).__name__}


def decode(value: Any) -> Any:
    """Decode a value; an opaque one stays a dictionary with its tag.

    Raises:
        ValueError, TypeError: it was not made by `encode`.
    """
    if isinstance(value, list):
        return [decode(element) for element in value]
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
        return {decode(key): decode(element) for key, element in inner}
    if tag in ("tuple", "set"):
        return {"tuple": tuple, "set": set}[tag](decode(element) for element in inner)
    return value


def confine(limits: dict[str, int]) -> None:
    """Give up what the sandbox does not remove by itself: the root user, and more than a share of the machine."""
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
    """Return the function's result for each call, encoded; `raised` if it gives none."""
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
    """Read a task from standard input; write the results of its calls to the original standard output."""
    task = json.load(sys.stdin)
    answer = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):  # the program's own output is discarded
        os.dup2(nowhere, number)
    sys.path.append(PACKAGES)
    confine(task["limits"])
    text = json.dumps({"given": call_all(task), "cpu_seconds": sum(os.times()[:2])}).encode()
    while text:
        text = text[os.write(answer, text) :]


if __name__ == "__main__":
    main()
