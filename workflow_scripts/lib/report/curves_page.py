"""The section of figures on pruning, and the verdicts on what each of them draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.lib.claims.curve_rules import JUDGES, Curve, summarise, with_interval
from workflow_scripts.lib.claims.verdicts import Finding
from workflow_scripts.lib.formatting import number
from workflow_scripts.lib.report.parts import FigureView, caption_of, data_uri

PLACES = {
    "initial": "Value probes at the last prompt token",
    "final": "Value probes at the last response token",
    "paragraph": "Dopamine probes on paragraphs",
}
"""Which state a probe reads, and how the report calls it."""
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
        """The layer with the highest value at full inputs, in words; it is selected on the data shown."""
        known = [c for c in self.curves if c.points[0].value is not None and c.points[0].prune_ratio == 0]
        if not known:
            return ""
        top = max(known, key=lambda curve: curve.points[0].value or 0.0)
        first, last = top.points[0], top.points[-1]
        of = "" if len(self.curves) == 1 else f" (the highest of {len(self.curves)} layers, selected on the data shown)"
        ceiling = f"; noise ceiling {number(top.noise_ceiling)}" if top.noise_ceiling is not None else ""
        return (
            f"Layer {top.layer}{of}: {METRICS[self.place]} {with_interval(first)} with all inputs, "
            f"{with_interval(last)} at prune ratio {last.prune_ratio:g}{ceiling}."
        )


def judge(curves: Sequence[Curve]) -> list[Judged]:
    """Judge every claim on every curve, grouped by place and run."""
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


def drawn(figure: str, config: dict[str, Any]) -> tuple[list[str], list[int] | None]:
    """List the runs and layers that a figure draws; no list of layers means all."""
    section = config.get("figures", {}).get(figure, {})
    layers = section.get("layers")
    return list(section.get("runs") or []), None if layers is None else list(layers)


def in_figure(figure: str, config: dict[str, Any], curves: Sequence[Curve]) -> list[Judged]:
    """Choose the verdicts on what a figure draws, and on nothing else."""
    runs, layers = drawn(figure, config)
    place = FIGURE_PLACES[figure]
    chosen = [c for c in curves if c.place == place and c.run in runs and (layers is None or c.layer in layers)]
    return judge(chosen)


def pruning_figures(
    paths: Sequence[Path], captions: dict[str, Path], config: dict[str, Any], curves: Sequence[Curve]
) -> list[FigureView]:
    """List the figures on pruning, in the order given."""
    return [figure_view(path, captions, config, curves) for path in paths if path.stem in FIGURE_PLACES]


def figure_view(path: Path, captions: dict[str, Path], config: dict[str, Any], curves: Sequence[Curve]) -> FigureView:
    """Build a figure with its caption, a text alternative, and what it shows in words."""
    title, caption = caption_of(path.stem, captions)
    judged = in_figure(path.stem, config, curves)
    lines = [f"{item.run}. {item.best or item.sentences['informative']}" for item in judged]
    shown = " ".join(lines) or "No curve is shown."
    metric = METRICS[FIGURE_PLACES[path.stem]]
    alt = f"{title}. Line charts of the {metric} against the prune ratio. {shown} The tables below hold the numbers."
    return FigureView(path.stem, title, caption, alt, data_uri(path), lines)
