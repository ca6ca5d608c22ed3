"""A claim of the paper as `resources/published/claims.yaml` states it: in words, and as a number with a margin."""

from collections.abc import Sequence
from dataclasses import dataclass

from workflow_scripts.lib.claims.decide import ABOVE


@dataclass(frozen=True)
class Claim:
    """One entry of `resources/published/claims.yaml`.

    `margin`: fixed, in the units of the estimand; `bar`: the level that must be there beside a difference; `direction`:
    on which side of the margin the paper puts the estimand. `layers`: those that the paper names, all where it names
    none; `runs`: likewise, and all where a study has none of them; `against`: the opponents.
    """

    key: str
    claim: str
    place: str
    printed: str
    estimand: str
    margin: float
    bar: float | None = None
    direction: str = ABOVE
    layers: Sequence[int] | None = None
    runs: Sequence[str] | None = None
    against: Sequence[str] = ()

    def named(self, layers: Sequence[int]) -> list[int]:
        """Return those of the layers that the claim is about."""
        return [layer for layer in layers if self.layers is None or layer in self.layers]
