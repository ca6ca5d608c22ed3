"""Rule `prepare_problems`: number the problems of one shard and divide them into training and validation part.

The part depends only on the problem's id, so that a data set can grow without moving a problem (method, section 1). The
whole source is read for every shard: a malformed record or a repeated id is an error wherever it is.
"""

import argparse
import sys
from collections.abc import Sequence

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.problems.preparation import check_content, check_instructions, reference_problems, tabulate
from workflow_scripts.lib.problems.readers import content, read_problems
from workflow_scripts.lib.storage.identity import table_metadata
from workflow_scripts.lib.storage.tables import write_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: dataset (its n_problems ends with the shard), split")
    parser.add_argument("--records", help="the file of a data set with `source: file`")
    parser.add_argument("--shard", required=True, type=int)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    dataset, entry = params.dataset, params.raw["dataset"]
    problems = reference_problems(entry) if dataset.source == "reference" else read_problems(entry, arguments.records)
    content_hash = check_content(problems, entry)
    print(f"prepare_problems: {len(problems)} problems in {dataset.key}, content {content_hash}", file=sys.stderr)
    if dataset.answer == "instructions":
        check_instructions(problems)
    start = arguments.shard * dataset.shard_size
    metadata = table_metadata("problems", {"dataset": dataset.key}, shard=arguments.shard)
    metadata |= {"content": content(problems[start : dataset.n_problems])}
    write_parquet(tabulate(problems[: dataset.n_problems], params.split)[start:], arguments.output, metadata)


if __name__ == "__main__":
    run_main(main)
