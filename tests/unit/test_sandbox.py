"""Programs that mean harm are contained and graded wrong; programs that only differ are compared by what they give."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading import sandbox, sandbox_inside
from workflow_scripts.lib.grading.answers import Grade
from workflow_scripts.lib.grading.code import as_shaped, example_shapes, grade_code, program_of
from workflow_scripts.lib.grading.sandbox import Limits, run

if shutil.which("bwrap") is None:
    assert not os.environ.get("REQUIRE_SANDBOX"), "bubblewrap must be here, but is not"
    pytestmark = pytest.mark.skip(reason="bubblewrap (bwrap) is not installed")

DOUBLE = "def double(x):\n    return 2 * x\n"
SPEC = json.dumps({"entry_point": "double", "calls": [[1], [2], [21]], "tolerance": 0, "example": ""})
QUICK = Limits(cpu_seconds=2)


def verdict(program: str) -> Grade:
    return grade_code(f"```python\n{program}```", DOUBLE, SPEC)


def test_right_and_wrong_programs() -> None:
    assert verdict(DOUBLE).reward == 1
    assert verdict("def double(x):\n    return x + x\n").reward == 1
    assert verdict("def double(x):\n    return 2 * x if x < 20 else 0\n") == Grade(
        0, "def double(x):\n    return 2 * x if x < 20 else 0\n", None
    )
    for broken in (
        "def double(x)\n",
        "def triple(x):\n    return 3 * x\n",
        "def double(x):\n    return y\n",
        "1 / 0\n",
    ):
        assert verdict(broken).reward == 0


HOSTILE = {
    "fork bomb": "import os\ndef double(x):\n    while True:\n        os.fork()\n",
    "threads": "import threading, time\ndef double(x):\n    while True:\n"
    "        threading.Thread(target=time.sleep, args=(60,)).start()\n",
    "endless loop": "def double(x):\n    while True:\n        pass\n",
    "endless loop on import": "while True:\n    pass\n",
    "10 GB": "def double(x):\n    hoard = bytearray(10 * 2**30)\n    return 2 * x if hoard is None else len(hoard)\n",
    "10 GB bit by bit": "def double(x):\n    hoard = []\n    while True:\n        hoard.append(bytearray(2**24))\n",
    "killing the parent": "import os, signal\ndef double(x):\n    os.kill(os.getppid(), signal.SIGKILL)\n",
    "killing everything": "import os, signal\ndef double(x):\n    os.kill(-1, signal.SIGKILL)\n",
    "flooding standard output": "def double(x):\n    while True:\n        print('x' * 10**6)\n",
    "flooding every descriptor": "import os\ndef double(x):\n    while True:\n        for number in range(64):\n"
    "            try:\n                os.write(number, b'x' * 10**6)\n"
    "            except OSError:\n                pass\n",
    "forging the success message": "import os\nfor number in range(64):\n    try:\n"
    '        os.write(number, b\'{"given": [true, true, true], "cpu_seconds": 0}\')\n'
    "    except OSError:\n        pass\nos._exit(0)\n",
    "exiting early": "import sys\nprint('passed')\nsys.exit(0)\n",
    "exiting at once": "import os\nos._exit(0)\n",
    "equal to everything": "class Same:\n    def __eq__(self, other):\n        return True\n"
    "    __hash__ = None\ndef double(x):\n    return Same()\n",
    "equal to everything, as a number": "class Same(int):\n    def __eq__(self, other):\n        return True\n"
    "    __hash__ = None\ndef double(x):\n    return Same(0)\n",
    "patching the caller": "import json, sys\nsys.modules['__main__'].encode = lambda value: True\n"
    "json.dumps = lambda *a, **k: '{}'\ndef double(x):\n    return 0\n",
    "a result without end": "def double(x):\n    endless = []\n    endless.append(endless)\n    return endless\n",
    "a deep result": "def double(x):\n    deep = []\n    for _ in range(10**5):\n"
    "        deep = [deep]\n    return deep\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_are_contained_and_wrong(name: str) -> None:
    start = time.monotonic()
    found = verdict(HOSTILE[name])
    assert found.reward == 0
    assert time.monotonic() - start < 90
    mine = os.getpid(), 1  # what is left over has this process or the first one for its parent
    left = psutil.process_iter(["cmdline", "ppid"])
    assert [one for one in left if one.info["ppid"] in mine and "/inside.py" in (one.info["cmdline"] or ())] == []


def given(program: str, *arguments: object) -> object:
    outcome = run(program, "f", [sandbox_inside.encode(list(arguments))], QUICK)
    assert outcome.status == "done"
    return sandbox_inside.decode(outcome.given[0])


def test_nothing_can_be_written_outside_an_empty_tmp(tmp_path: Path) -> None:
    write = "def f(path):\n    try:\n        open(path, 'w').write('x')\n        return 'written'\n" + (
        "    except OSError:\n        return 'refused'\n"
    )
    inside = ["/x", "/usr/x", "/python/x", "/inside.py", "/proc/x", "/etc/passwd", str(Path.home() / "x")]
    assert [given(write, path) for path in inside] == ["refused"] * len(inside)
    assert given(write, str(tmp_path / "x")) == "refused"
    assert list(tmp_path.iterdir()) == []
    assert given("import os\ndef f(path):\n    return os.listdir(path)\n", "/tmp") == []
    assert given(write, "/tmp/x") == "written"
    big = (
        "def f():\n    with open('/tmp/x', 'wb') as file:\n        while True:\n            file.write(bytes(2**20))\n"
    )
    outcome = run(big, "f", [[]], QUICK)
    assert outcome.given in ([{"raised": "OSError"}], [])


def test_neither_home_nor_environment_nor_other_processes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    read = (
        "import os\ndef f(home, pid):\n    places = (home, '/root', '/home', '/work', '/etc/shadow', '/var')\n"
        "    seen = [name for name in places if os.path.exists(name)]\n"
        "    return seen, dict(os.environ), os.path.exists(f'/proc/{pid}/environ'), os.getuid() == 0\n"
    )
    found = given(read, str(Path.home()), os.getpid())
    assert isinstance(found, tuple)
    seen, environment, parent, root = found
    assert seen == [] and not parent and not root
    assert "hush" not in str(environment) and set(environment) <= {"PWD", "LC_CTYPE", "OPENBLAS_NUM_THREADS"}


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_no_network_not_even_loopback(listener: int) -> None:
    connect = (
        "import socket\ndef f(port):\n    try:\n        socket.create_connection(('127.0.0.1', port), 2)\n"
        "        return 'connected'\n    except OSError:\n        return 'refused'\n"
    )
    with socket.create_connection(("127.0.0.1", listener), 2):  # it does listen
        assert given(connect, listener) == "refused"


def test_values_cross_the_wall_unchanged() -> None:
    value = [None, True, 3, -(10**30), 0.1, float("inf"), 2j, "é", b"x", (1, (2,)), {1, 2}, {"a": [1], 2: (3,)}]
    assert sandbox_inside.decode(json.loads(json.dumps(sandbox_inside.encode(value)))) == value
    assert str(given("def f(x):\n    return x\n", value)) == str(value)
    assert given("import numpy as np\ndef f():\n    return np.arange(3), np.float64(0.5)\n") == ([0, 1, 2], 0.5)
    assert given("def f():\n    return object()\n") == {"other": "object"}


def test_without_bubblewrap_the_run_stops_unless_the_user_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.require_isolation.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"requires bubblewrap .* not installed: install it, or set grading.allow_"):
        grade_code(DOUBLE, DOUBLE, SPEC)
    assert grade_code(DOUBLE, DOUBLE, SPEC, allow_unsandboxed=True).reward == 1
    assert grade_code(HOSTILE["endless loop"], DOUBLE, SPEC, allow_unsandboxed=True) == Grade(
        0, HOSTILE["endless loop"], "timeout"
    )
    sandbox.require_isolation.cache_clear()


def test_a_sandbox_that_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which bubblewrap cannot start, and one on which the network stays reachable."""
    sandbox.require_isolation.cache_clear()
    whole = sandbox.bubblewrap()
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: ["false"])
    with pytest.raises(UserError, match="bubblewrap does not work on this machine"):
        sandbox.require_isolation()
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: [one for one in whole if one != "--unshare-net"])
    with pytest.raises(UserError, match="programs in the sandbox reach the network"):
        sandbox.require_isolation()
    sandbox.require_isolation.cache_clear()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_as_an_ordinary_user(open_folder: Path) -> None:
    """The same wall holds for a user who is not root: a user namespace takes the place of becoming nobody."""
    if os.getuid() != 0:
        pytest.skip("this is an ordinary user already")
    python = Path("/usr/bin") / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not python.exists() or subprocess.run(["setpriv", "--help"], capture_output=True).returncode:
        pytest.skip("no Python of this version, or no setpriv, that another user could run")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*nobody, "unshare", "--user", "true"], capture_output=True).returncode:
        pytest.skip("this machine gives ordinary users no namespaces of their own")
    shutil.copytree("workflow_scripts/lib", open_folder / "workflow_scripts" / "lib")
    code = "from workflow_scripts.lib.grading import sandbox; sandbox.require_isolation(); print('held')"
    command = [*nobody, str(python), "-c", code]
    done = subprocess.run(
        command, cwd=open_folder, capture_output=True, text=True, env={"PATH": "/usr/bin", "HOME": "/root"}
    )
    assert done.stdout == "held\n", done.stderr


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\ndef f():\n    return 1\n```", "def f():\n    return 1\n"),
        (
            "Try\n```\ndef f(): return 1\n```\nno:\n```py\ndef f(): return 2\n```\ncall:\n```\nf()\n```",
            "def f(): return 2\n",
        ),
        ("```python\ndef f(): return 1\n", "def f(): return 1\n"),
        ("```python\nimport math\n```\nand\n```python\nf = math.sqrt\n```", "import math\n\nf = math.sqrt\n"),
        ("def f(): return 1", "def f(): return 1"),
    ],
)
def test_the_program_in_a_response(text: str, program: str) -> None:
    assert program_of(text, "f") == program


def test_lists_become_what_the_example_shows() -> None:
    shapes = [one[0] for one in example_shapes("assert f((1, [2], (3,))) == 1\nassert f((4, [5])) == {6}", "f")]
    assert as_shaped([7, [8], [9]], shapes) == (7, [8], [9])
    assert as_shaped([[1, 2], [3]], [one[0] for one in example_shapes("f([(1, 2)])", "f")]) == [(1, 2), (3,)]
    assert as_shaped([[1], [2, [3]]], [one[0] for one in example_shapes("f((1, (2,)))", "f")]) == ((1,), (2, (3,)))
    assert as_shaped([1, 1], [one[0] for one in example_shapes("f({1, 2})", "f")]) == {1}
    assert as_shaped({"a": [1]}, [one[0] for one in example_shapes("f({'x': (1, 2)})", "f")]) == {"a": (1,)}
    assert as_shaped("(1+2j)", [one[0] for one in example_shapes("f(1)", "f")]) == 1 + 2j
    assert as_shaped("x", [one[0] for one in example_shapes("f(1)", "f")]) == "x"
