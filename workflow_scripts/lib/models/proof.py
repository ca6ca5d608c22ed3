"""The mask check: was a mask applied at every position? A light module, because the tables read mask checks too."""

from dataclasses import dataclass


@dataclass
class MaskCheck:
    """What an intervention did: positions processed, positions changed, largest distance from the intended value.

    An engine that pads its input may change more positions than it processes, but never fewer.
    """

    processed: int = 0
    changed: int = 0
    largest_miss: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every position was changed, and exactly as intended."""
        return self.changed >= self.processed > 0 and self.largest_miss == 0.0
