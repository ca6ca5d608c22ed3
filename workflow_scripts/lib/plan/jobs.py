"""The jobs of a study as the workflow itself counts them, by a dry run; and the stage that a rule belongs to."""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts.lib.errors import UserError


@dataclass(frozen=True)
class Job:
    """One job: its rule and wildcards, GPUs it asks for, what it writes and reads, its threads."""

    rule: str
    wildcards: dict[str, str] = field(hash=False)
    gpu: int
    benchmark: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    threads: int = 1

    @property
    def run(self) -> tuple[str, str]:
        """Model and data set of the run it serves; empty for none or several."""
        return self.wildcards.get("model", ""), self.wildcards.get("dataset", "")


def dry_run(files: Sequence[str | Path], every: bool, study: str | None = None) -> list[Job]:
    """List the jobs of the study that `files` make up together: all of them (`every`), or those still to do.

    `study` is its name, if the files do not say it.

    Raises:
        UserError: the workflow refuses the configuration; its own words are repeated.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nolock", "--rerun-incomplete", "--quiet", "host"]
    command += ["--workflow-profile", "none", "--max-checksum-file-size", "16000000"]
    command += ["--forceall"] if every else []
    command += ["--configfile", *map(str, files)] if files else []
    command += ["--config", f"study={study}"] if study else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(complaint(done.stdout, done.stderr))
    return read_jobs(done.stdout)


def complaint(*streams: str) -> str:
    """Return the last error that a failed dry run names, or its last lines; Snakemake writes to either stream."""
    lines = [line for stream in streams for line in stream.splitlines() if line.strip()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    last = [line.strip() for stream in streams for line in stream.splitlines()[-5:] if line.strip()]
    return said[-1] if said else f"snakemake --dry-run failed: {' | '.join(last) or 'it said nothing'}"


def read_jobs(printed: str) -> list[Job]:
    """Read the jobs that a dry run printed, each a block that begins with its rule; `all` is no job."""
    jobs = []
    for block in re.split(r"^rule ", printed, flags=re.MULTILINE)[1:]:
        rule = block.partition(":")[0]
        printed_fields = dict(re.findall(r"^    (\w+): (.*)$", block, flags=re.MULTILINE))
        wildcards = dict(part.split("=", 1) for part in printed_fields.get("wildcards", "").split(", ") if part)
        gpu = re.search(r"\bgpu=(\d+)", printed_fields.get("resources", ""))
        outputs, inputs = (tuple(printed_fields.get(name, "").split(", ")) for name in ("output", "input"))
        threads, benchmark = int(printed_fields.get("threads", 1)), printed_fields.get("benchmark", "")
        if rule != "all":
            jobs.append(Job(rule, wildcards, int(gpu[1]) if gpu else 0, benchmark, outputs, inputs, threads))
    return jobs


def stages(snakefile: str | Path = "Snakefile") -> dict[str, str]:
    """Map every rule to its stage, the name of the file that defines it, in the order in which data flows."""
    included = re.findall(r'^include: "(rules/.+[.]smk)"', Path(snakefile).read_text(), flags=re.MULTILINE)
    paths = [Path(snakefile).parent / name for name in included]
    named = re.compile(r"^(?:rule|use rule \w+ as) (\w+)(?::| with:)", flags=re.MULTILINE)
    return {rule: path.stem for path in paths for rule in named.findall(path.read_text())}
