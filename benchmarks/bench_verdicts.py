"""Calibration of verdicts: worlds with a known truth, one family an estimand, judged by what judges claims.

Usage: python -m benchmarks.bench_verdicts [--worlds 1000] [--family auc_level ...] [--seed 0] [--draws 200]

Every world draws problems, outcomes, scores or sets anew from a population in which the estimand is known exactly:

- AUC: binormal scores, d * reward + unit noise, have AUC Phi(d / sqrt 2). A probe seed's own d is normal around it with
  standard deviation s (`SEED_D`; 0.4 in `auc_seeds`); then the mean over seeds is Phi(d / sqrt(2 + s^2)). Noise is
  shared in part by layers, seeds, readers and both models; outcomes of the models are those of one latent difficulty.
- Spearman: predictions and targets of paragraphs are jointly normal with correlation rho, which gives 6 / pi
  asin(rho / 2), whatever problems share; the mean over seeds is a Gauss-Hermite sum.
- Accuracies: a problem is solved if a normal latent lies below Phi^-1(accuracy); latents of conditions share 85 % of
  their variance. A random draw of neurons shifts the threshold by a normal number; the mean over draws is again Phi of
  a scaled threshold.
- Sets: a seed takes Binomial(size, p) neurons from a core of `CORE` and the others from outside, both uniformly, so
  that the number that two sets share is a sum of two hypergeometric numbers; p of a seed is one of two. The mean IoU is
  a finite sum over these numbers, and p is solved for.

The layers' truths differ; their average is at the margin (`at`), or `effect` beyond it on the claim's side (`for`) or
the other (`against`). Rates are among worlds that pass the gate. False verdicts at the margin may be at most 2.5 % plus
twice their Monte-Carlo error, on either side: `miss` marks others. `narrow` and `wide` mark intervals that cover less
than 93 % or more than 97 % of the truths, beyond the same error.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, hypergeom, norm

from benchmarks.timing import machine
from workflow_scripts.lib.claims.decide import ABOVE, BELOW, Decision, against_all, decide, keeps
from workflow_scripts.lib.claims.verdicts import CONTRADICTED, SUPPORTED
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.estimands import (
    ACCURACY_DIFFERENCE,
    AUC,
    AUC_DIFFERENCE,
    SPEARMAN,
    SPEARMAN_DIFFERENCE,
    Size,
)
from workflow_scripts.lib.statistics.joint import auc_cell, paired_cell, resample, spearman_cell
from workflow_scripts.lib.statistics.joint_intervals import Interval, interval
from workflow_scripts.lib.statistics.set_overlap import expected, iou, overlap_interval, pairs_of_seeds

Array = np.ndarray
Rng = np.random.Generator
MODELS, SEEDS, DRAWN = 2, 3, 5
SEED_D, SEED_RHO, DRAW_SHIFT, SEED_P = 0.1, 0.04, 0.1, 0.1
TILT = np.array([-1.0, 0.0, 1.0])
"""How the truths of the three layers differ from their mean, in units that each family scales."""
WIDTH, SET, CORE = 576, 12, 24
SIDES = {"against": -1, "at": 0, "for": 1}


@dataclass(frozen=True)
class World:
    """What was decided in one world, the interval behind it (None without one), and the truth."""

    decision: Decision
    interval: Interval
    truth: float


@dataclass(frozen=True)
class Setting:
    """Where a family is tried: numbers of problems, accuracy, and how far from the margin."""

    n: int
    accuracy: float
    effect: float
    """Distance of the truth from the margin, positive on the claim's side."""
    draws: int


@dataclass(frozen=True)
class Family:
    """Worlds of one kind of estimand."""

    make: Callable[[Rng, Setting], World]
    effect: float
    """Distance from the margin at which power is measured."""
    sizes: Sequence[int] = (50, 100, 300)
    accuracies: Sequence[float] = (0.1, 0.5)
    sides: Sequence[str] = ("against", "at", "for")


def d_of(auc: Array, spread: float) -> Array:
    """Return the mean distance of classes at which the mean AUC over seeds is `auc`."""
    return norm.ppf(auc) * np.sqrt(2 + spread**2)


