"""Report failed SLURM jobs in one line each, on the terminal that the run was started from.

A job's own messages stay in the log on its node, and Snakemake's own report of a failed job lists all its files. This
reads the wording of snakemake-executor-plugin-slurm 2.8.0 (`STATUS`, `REFUSED`): check it again when that version
changes.
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
REPORTED = re.compile(r"^error: (.*)$", re.MULTILINE)


class JobErrors(logging.Handler):
    """Prints each failed job as one line: rule, file, SLURM's job and verdict, the reason in its log, the log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the line if the record describes a failed job."""
        if getattr(record, "event", None) != LogEvent.JOB_ERROR:
            return
        fields = vars(record)
        job = fields["aux"].get("external_jobid")
        where = f"SLURM job {job}" if job else "not submitted"
        first = next(iter(fields["output"]), "")
        reason = explain(fields["rule_msg"] or "", [Path(path) for path in fields["log"]])
        print(f"error: {fields['rule_name']} ({first}), {where}: {reason}", file=sys.stderr, flush=True)


def explain(message: str, logs: list[Path]) -> str:
    """Return SLURM's verdict and the reason: what SLURM or the job wrote into the logs, or why sbatch refused it."""
    if refused := REFUSED.search(message):
        return f"refused by sbatch: {refused[1]}"
    status = STATUS.search(message)
    verdict = status[1] if status else message.partition("\n")[0]
    texts = [log.read_text(errors="replace") for log in logs if log.is_file()]
    for pattern in (ENDED, REPORTED):
        if reasons := [line for text in texts for line in pattern.findall(text)]:
            verdict += f", {reasons[0] if pattern is ENDED else reasons[-1]}"
            break
    return f"{verdict}; more in {logs[-1]}" if logs else verdict


def print_job_errors() -> None:
    """Print a line for every job that fails from now on."""
    logging.getLogger("snakemake.logging").addHandler(JobErrors())
