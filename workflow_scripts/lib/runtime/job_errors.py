"""What became of a job that failed in SLURM, in one line on the terminal that the run was started from.

What the job said stays on its node's log, and Snakemake's own account of a failed job lists all its files.
"""

import logging
import re
import sys
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent

STATUS = re.compile(r"status is: '(\w+)'")
REFUSED = re.compile(r"The error message was '(.*)'")
ENDED = re.compile(
    r"^slurmstepd\S*: error: (.*(?:exceeded|DUE TO|CANCELLED|[Oo]ut [Oo]f [Mm]emory|oom).*)$", re.MULTILINE
)
SAID = re.compile(r"^error: (.*)$", re.MULTILINE)


class JobErrors(logging.Handler):
    """Prints each failed job as one line: rule, file, SLURM's job and verdict, the reason in its log, the log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the line if the record is that of a failed job."""
        if getattr(record, "event", None) != LogEvent.JOB_ERROR:
            return
        fields = vars(record)
        job = fields["aux"].get("external_jobid")
        where = f"SLURM job {job}" if job else "not submitted"
        first = next(iter(fields["output"]), "")
        said = explain(fields["rule_msg"] or "", [Path(path) for path in fields["log"]])
        print(f"error: {fields['rule_name']} ({first}), {where}: {said}", file=sys.stderr, flush=True)


def explain(message: str, logs: list[Path]) -> str:
    """SLURM's verdict and why: what SLURM or the job itself wrote into the logs, or how the submission was refused."""
    if refused := REFUSED.search(message):
        return f"refused by sbatch: {refused[1]}"
    status = STATUS.search(message)
    verdict = status[1] if status else message.partition("\n")[0]
    texts = [log.read_text(errors="replace") for log in logs if log.is_file()]
    for pattern in (ENDED, SAID):
        if found := [line for text in texts for line in pattern.findall(text)]:
            verdict += f", {found[0] if pattern is ENDED else found[-1]}"
            break
    return f"{verdict}; more in {logs[-1]}" if logs else verdict


def print_job_errors() -> None:
    """From now on, print a line for every job that fails."""
    logging.getLogger("snakemake.logging").addHandler(JobErrors())
