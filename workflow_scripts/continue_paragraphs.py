"""Rule `continue_paragraphs`: sample completions from every paragraph boundary and grade them (method, section 5).

From the state at boundary k < K of a response (its prompt and first c_k tokens, as token ids) `n_continuations`
completions are sampled with the rollouts' settings, each with the tokens that the response had left. A completion that
reaches its limit is incorrect. A response without tokens (K = 0) is continued from its prompt, so that it has a value
too. With `values.adaptive` they are sampled and graded in rounds, each for the boundaries that are still uncertain
(module `values.adaptive`); a fixed number would give the same continuations first, then others.

The random stream of a continuation is named by its problem, its prefix and its number. So neither shards nor batches
nor the order of the responses change it, and responses of one problem that share a prefix (s_0 above all) share its
completions: it is the same state.
"""

import argparse
from collections.abc import Sequence

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.engines.start import add_options, sampling_of, start
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.grading.responses import ResponseGrader
from workflow_scripts.lib.models.load import ModelConfig, identity_of
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.values.adaptive import design_of
from workflow_scripts.lib.values.continuations import Sampler, collect_prefixes, continue_all, tabulate
from workflow_scripts.lib.values.responses import valued_rollouts


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, dataset, rollouts, values, grading")
    parser.add_argument("--shard", required=True, type=int, help="number of the shard of valued problems")
    parser.add_argument("--problems", required=True, nargs="+")
    parser.add_argument("--rollouts", required=True, nargs="+", help="the shards with the problems of this one")
    parser.add_argument("--paragraphs", required=True)
    add_options(parser)
    parser.add_argument("--workers", type=int, default=1, help="processes that grade")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    model, settings, values = ModelConfig.from_entry(params.model), params.rollouts, params.values
    identity = same_run(identity_of(model), problems=arguments.problems, rollouts=arguments.rollouts)
    same_run(identity | {"shard": arguments.shard}, paragraphs=arguments.paragraphs)
    problems = read_parquet(arguments.problems)
    rollouts = valued_rollouts(problems, read_parquet(arguments.rollouts), values, arguments.shard)
    prefixes = collect_prefixes(rollouts, read_parquet(arguments.paragraphs))
    grader = ResponseGrader.of(problems, params.dataset, params.grading, arguments.workers)
    engine, tokenizer = start(settings, model, arguments), load_tokenizer(model)
    sampler = Sampler(engine, sampling_of(settings), values.seed, tokenizer, grader)
    graded = continue_all(prefixes, design_of(values), sampler.draw)
    table = tabulate(graded, rollouts["problem_id"].to_list())
    write_parquet(table, arguments.output, table_metadata("continuations", identity, shard=arguments.shard))


if __name__ == "__main__":
    run_main(main)
