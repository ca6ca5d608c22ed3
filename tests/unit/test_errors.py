"""The end of a job: at once, but nothing is lost."""

import subprocess
import sys


def test_a_job_that_ends_at_once_loses_nothing() -> None:
    """What waits in a buffer is written, what was registered for the end runs; the interpreter does not tidy up."""
    code = (
        "import atexit, sys\n"
        "from workflow_scripts.lib.errors import run_main\n"
        "class Tidied:\n"
        "    def __del__(self): print('tidied')\n"
        "kept = Tidied()\n"
        "atexit.register(lambda: print('registered'))\n"
        "def main(): print('first'); sys.stderr.write('said')\n"
        "run_main(main)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "first\nregistered\n", "said")
