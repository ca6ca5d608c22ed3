"""The report's section on prune curves: figures, excerpts, verdicts by curve."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.lib.claims.curve_rules import JUDGES, RULES, Curve, judge_level, summarise
from workflow_scripts.lib.claims.verdicts import SUPPORTED, VERDICTS, Finding
from workflow_scripts.lib.formatting import interval, number
from workflow_scripts.lib.report.parts import FigureView, caption_of, data_uri

PLACES = {
    "initial": "Value probes at the last prompt token",
    "final": "Value probes at the last response token",
    "paragraph": "Dopamine probes on paragraphs",
}
"""Where a probe is read, and how the report calls it."""
FIGURE_PLACES = {
    **dict.fromkeys(("fig1", "fig5", "fig6", "fig7"), "initial"),
    "fig11": "final",
    "fig4": "paragraph",
}
METRICS = {"initial": "AUC", "final": "AUC", "paragraph": "Spearman correlation"}
CHANCE = {"initial": 0.5, "final": 0.5, "paragraph": 0.0}


@dataclass(frozen=True)
class Judged:
    """All verdicts on one run at one place: by claim, then by layer."""

    run: str
    place: str
    verdicts: dict[str, dict[int, Finding]]
    curves: tuple[Curve, ...]

    @property
    def layers(self) -> list[int]:
        """The layers judged."""
        return [curve.layer for curve in self.curves]

    @property
    def sentences(self) -> dict[str, str]:
        """One sentence per claim."""
        return {claim: summarise(by_layer) for claim, by_layer in self.verdicts.items()}

    @property
    def best(self) -> str:
        """The layer with the highest value at full inputs, in words, with the remark that the data shown chose it."""
        known = [c for c in self.curves if c.points[0].value is not None and c.points[0].prune_ratio == 0]
        if not known:
            return ""
        top = max(known, key=lambda curve: curve.points[0].value or 0.0)
        first, last = top.points[0], top.points[-1]
        of = "" if len(self.curves) == 1 else f" (the highest of {len(self.curves)} layers, chosen on the data shown)"
        ceiling = f"; noise ceiling {number(top.noise_ceiling)}" if top.noise_ceiling is not None else ""
        return (
            f"Layer {top.layer}{of}: {METRICS[self.place]} {number(first.value)} "
            f"[{number(first.ci_low)}, {number(first.ci_high)}] with all inputs, {number(last.value)} "
            f"[{number(last.ci_low)}, {number(last.ci_high)}] at prune ratio {last.prune_ratio:g}{ceiling}."
        )


def judge(curves: Sequence[Curve]) -> list[Judged]:
    """Every claim on every curve, grouped by place and run."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for place in PLACES:
        for curve in curves:
            if curve.place == place:
                groups.setdefault((place, curve.run), []).append(curve)
    return [
        Judged(
            run,
            place,
            {
                claim: {curve.layer: rule(curve.points, CHANCE[place]) for curve in members}
                for claim, rule in JUDGES.items()
            },
            tuple(members),
        )
        for (place, run), members in groups.items()
    ]


def beside_published(entry: dict[str, Any], judged: Sequence[Judged]) -> list[str]:
    """What is found here on something that the paper prints: one sentence for each run judged."""
    place = FIGURE_PLACES[entry["figure"]]
    sentences = []
    for item in judged:
        if item.place != place:
            continue
        if entry["claim"] == "level":
            by_layer = {curve.layer: judge_level(curve.points, entry["level"]) for curve in item.curves}
        else:
            by_layer = item.verdicts[entry["claim"]]
        sentences.append(f"{item.run}: {summarise(by_layer)}")
    return sentences


SHOWN_RATIOS = (0.0, 0.5, 0.9, 0.99)


def drawn(figure: str, config: dict[str, Any]) -> tuple[list[str], list[int] | None]:
    """Runs and layers that a figure draws; no list of layers means all."""
    section = config.get("figures", {}).get(figure, {})
    layers = section.get("layers")
    return list(section.get("runs") or []), None if layers in (None, "all") else list(layers)


def in_figure(figure: str, config: dict[str, Any], curves: Sequence[Curve]) -> list[Judged]:
    """The verdicts on what a figure draws, and on nothing else."""
    runs, layers = drawn(figure, config)
    place = FIGURE_PLACES[figure]
    chosen = [c for c in curves if c.place == place and c.run in runs and (layers is None or c.layer in layers)]
    return judge(chosen)


def figure_view(path: Path, captions: dict[str, Path], config: dict[str, Any], curves: Sequence[Curve]) -> FigureView:
    """A figure with its caption, a text alternative, and what it shows in words."""
    title, caption = caption_of(path.stem, captions)
    judged = in_figure(path.stem, config, curves)
    lines = [f"{item.run}. {item.best or item.sentences['informative']}" for item in judged]
    shown = " ".join(lines) or "No curve is shown."
    metric = METRICS[FIGURE_PLACES[path.stem]]
    alt = (
        f"{title}. Line charts of the {metric} against the prune ratio. {shown} The numbers stand in the tables below."
    )
    return FigureView(path.stem, title, caption, alt, data_uri(path), lines)


def curve_rows(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """The excerpt of the pruning tables: one row per curve, some prune ratios in columns."""
    rows = []
    for item in judged:
        for curve in item.curves:
            at = {point.prune_ratio: point for point in curve.points}
            last = curve.points[-1]
            rows.append(
                {
                    "place": item.place,
                    "run": item.run,
                    "layer": curve.layer,
                    "values": [
                        interval(at[r].value, at[r].ci_low, at[r].ci_high) if r in at else "–" for r in SHOWN_RATIOS
                    ],
                    "random": number(last.random_mean),
                    "shuffled": number(curve.points[0].shuffled),
                    "ceiling": number(curve.noise_ceiling),
                    "reason": next((p.reason for p in curve.points if p.value is None and p.reason), None),
                }
            )
    return rows


def tally(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """How often each verdict was given on each claim at each place, over runs and layers."""
    rows = []
    for place, name in PLACES.items():
        members = [item for item in judged if item.place == place]
        for claim, rule in RULES.items():
            given = [f.verdict for item in members for f in item.verdicts[claim].values()]
            if given:
                counts = [given.count(verdict) for verdict in VERDICTS]
                rows.append({"place": name, "claim": rule.short, "counts": counts, "total": len(given)})
    return rows


def chance_note(judged: Sequence[Judged], confidence: float) -> str:
    """How many verdicts of the first claim chance alone would make `supported`."""
    given = [f.verdict for item in judged for f in item.verdicts["informative"].values() if f.verdict != "not judged"]
    expected = len(given) * (1 - confidence) / 2
    return (
        f"{len(given)} curves were held against chance at {100 * confidence:g} % confidence, without correction "
        f"for their number; if there were nothing to find, about {expected:.1f} of them would still be expected to "
        f"come out as supported. {given.count(SUPPORTED)} did."
    )