def outcomes(rng: Rng, n: int, accuracy: float) -> Array:
    """Draw rewards `[models, n]` from one latent difficulty and each model's own part."""
    latent = np.sqrt(0.7) * rng.normal(size=n) + np.sqrt(0.3) * rng.normal(size=(MODELS, n))
    return (latent < norm.ppf(accuracy)).astype(float)


def scores(rng: Rng, rewards: Array, readers: Sequence[Array], alike: float, spread: float = SEED_D) -> list[Array]:
    """Draw scores `[models, layers, seeds, n]` of several readers with the AUCs `[layers]` of each.

    `alike` is the share of a reader's noise that all readers have in common, `spread` that of the seeds' d.
    """
    models, n = rewards.shape
    layers = len(readers[0])
    parts = (
        (0.3, (1, 1, 1, n)),
        (0.3, (models, 1, 1, n)),
        (0.25, (1, layers, 1, n)),
        (0.15, (models, layers, SEEDS, n)),
    )

    def noise() -> Array:
        return sum((np.sqrt(part) * rng.normal(size=shape) for part, shape in parts), np.zeros(1))

    common, found = noise(), []
    for auc in readers:
        d = d_of(auc, spread)[None, :, None] + spread * rng.normal(size=(models, layers, SEEDS))
        own = np.sqrt(alike) * common + np.sqrt(1 - alike) * noise()
        found.append(d[..., None] * rewards[:, None, None] + own)
    return found


def cells(of: Array, rewards: Array, weights: Array) -> Array:
    """Average the AUC cells of models and layers: `[seeds, 1 + draws]`."""
    mean = np.zeros((SEEDS, weights.shape[1]))
    for model, reward in zip(of, rewards, strict=True):
        found = auc_cell(model.reshape(-1, model.shape[-1]), reward, weights)
        mean += found.reshape(-1, SEEDS, found.shape[-1]).mean(0) / len(of)
    return mean


def size_of(rewards: Array) -> Size:
    """Count problems, and the fewest of the rarer outcome over models."""
    right = rewards.sum(-1)
    return Size(rewards.shape[-1], int(np.minimum(right, rewards.shape[-1] - right).min()))


def weights_of(rng: Rng, n: int, draws: int) -> Array:
    """Resample problems with a stream of the world's own."""
    return resample(n, draws, int(rng.integers(2**62))).weights


def auc_level(
    margin: float, tilt: float, constant: int = 0, single: bool = False, spread: float = SEED_D
) -> Callable[[Rng, Setting], World]:
    """Make worlds of a mean AUC over models, layers and seeds, or of a `single` cell.

    At `constant` more layers all problems have one score.
    """

    def world(rng: Rng, at: Setting) -> World:
        rewards, truth = outcomes(rng, at.n, at.accuracy)[: 1 if single else MODELS], margin + at.effect
        tilts = tilt * (TILT[1:2] if single else TILT)
        layers = len(tilts) + constant
        (found,) = scores(rng, rewards, [(truth * layers - 0.5 * constant) / len(tilts) + tilts], 1.0, spread)
        found = np.concatenate([found, np.zeros((len(rewards), constant, SEEDS, at.n))], axis=1)
        cell = cells(found, rewards, weights_of(rng, at.n, at.draws))
        got = interval(AUC, [size_of(rewards)], [cell])
        return World(decide(got, margin, ABOVE, "AUC"), got, truth)

    return world


def auc_datasets(margin: float) -> Callable[[Rng, Setting], World]:
    """Make worlds of a mean AUC over three data sets: one of n problems, the others easier to solve or larger."""

    def world(rng: Rng, at: Setting) -> World:
        truth, parts, sizes = margin + at.effect, [], []
        for times, accuracy, tilt in ((1, at.accuracy, -0.04), (1, 0.5, 0.0), (3, 0.7, 0.04)):
            rewards = outcomes(rng, times * at.n, accuracy)
            (found,) = scores(rng, rewards, [truth + tilt + 0.03 * TILT], 1.0)
            parts.append(cells(found, rewards, weights_of(rng, times * at.n, at.draws)))
            sizes.append(size_of(rewards))
        got = interval(AUC, sizes, [np.mean(parts, axis=0)])
        return World(decide(got, margin, ABOVE, "AUC"), got, truth)

    return world


