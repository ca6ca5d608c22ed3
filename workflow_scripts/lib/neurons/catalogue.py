"""The selections of neurons and the ways to intervene: names, labels, order."""

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
