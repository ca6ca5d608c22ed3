"""Rule `estimate_values`: estimate values V(s_k) and TD errors delta_k by Monte Carlo (method, section 5).

V(s_k) for k < K is the share of correct answers among the continuations from boundary k, with Wilson's interval; V(s_K)
= r is exact. delta_k = gamma V(s_k) - V(s_{k-1}) has Newcombe's interval. Even and odd continuations give two half
estimates with independent errors, for the noise ceiling. A response without tokens has s_0 only: a value and no TD
error.

Where the number of continuations was decided while they were drawn (`values.adaptive`), V is the unbiased estimate of
`values.adaptive`, so delta_k is unbiased too. The interval is Wilson's of the counts, widened to V where that lies
outside; it covers as often as with a fixed number (95 % on average over the true values). The halves are the even and
odd ones of the first round, which every boundary has: their errors are as independent, but larger.
"""

import argparse
from collections.abc import Sequence

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.values.estimation import estimate_values


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: values (what was drawn, gamma, min_abs_delta)")
    for name in ("rollouts", "paragraphs", "continuations"):
        parser.add_argument(f"--{name}", required=True, nargs="+", help="all shards")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    tables = {name: getattr(arguments, name) for name in ("rollouts", "paragraphs", "continuations")}
    identity = same_run({}, **tables)
    rollouts, paragraphs = read_parquet(arguments.rollouts), read_parquet(arguments.paragraphs)
    continuations = read_parquet(arguments.continuations)
    values = estimate_values(rollouts, paragraphs, continuations, load(arguments.params).values)
    write_parquet(values, arguments.output, table_metadata("values", identity))


if __name__ == "__main__":
    run_main(main)
