"""What a study will cost, before anything is run: `make plan STUDY=studies/paper.yaml GPU=h100`.

Jobs are the workflow's own, counted by a dry run. Tokens follow from the configuration and from expected lengths, hours
from data sheets and reached shares of their peaks (`resources/plan/assumptions.yaml`, `lib/plan/work.py`,
`lib/plan/rates.py`). Lengths of finished shards replace expected ones; with `GPU=here`, finished jobs scale the hours.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.config.plain import read_yaml
from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.plan.jobs import dry_run
from workflow_scripts.lib.plan.power import lines, powers
from workflow_scripts.lib.plan.printed import sources, table, write
from workflow_scripts.lib.plan.recorded import read_all
from workflow_scripts.lib.plan.table import (
    ASSUMPTIONS,
    at_measured_rates,
    basis,
    plan,
    to_do_part,
)
from workflow_scripts.lib.runtime.devices import gpus
from workflow_scripts.lib.runtime.machine import device_key

RESULTS = Path("results")
DEFAULT = "h100"
CLAIMS = Path("resources/published/claims.yaml")
POWER = f"Smallest distance from the margin that each claim decides with 80 % power (assumed rates: {ASSUMPTIONS}):"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the plan.

    Raises:
        UserError: the configuration is refused, or the device is not described.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="studies to lay over config.yaml, later ones on top")
    parser.add_argument("--gpu", default=DEFAULT, help="a device of resources/plan/assumptions.yaml, or `here`")
    parser.add_argument("--output", type=Path, help="a .csv, .json or .parquet file for the plan by rule and run")
    arguments = parser.parse_args(argv)
    config = read_study(arguments.files)
    here = arguments.gpu == "here"
    key = device_key(gpus(), list(read_yaml(ASSUMPTIONS)["devices"])) if here else arguments.gpu
    ends = [basis(config, key, RESULTS, end) for end in (0, 1)]
    every, left = dry_run(arguments.files, every=True), dry_run(arguments.files, every=False)
    rows = plan(config, every, left, key, RESULTS)
    if here:
        spent = read_all(job.benchmark for job in every)
        rows = at_measured_rates(rows, every, {path: one.seconds for path, one in spent.items()})
    print(f"Plan of the study `{config['study']}` on {ends[0].device.name} (GPU={key}). Nothing was run.\n")
    print(*table(rows), sep="\n")
    if len(left) < len(every):
        print(f"\nStill to do: {len(left)} of {len(every)} jobs", *table(to_do_part(rows)), sep="\n")
    print("", *sources(config, ends, here), sep="\n")
    claims = [Claim(**entry) for entry in read_yaml(CLAIMS)["claims"]]
    assumed = read_yaml(ASSUMPTIONS)["verdicts"]
    print("", POWER, *lines(powers(claims, config, assumed), claims, assumed), sep="\n")
    if arguments.output:
        write(rows, arguments.output)


if __name__ == "__main__":
    run_main(main)
