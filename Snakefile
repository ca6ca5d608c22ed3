"""Sparse reward subsystem of a language model: from rollouts to report. `snakemake` runs the study of config.yaml."""

from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.errors import JOB_SHELL, report_errors
from workflow_scripts.lib.plan.study_progress import print_study_progress
from workflow_scripts.lib.runtime import job_environment

# The study is read from its files by the project itself, config.yaml the lowest, and not by a `configfile:`, which
# would keep the runs of config.yaml in every other study. It is checked once: a job's own process gets what has passed.
given = workflow.config_settings
report_errors(lambda: config.update(read_study(given.configfiles, given.config, workflow.is_main_process)))

shell.prefix(JOB_SHELL)


onstart:
    if workflow.is_main_process:  # in a cluster, each job runs a Snakemake of its own
        report_errors(lambda: job_environment.begin(workflow))
        print_study_progress(config, workflow.dag)


onsuccess:
    if workflow.is_main_process and any(REPORT in job.output for job in workflow.dag.jobs):
        print(f"The report is {REPORT}")


wildcard_constraints:
    model="[a-z0-9][a-z0-9_.-]*",
    dataset="[a-z0-9][a-z0-9_.-]*",
    shard="[0-9]+",


include: "rules/resources.smk"
include: "rules/common.smk"
include: "rules/targets.smk"
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


report_errors(lambda: job_environment.prepare(workflow))


rule all:
    default_target: True
    input:
        [REPORT, *TABLES, *FIGURES, *RECORDS, *PROVENANCE],
