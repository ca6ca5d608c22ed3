"""Sparse reward subsystem of a language model: from rollouts to report. `snakemake` runs the study of config.yaml."""

from snakemake.utils import min_version

from workflow_scripts.lib.config.check import check
from workflow_scripts.lib.config.study import read_yaml, with_defaults
from workflow_scripts.lib.errors import SIGNAL_TRAP, run_main
from workflow_scripts.lib.runtime import job_environment, run_lock

min_version("9.19")

run_main(lambda: read_yaml("config.yaml"))


configfile: "config.yaml"


# Checked once, before any work: a job that Snakemake starts in a process of its own gets a configuration that passed.
if workflow.is_main_process:
    run_main(lambda: check(config, workflow.configfiles))
config.update(with_defaults(config))

shell.prefix(SIGNAL_TRAP)


onstart:
    if workflow.is_main_process:  # in a cluster, each job runs a Snakemake of its own
        run_main(lambda: run_lock.acquire(slurm=workflow.executor_plugin.name == "slurm"))


wildcard_constraints:
    model="[a-z0-9][a-z0-9_.-]*",
    dataset="[a-z0-9][a-z0-9_.-]*",
    shard="[0-9]+",


include: "rules/common.smk"
include: "rules/problems.smk"
include: "rules/rollouts.smk"
include: "rules/values.smk"
include: "rules/activations.smk"
include: "rules/probes.smk"
include: "rules/pruning.smk"
include: "rules/interventions.smk"
include: "rules/transfer.smk"
include: "rules/confidence.smk"
include: "rules/search.smk"
include: "rules/trajectories.smk"
include: "rules/report.smk"
include: "rules/reference_models.smk"


run_main(lambda: job_environment.prepare(workflow))


rule all:
    default_target: True
    input:
        [REPORT, *TABLES, *FIGURES, *RECORDS, *PROVENANCE],
