"""Monte-Carlo continuations on vLLM and on the transformers engine, with neurons ablated, and without the prefix cache.

Usage: python -m benchmarks.bench_engines [--model FOLDER] [--rollouts SHARD] [--paragraphs SHARD]

Each engine runs in a process of its own; they take turns over the same continuations.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from benchmarks.timing import machine, side_by_side
from workflow_scripts.lib.engines.interface import EngineOptions, Sampling
from workflow_scripts.lib.engines.start import load_engine
from workflow_scripts.lib.models.interventions import Intervention
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.values.continuations import collect_prefixes

NEURONS = Intervention(2, (17, 101))
KINDS = {"transformers": (), "vllm": (NEURONS.layer,), "vllm without masks": (), "vllm without prefix cache": ()}
"""Engines, and the layers that are made ready to be masked."""


def serve(arguments: argparse.Namespace) -> None:
    """Answer each line of the standard input, `plain` or `masked`, with the tokens made in one round."""
    rollouts, paragraphs = read_parquet(arguments.rollouts), read_parquet(arguments.paragraphs)
    known = paragraphs["problem_id"].unique(maintain_order=True).to_list()[: arguments.problems]
    rollouts = rollouts.filter(rollouts["problem_id"].is_in(known))
    paragraphs = paragraphs.filter(paragraphs["problem_id"].is_in(known))
    wanted = [prefix.request(range(arguments.n), 256) for prefix in collect_prefixes(rollouts, paragraphs)]
    wanted = [request for request in wanted if request.max_tokens > 0]
    options = EngineOptions(arguments.batch_size, prefix_caching=not arguments.serve.endswith("cache"))
    engine = load_engine(
        arguments.serve.split()[0], ModelConfig("bench", arguments.model), options, KINDS[arguments.serve]
    )
    sampling = Sampling(1.0, 0.95, 256, logprobs=False)
    for line in sys.stdin:
        with engine.intervened(NEURONS) if line.strip() == "masked" else nullcontext():
            made = sum(len(one.token_ids) for _, found in engine.generate(wanted, sampling, 0) for one in found)
        print(json.dumps({"tokens": made, "prefixes": len(wanted)}), flush=True)


@contextmanager
def served(kind: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that serves one engine."""
    command = [sys.executable, "-m", "benchmarks.bench_engines", "--serve", kind, *sys.argv[1:]]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ask(process: "subprocess.Popen[str]", what: str) -> dict[str, int]:
    """Run one round."""
    assert process.stdin and process.stdout
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    while not (line := process.stdout.readline()).startswith("{"):
        assert line, "an engine ended"
    return json.loads(line)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resources/models/grpo")
    parser.add_argument("--rollouts", default="results/rollouts/grpo/ledger/0.parquet")
    parser.add_argument("--paragraphs", default="results/paragraphs/grpo/ledger/0.parquet")
    parser.add_argument("--problems", type=int, default=50, help="whose paragraphs are continued")
    parser.add_argument("--n", type=int, default=16, help="continuations of each boundary")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", choices=list(KINDS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments)
    rounds = [(kind, "plain") for kind in KINDS] + [("transformers", "masked"), ("vllm", "masked")]
    made: dict[str, dict[str, int]] = {}
    with ExitStack() as stack:
        processes = {kind: stack.enter_context(served(kind)) for kind in KINDS}
        start = time.perf_counter()
        for process in processes.values():
            ask(process, "plain")
        print(f"machine: {machine()}; the first rounds with all starts took {time.perf_counter() - start:.0f} s")
        contestants = {
            f"{kind}, {what}": lambda kind=kind, what=what: made.update({f"{kind}, {what}": ask(processes[kind], what)})
            for kind, what in rounds
        }
        found = side_by_side(contestants, arguments.repeats)
    for name, seconds in found.items():
        tokens, prefixes = made[name]["tokens"], made[name]["prefixes"]
        print(f"{name}: {seconds:.2f} s for {prefixes} prefixes, {tokens} tokens, {tokens / seconds:.0f} tokens/s")
    return None


if __name__ == "__main__":
    main()