def auc_difference(
    margin: float, alike: float, kept: bool, low: float = 0.74, tilt: float = 0.03
) -> Callable[[Rng, Setting], World]:
    """Make worlds of the paired difference of two readers; `kept` asks whether the second keeps the first's level."""

    def world(rng: Rng, at: Setting) -> World:
        rewards, truth = outcomes(rng, at.n, at.accuracy), margin + at.effect
        first, second = low + truth + tilt * TILT, low + tilt / 2 * TILT
        weights = weights_of(rng, at.n, at.draws)
        one, other = (cells(s, rewards, weights) for s in scores(rng, rewards, [first, second], alike))
        size = [size_of(rewards)]
        got = interval(AUC_DIFFERENCE, size, [one - other])
        if kept:
            return World(keeps(got, interval(AUC, size, [other]), margin, 0.55, "kept"), got, truth)
        return World(decide(got, margin, ABOVE, "difference"), got, truth)

    return world


def auc_rare_moves(margin: float, auc: float = 0.74) -> Callable[[Rng, Setting], World]:
    """Make worlds where pruning changes the score of few problems: it becomes one of the other outcome.

    A share c of changed scores lowers an AUC of A by exactly c (2 A - 1). Seeds do not differ.
    """

    def world(rng: Rng, at: Setting) -> World:
        truth = margin + at.effect
        rewards = outcomes(rng, at.n, at.accuracy)[0]
        moved = rng.random(at.n) < -truth / (2 * auc - 1)
        distance = d_of(np.array(auc), 0.0)
        full = distance * rewards + rng.normal(size=at.n)
        pruned = np.where(moved, distance * (1 - rewards) + rng.normal(size=at.n), full)
        weights, size = weights_of(rng, at.n, at.draws), [size_of(rewards[None])]
        one, other = (auc_cell(part, rewards, weights)[0] for part in (pruned, full))
        got = interval(AUC_DIFFERENCE, size, fixed=one - other)
        return World(keeps(got, interval(AUC, size, fixed=other), margin, 0.55, "kept"), got, truth)

    return world


def opponents(easy: int, undefined: bool = False) -> Callable[[Rng, Setting], World]:
    """Make worlds with three opponents: `easy` ones are beaten by far, one may never have been measured."""

    def world(rng: Rng, at: Setting) -> World:
        rewards, margin = outcomes(rng, at.n, at.accuracy), 0.02
        truth = margin + at.effect
        readers: list[Array] = [0.8 + 0.03 * TILT]
        readers += [0.8 - (0.2 if i < easy else truth) + 0.02 * TILT for i in range(3)]
        weights, size = weights_of(rng, at.n, at.draws), [size_of(rewards)]
        own, *others = (cells(s, rewards, weights) for s in scores(rng, rewards, readers, 0.6))
        found: dict[str, Interval | None] = {
            f"opponent {i}": interval(AUC_DIFFERENCE, size, [own - other]) for i, other in enumerate(others)
        }
        last = found["opponent 2"]
        assert last is not None
        if undefined:
            found["opponent 0"] = None
        return World(against_all(found, margin, ABOVE, "difference"), last, truth)

    return world


def spearman_of(rho: float, spread: float = SEED_RHO) -> float:
    """Return the mean Spearman correlation over seeds whose normal correlation is spread around rho."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(40)
    within = np.clip(rho + spread * nodes, -1, 1)
    return float(6 / np.pi * np.arcsin(within / 2) @ mass / mass.sum())


@cache
def rho_of(spearman: float) -> float:
    """Return the normal correlation at which the mean Spearman correlation over seeds is `spearman`."""
    return float(brentq(lambda rho: spearman_of(rho) - spearman, -0.95, 0.95))


def predictions(rng: Rng, problems: Array, target: Array, rhos: Array, common: Array, alike: float) -> Array:
    """Draw predictions `[layers, seeds, rows]` that are jointly normal with the target of the paragraphs."""
    rows, layers = len(target), len(rhos)
    own = np.sqrt(0.3) * rng.normal(size=problems.max() + 1)[problems] + np.sqrt(0.7) * rng.normal(size=rows)
    shared = np.sqrt(alike) * common + np.sqrt(1 - alike) * own
    noise = np.sqrt(0.7) * shared + np.sqrt(0.15) * rng.normal(size=(layers, 1, rows))
    noise = noise + np.sqrt(0.15) * rng.normal(size=(layers, SEEDS, rows))
    rho = (rhos[:, None] + SEED_RHO * rng.normal(size=(layers, SEEDS)))[..., None]
    return rho * target + np.sqrt(1 - rho**2) * noise


def paragraphs(rng: Rng, n: int) -> tuple[Array, Array, Array]:
    """Draw each paragraph's problem, its TD error, and noise that readers share; both partly shared in a problem."""
    problems = np.repeat(np.arange(n), 1 + rng.poisson(3, n))

    def partly(shared: float) -> Array:
        own = np.sqrt(1 - shared) * rng.normal(size=len(problems))
        return np.sqrt(shared) * rng.normal(size=n)[problems] + own

    return problems, partly(0.2), partly(0.3)


