"""Name the conditions under which neurons are intervened on."""

from workflow_scripts.lib.neurons.catalogue import is_random


def condition_words(layer: int, selection: str, draw: int, share: float, mode: str, factor: float) -> str:
    """One condition, for a message: `layer 2, random draw 1, share 0.01, zero`."""
    drawn = f" draw {draw}" if is_random(selection) else ""
    by = f" by {factor:g}" if mode == "scale" else ""
    return f"layer {layer}, {selection}{drawn}, share {share:g}, {mode}{by}"
