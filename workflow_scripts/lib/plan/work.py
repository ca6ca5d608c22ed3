"""The amount of work: tokens, arithmetic and bytes of every rule and run, by configuration and lengths.

This module does not depend on the speed of a machine or the number of jobs; the workflow counts jobs
(`lib/plan/jobs.py`). A quantity follows from what the rule's module does; omitted parts are comparatively small.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from workflow_scripts.lib.config.sections import Interventions
from workflow_scripts.lib.config.study import pair
from workflow_scripts.lib.models.size import WIDTHS
from workflow_scripts.lib.neurons.conditions import n_conditions
from workflow_scripts.lib.plan.quantities import Lengths, Shares, Size, Work
from workflow_scripts.lib.search.methods import CATALOGUE

Config = dict[str, Any]


def works(
    config: Config, lengths: dict[str, Lengths], sizes: dict[str, Size], shares: Shares
) -> dict[tuple[str, str, str], Work]:
    """Return every rule's work by (rule, model, data set); `config` is filled, `lengths` are by run.

    A model without a size counts as one of width and weight 0: its tokens are planned, its bytes and operations not.
    """
    by_rule: dict[tuple[str, str, str], Work] = {}
    for run in config["rollouts"]["runs"]:
        model, dataset = pair(run)
        size = sizes.get(model, Size(0, 0, 0, 0, 0))
        for work in PlannedRun(config, run, lengths[run], size, shares).works():
            by_rule[work.rule, model, dataset] = work
    return by_rule


def count(limit: int | None, total: int) -> int:
    """Count the problems, of `total`, that a stage with a limit takes."""
    return min(limit or total, total)


def training_share(config: Mapping[str, Any]) -> float:
    """Return the share of a data set's problems in the training part."""
    return float(config["split"]["train_ratio"])