def spearman_level(margin: float, constant: int = 0) -> Callable[[Rng, Setting], World]:
    """Make worlds of a mean correlation over layers and seeds; some more layers predict one number."""

    def world(rng: Rng, at: Setting) -> World:
        problems, target, common = paragraphs(rng, at.n)
        truth, layers = margin + at.effect, len(TILT) + constant
        rhos = np.array([rho_of(float(truth * layers / len(TILT) + 0.03 * part)) for part in TILT])
        found = predictions(rng, problems, target, rhos, common, 1.0)
        found = np.concatenate([found, np.zeros((constant, SEEDS, len(target)))])
        cell = spearman_cell(found.reshape(-1, len(target)), target, weights_of(rng, at.n, at.draws)[problems])
        got = interval(SPEARMAN, [Size(at.n)], [cell.reshape(layers, SEEDS, -1).mean(0)])
        return World(decide(got, margin, ABOVE, "Spearman"), got, truth)

    return world


def spearman_difference(margin: float, alike: float) -> Callable[[Rng, Setting], World]:
    """Make worlds of the paired difference of two readers' correlations."""

    def world(rng: Rng, at: Setting) -> World:
        problems, target, common = paragraphs(rng, at.n)
        weights, truth = weights_of(rng, at.n, at.draws)[problems], margin + at.effect
        total = np.zeros((SEEDS, weights.shape[1]))
        for mean, sign in ((0.3 + truth, 1), (0.3, -1)):
            rhos = np.array([rho_of(float(mean + 0.03 * part)) for part in TILT])
            found = predictions(rng, problems, target, rhos, common, alike).reshape(-1, len(target))
            total += sign * spearman_cell(found, target, weights).reshape(len(TILT), SEEDS, -1).mean(0)
        got = interval(SPEARMAN_DIFFERENCE, [Size(at.n)], [total])
        return World(decide(got, margin, ABOVE, "difference"), got, truth)

    return world


def accuracy(margin: float, harms: Array, drawn: bool = False, collapsed: int = 0) -> Callable[[Rng, Setting], World]:
    """Make worlds of a mean accuracy difference over layers, claimed to lie below a negative margin.

    `harms` are the layers' shares of it (mean 1). The other condition is the unmasked model, or `DRAWN` random sets
    that do some harm themselves. At `collapsed` more layers nothing is solved in either condition.
    """

    def world(rng: Rng, at: Setting) -> World:
        layers, truth = len(harms) + collapsed, margin - at.effect
        harm: Array = truth * harms * layers / len(harms)
        base = rng.normal(size=at.n)
        resamples = resample(at.n, at.draws, int(rng.integers(2**62)))

        def solved(share: Array, shift: float = 0.0) -> Array:
            latent = np.sqrt(0.85) * base + np.sqrt(0.15) * rng.normal(size=(*np.shape(share), at.n))
            return (latent < norm.ppf(share)[..., None] * np.sqrt(1 + shift**2)).astype(float)

        unmasked = solved(np.array(at.accuracy))
        size = [Size(at.n, int(min(unmasked.sum(), at.n - unmasked.sum())))]
        masked = solved(np.clip(at.accuracy + harm, 0, 1))
        if drawn:
            shifts = DRAW_SHIFT * rng.normal(size=(DRAWN, 1, 1))
            latent = np.sqrt(0.85) * base + np.sqrt(0.15) * rng.normal(size=(DRAWN, len(harms), at.n))
            others = latent < norm.ppf(at.accuracy) * np.sqrt(1 + DRAW_SHIFT**2) + shifts
            gaps = (masked - others).sum(1) / layers
            got = interval(ACCURACY_DIFFERENCE, size, [paired_cell(gaps, resamples)])
        else:
            gaps = (masked - unmasked).sum(0) / layers
            got = interval(ACCURACY_DIFFERENCE, size, fixed=paired_cell(gaps, resamples))
        return World(decide(got, margin, BELOW, "accuracy"), got, truth)

    return world


