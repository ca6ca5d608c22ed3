"""How tables, figures and report call what was held and how."""

SELECTIONS = {
    "none": "no neuron",
    "value": "value neurons",
    "value_final": "value neurons (final state)",
    "random": "random neurons",
    "random_matched": "matched random neurons",
    "random_sink_free": "sink-free random neurons",
    "ntp": "NTP neurons",
    "magnitude": "neurons by magnitude",
    "wanda": "neurons by Wanda",
}
"""The selections of neurons, in the order of the tables; `none` is the unmasked run."""
MODES = {"zero": "held at zero", "mean": "held at their mean", "scale": "multiplied"}


def is_random(selection: str) -> bool:
    """Whether a selection is drawn, and each draw is another set of neurons."""
    return selection.startswith("random")


def condition_words(layer: int, selection: str, draw: int, share: float, mode: str, factor: float) -> str:
    """One condition, for a message: `layer 2, random draw 1, share 0.01, zero`."""
    drawn = f" draw {draw}" if is_random(selection) else ""
    by = f" by {factor:g}" if mode == "scale" else ""
    return f"layer {layer}, {selection}{drawn}, share {share:g}, {mode}{by}"