class PlannedRun:
    """One model on one data set, through every stage that it takes part in."""

    def __init__(self, config: Config, run: str, lengths: Lengths, size: Size, shares: Shares) -> None:
        self.config, self.run, self.lengths, self.size, self.shares = config, run, lengths, size, shares
        self.model, self.dataset = pair(run)
        self.problems = config["datasets"][self.dataset]["n_problems"]
        self.samples = config["rollouts"]["n_samples"]
        self.longest = config["rollouts"]["max_tokens"]
        self.train = training_share(config)
        self.whole = lengths.prompt + lengths.response
        self.state_bytes = self.size.hidden_size * WIDTHS[config["activations"]["dtype"]]

    def within(self, stage: str) -> bool:
        """Say whether the run is one of a stage's."""
        return self.run in self.config[stage]["runs"]

    def works(self) -> Iterator[Work]:
        """Yield the work of every rule that deals with this run only."""
        yield from self.responses()
        if self.within("values"):
            yield from self.values()
        if self.within("value_probes"):
            yield from self.probes()
        if self.within("dopamine_probes"):
            yield from self.dopamine()
        if self.within("interventions"):
            yield from self.interventions()
        if self.within("confidence"):
            yield from self.confidence()
        if self.within("search"):
            yield self.search()
        if self.within("trajectories"):
            yield from self.trajectories()

    def work(self, rule: str, **quantities: float) -> Work:
        """Return a piece of this run's work."""
        return Work(rule, self.model, self.dataset, **quantities)

    def responses(self) -> Iterator[Work]:
        """Yield the work of sampling and grading."""
        n, lengths = self.problems * self.samples, self.lengths
        disk = n * self.whole * self.shares.rollout_bytes
        yield self.work(
            "sample_rollouts",
            generated=n * lengths.response,
            read=self.problems * lengths.prompt,
            disk=disk,
            sequences=n,
            longest=self.longest,
        )
        yield self.work("grade_rollouts", graded=n, disk=disk)

    @property
    def valued(self) -> int:
        """Responses whose paragraphs are valued."""
        return count(self.config["values"]["n_problems"], self.problems) * self.samples

    def values(self) -> Iterator[Work]:
        """Yield the work of continuations from every boundary: the prefix is read once, however many there are."""
        settings, lengths = self.config["values"], self.lengths
        adaptive = settings.get("adaptive")
        n = settings["n_continuations"]
        if adaptive:
            n = lengths.n_continuations or adaptive["budget" if self.shares.adaptive else "first"]
        boundaries = self.valued * lengths.paragraphs
        generated = boundaries * n * lengths.rest
        yield self.work(
            "continue_paragraphs",
            generated=generated,
            read=boundaries * (lengths.prompt + lengths.offset),
            graded=boundaries * n,
            disk=generated * self.shares.response_bytes,
            sequences=boundaries * n,
            longest=self.longest,
        )

    def training(self, states: float, layers: int, probes: float, settings: Config) -> dict[str, float]:
        """Return the work of training perceptrons d -> hidden -> 1: six operations per weight and state in every epoch.

        States come to the device once an epoch, and once more when they are read.
        """
        weights = (self.size.hidden_size + 1) * settings["hidden"]
        epochs = settings["epochs"]
        cohorts = len(set(settings.get("seeds", [0])) | set(settings.get("shuffled_seeds", [])))
        return {
            "flops": 6 * weights * states * epochs * probes,
            "moved": states * layers * self.state_bytes * (1 + epochs * cohorts),
            "disk": 4 * weights * probes,
        }

    @property
    def states(self) -> float:
        """States s_0..s_T of all responses."""
        return self.problems * self.samples * (self.lengths.response + 1)

    def probes(self) -> Iterator[Work]:
        """Yield the work of hidden states, of value probes on them, and of pruned probes at both ends of a response."""
        settings, layers = self.config["value_probes"], len(self.config["activations"]["layers"])
        disk = self.states * layers * self.state_bytes
        read = self.problems * self.samples * self.whole
        yield self.work("dump_activations", read=read, disk=disk, moved=disk)
        probes = layers * (len(settings["seeds"]) + len(settings["shuffled_seeds"]))
        final = settings["target"] == "final"
        states = self.train * (self.problems * self.samples if final else self.states)
        yield self.work("train_value_probes", **self.training(states, layers, probes, settings))
        scored = (1 - self.train) * self.problems * self.samples
        yield self.work("score_value_probes", moved=disk, disk=self.scores(2 * scored, layers, settings))

    def scores(self, scored: float, layers: int, settings: Config) -> float:
        """Return the bytes of the scores of pruned probes: float32, which compression makes smaller by a seventh."""
        pruning, seeds = self.config["pruning"], len(settings["seeds"])
        entries = seeds * (1 + pruning["random_draws"] + pruning["retrain_pruned"]) + len(settings["shuffled_seeds"])
        return 4 * scored * layers * len(pruning["ratios"]) * entries

    def dopamine(self) -> Iterator[Work]:
        """Yield the work of mean states of paragraphs, under both normalisations, and of probes on the kept ones."""
        settings, layers = self.config["dopamine_probes"], len(self.config["activations"]["layers"])
        paragraphs = self.valued * self.lengths.paragraphs
        moved = self.valued * (self.lengths.response + 1) * layers * self.state_bytes
        disk = paragraphs * layers * self.size.hidden_size * 4
        kept = self.shares.kept_paragraphs * paragraphs
        seeds = len(settings["seeds"])
        shuffled = len(settings["shuffled_seeds"])
        for average, train, probes in (
            ("average_paragraphs", "train_dopamine_probes", layers * (seeds + shuffled)),
            ("average_causal_paragraphs", "train_causal_probes", layers * seeds),
        ):
            yield self.work(average, moved=moved, disk=disk)
            yield self.work(train, **self.training(self.train * kept, layers, probes, settings))
        scored = self.scores((1 - self.train) * kept, layers, settings)
        yield self.work("score_dopamine_probes", moved=disk, disk=scored)

    def interventions(self) -> Iterator[Work]:
        """Yield the work of probes to select by, a pass to measure neurons, and responses under every condition."""
        settings, ntp = self.config["interventions"], self.config["ntp_probes"]
        layers = settings["layers"]
        n = self.train * self.problems * self.samples
        probe = self.config["value_probes"]
        probes = len(layers) * len(probe["seeds"])
        yield self.work("train_final_probes", **self.training(n, len(layers), probes, probe))
        weights = ntp["hidden"] * (self.size.hidden_size + self.size.vocabulary)
        states = self.train * self.states
        yield self.work(
            "train_ntp_probes",
            flops=6 * weights * states * ntp["epochs"] * len(layers),
            moved=states * len(layers) * self.state_bytes * (1 + ntp["epochs"]),
            disk=4 * weights * len(layers),
        )
        yield self.work("measure_neurons", read=n * self.whole)
        conditions = sum(n_conditions(Interventions(settings), layer) for layer in layers)
        problems = count(settings["n_problems"], self.problems)
        generated = conditions * problems * self.samples * self.lengths.response
        yield self.work(
            "mask_neurons",
            generated=generated,
            read=conditions * problems * self.lengths.prompt,
            graded=conditions * problems * self.samples,
            disk=generated * self.shares.response_bytes,
            sequences=len(layers) * problems * self.samples,  # one condition after the other
            longest=self.longest,
        )

    def confidence(self) -> Iterator[Work]:
        """Yield the work of one token after each prompt, and of verbalized confidence.

        The other tries follow where the first names no number.
        """
        settings = self.config["confidence"]
        again = self.shares.unparsed if self.lengths.unparsed is None else self.lengths.unparsed
        tries = 1 + again * (settings["verbal_tries"] - 1)
        asked = self.problems * (1 if self.lengths.asked is None else self.lengths.asked)
        yield self.work(
            "ask_confidence",
            generated=self.problems + asked * tries * settings["verbal_tokens"],
            read=(self.problems + asked * (1 + again)) * self.lengths.prompt,
            sequences=self.problems,
            longest=settings["verbal_tokens"],
        )
        layers = len(self.config["activations"]["layers"])
        fitted = self.problems * self.samples * layers * (settings["folds"] + 1) * self.size.hidden_size
        yield self.work("predict_confidence", moved=self.states * layers * self.state_bytes, fitted=fitted)

    def search(self) -> Work:
        """Return the work of all methods and seeds.

        A guided method draws every paragraph `candidates` times and reads each to score it. The responses that
        `best_of_n` and `majority` pick among are drawn once, for the number of tokens that a guided method takes.
        """
        settings, lengths = self.config["search"], self.lengths
        n, methods = settings["candidates"], [CATALOGUE[name] for name in settings["methods"]]
        problems = count(settings["n_problems"], round((1 - self.train) * self.problems)) * len(settings["seeds"])
        of_kind = {kind: [method for method in methods if method.kind == kind] for kind in ("guided", "whole", "alone")}
        guided, whole = of_kind["guided"], of_kind["whole"]
        per_problem = (n * (len(guided) + bool(whole)) + len(of_kind["alone"])) * lengths.response
        to_boundary = lengths.prompt + lengths.offset
        again = self.shares.reread * (lengths.paragraphs - 1) * to_boundary
        scored = n * lengths.paragraphs * (to_boundary + lengths.response / lengths.paragraphs)
        read = lengths.prompt * len(methods) + len(guided) * again
        read += sum(bool(one.needs) for one in guided) * scored
        read += n * self.whole * sum(bool(one.needs) for one in whole)
        return self.work(
            "guide_search",
            generated=problems * per_problem,
            read=problems * read,
            disk=problems * per_problem * self.shares.rollout_bytes,
            sequences=problems * n,
            longest=self.longest,
        )

    def trajectories(self) -> Iterator[Work]:
        """Yield the work of followed neurons, and of reading the same tokens again under ablation.

        Value neurons and every random draw are ablated.
        """
        layers = len(self.config["activations"]["layers"])
        moved = self.valued * (self.lengths.response + 1) * layers * self.state_bytes
        yield self.work("trace_neurons", moved=moved)
        draws = 1 + self.config["trajectories"]["draws"]
        yield self.work("ablate_value_neurons", read=draws * self.valued * self.whole, moved=moved)