def sets_truth(p: float, spread: float) -> float:
    """Compute the mean IoU of two seeds' sets, by summing over their core sizes and over what they share."""
    taken = np.arange(SET + 1)
    mass = np.mean([binom(SET, p + sign * spread).pmf(taken) for sign in (-1, 1)], axis=0)
    total = 0.0
    for a in taken:
        for b in taken:
            core = hypergeom(CORE, a, b).pmf(np.arange(SET + 1))
            rest = hypergeom(WIDTH - CORE, SET - a, SET - b).pmf(np.arange(SET + 1))
            shared = np.arange(2 * SET + 1)
            total += mass[a] * mass[b] * np.convolve(core, rest) @ iou(shared, np.array(SET), np.array(SET))
    return float(total)


@cache
def p_of(truth: float) -> float:
    """Return the share of core neurons at which the mean IoU less its expectation is `truth`."""
    chance = expected(WIDTH, SET, SET)
    return float(brentq(lambda p: sets_truth(p, SEED_P) - chance - truth, SEED_P, 1 - SEED_P))


def sets(margin: float) -> Callable[[Rng, Setting], World]:
    """Make worlds of a mean IoU over layers and pairs of seeds; `n` is the number of seeds."""

    def world(rng: Rng, at: Setting) -> World:
        truth, seeds = margin + at.effect, at.n
        quality = p_of(truth) + SEED_P * rng.choice([-1, 1], seeds)
        found = []
        for _ in range(len(TILT)):
            masks = np.zeros((seeds, WIDTH), bool)
            for row, taken in zip(masks, rng.binomial(SET, quality), strict=True):
                row[rng.choice(CORE, taken, replace=False)] = True
                row[CORE + rng.choice(WIDTH - CORE, SET - taken, replace=False)] = True
            found.append(pairs_of_seeds(masks, masks))
        got = overlap_interval(found, [expected(WIDTH, SET, SET)] * len(found), SET)
        return World(decide(got, margin, ABOVE, "IoU"), got, truth)

    return world


EVEN = np.array([2.0, 1.0, 0.5, 0.5])
SEEDED = {"sizes": (3, 5, 10), "accuracies": (0.0,)}
PAIRS = (0.0,)
FAMILIES: Mapping[str, Family] = {
    "auc_level": Family(auc_level(0.55, 0.03), 0.1),
    "auc_high": Family(auc_level(0.8, 0.05), 0.1),
    "auc_near_1": Family(auc_level(0.97, 0.005), 0.02, accuracies=(0.5,)),
    "auc_single": Family(auc_level(0.55, 0.0, single=True), 0.1),
    "auc_near_1_single": Family(auc_level(0.97, 0.0, single=True), 0.02, accuracies=(0.5,)),
    "auc_seeds": Family(auc_level(0.6, 0.0, single=True, spread=0.4), 0.1),
    "auc_datasets": Family(auc_datasets(0.6), 0.06),
    "auc_constant_layer": Family(auc_level(0.55, 0.03, constant=1), 0.1),
    "auc_difference": Family(auc_difference(0.02, 0.6, kept=False), 0.1),
    "auc_kept": Family(auc_difference(-0.02, 0.85, kept=True), 0.06),
    "auc_kept_rare_moves": Family(auc_rare_moves(-0.02), 0.02),
    "auc_kept_near_1": Family(auc_difference(-0.02, 0.85, kept=True, low=0.97, tilt=0.01), 0.02, accuracies=(0.5,)),
    "opponents_all_at": Family(opponents(easy=0), 0.1, sides=("at", "for")),
    "opponents_one_at": Family(opponents(easy=2), 0.1),
    "opponents_undefined": Family(opponents(easy=2, undefined=True), 0.1),
    "spearman_level": Family(spearman_level(0.1), 0.15, accuracies=PAIRS),
    "spearman_constant_layers": Family(spearman_level(0.1, constant=2), 0.15, accuracies=PAIRS),
    "spearman_difference": Family(spearman_difference(0.05, 0.6), 0.15, accuracies=PAIRS),
    "spearman_kept": Family(spearman_difference(-0.05, 0.85), 0.1, accuracies=PAIRS),
    "accuracy": Family(accuracy(-0.02, EVEN), 0.04),
    "accuracy_random": Family(accuracy(-0.02, EVEN, drawn=True), 0.04),
    "accuracy_one_layer": Family(accuracy(-0.02, np.ones(1)), 0.06),
    "accuracy_collapsed": Family(accuracy(-0.02, np.ones(1), collapsed=3), 0.05, accuracies=(0.5,)),
    "sets": Family(sets(0.05), 0.04, **SEEDED),  # type: ignore[arg-type]
}
HEAD = ("family", "n", "accuracy", "truth", "judged", "supported", "contradicted", "coverage", "half width", "")


