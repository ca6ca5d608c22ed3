"""The proof that neurons were held: light, for the tables read it too."""

from dataclasses import dataclass


@dataclass
class MaskCheck:
    """What an intervention did: positions processed, positions changed, and how far the result was from the wanted.

    An engine that pads what it processes may change more positions than it processes; never fewer.
    """

    processed: int = 0
    changed: int = 0
    largest_miss: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every position was changed, and exactly as wanted."""
        return self.changed >= self.processed > 0 and self.largest_miss == 0.0
