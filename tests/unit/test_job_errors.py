"""The line on the terminal for a job that failed in SLURM; which cluster says what is shown in tests/slurm."""

import logging
from pathlib import Path

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from workflow_scripts.lib.runtime.job_errors import JobErrors, explain

FAILED = "SLURM-job '12' failed, SLURM status is: '{}'. Detailed failure reason unavailable."


@pytest.mark.parametrize(
    ("status", "log", "line"),
    [
        (
            "OUT_OF_MEMORY",
            "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some step tasks have been OOM Killed.\n"
            "error: the job was ended by signal 9\n",
            "OUT_OF_MEMORY, Detected 1 oom_kill event in StepId=12.0. Some step tasks have been OOM Killed.",
        ),
        ("FAILED", "warning\nerror: key a: wrong; fix it\nRuleException\n", "FAILED, key a: wrong; fix it"),
        ("NODE_FAIL", "", "NODE_FAIL"),
    ],
)
def test_slurms_verdict_comes_with_the_reason_in_the_log(status: str, log: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "12.log"
    path.write_text(log)
    missing = tmp_path / "rule.log"
    assert explain(FAILED.format(status), [missing, path]) == f"{line}; more in {path}"


def test_a_refused_submission_says_why_and_a_finished_job_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    message = "SLURM sbatch failed. The error message was 'sbatch: error: no such partition'.\n    sbatch call:\n"
    extra = {"rule_name": "fit", "rule_msg": message, "output": ["a.csv", "b.csv"], "log": ["fit.log"], "aux": {}}
    logger = logging.Logger("run")
    logger.addHandler(JobErrors())
    logger.error("Error in rule fit", extra={**extra, "event": LogEvent.JOB_ERROR})
    logger.error("Finished", extra={**extra, "event": LogEvent.JOB_FINISHED})
    logger.error("Something else")
    said = capsys.readouterr().err
    assert said == "error: fit (a.csv), not submitted: refused by sbatch: sbatch: error: no such partition\n"