def line_of(task: tuple[str, str, Setting, int, int]) -> list[str]:
    """Run the worlds of one setting of a family, and tabulate those that pass the gate."""
    name, side, at, worlds, seed = task
    make = FAMILIES[name].make
    made = [make(generator(seed, name, at.n, str(at.accuracy), side, i), at) for i in range(worlds)]
    judged = [world for world in made if world.interval.reason is None]
    first, count = [name, str(at.n), f"{at.accuracy:g}", side, f"{100 * len(judged) / worlds:.0f}"], len(judged)
    if count < 20:
        return [*first, "", "", "", "", "gated"]
    supported, contradicted = (
        sum(world.decision.verdict == verdict for world in judged) / count for verdict in (SUPPORTED, CONTRADICTED)
    )
    low, high = np.array([(world.interval.low, world.interval.high) for world in judged], float).T
    covered = float(((low <= judged[0].truth) & (judged[0].truth <= high)).mean())
    wrong = {"at": max(supported, contradicted), "for": contradicted, "against": supported}[side]
    rates = [f"{100 * part:.1f}" for part in (supported, contradicted, covered)]
    return [*first, *rates, f"{float((high - low).mean()) / 2:.3f}", found_wrong(wrong, covered, count)]


def found_wrong(wrong: float, covered: float, count: int) -> str:
    """Name what is wrong with a setting: too many false verdicts, an interval that is too narrow or too wide."""
    if wrong > 0.025 + 2 * np.sqrt(0.025 * 0.975 / count):
        return "miss"
    noise = 2 * np.sqrt(0.05 * 0.95 / count)
    return "narrow" if covered < 0.93 - noise else "wide" if covered > 0.97 + noise else ""


def tasks_of(name: str, worlds: int, seed: int, draws: int) -> list[tuple[str, str, Setting, int, int]]:
    """List the settings of a family, with a third of the worlds where the truth is not at the margin."""
    family = FAMILIES[name]
    return [
        (
            name,
            side,
            Setting(n, share, SIDES[side] * family.effect, draws),
            worlds if side == "at" else -(-worlds // 3),
            seed,
        )
        for n, share, side in product(family.sizes, family.accuracies, family.sides)
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Build the worlds, judge them, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--worlds", type=int, default=1000, help="with the truth at the margin; a third elsewhere")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=200, help="bootstrap resamples in each world")
    parser.add_argument("--jobs", type=int, default=1, help="processes; they change no number")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    print(f"machine: {machine()}; {arguments.worlds} worlds a row, {arguments.draws} draws; rates in %\n")
    print(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}")
    tasks = [
        task for name in arguments.family for task in tasks_of(name, arguments.worlds, arguments.seed, arguments.draws)
    ]
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        for line in map(line_of, tasks) if arguments.jobs == 1 else pool.map(line_of, tasks):
            print(f"| {' | '.join(line)} |", flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
