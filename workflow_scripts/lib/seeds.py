"""Named random streams, one per problem, sample or boundary, never per shard or batch.

Each stream is named by a tuple of parts, for instance `(seed, "ledger-000017", 0, 3)`. The name is hashed to 64 bits,
so that resharding or reordering the work changes no stream.
"""

import hashlib
import json

import numpy as np

Part = int | str


def seed64(*parts: Part) -> int:
    """Return a 64-bit seed from the named parts; `1` and `"1"` are different names."""
    digest = hashlib.blake2b(json.dumps(parts, separators=(",", ":")).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def uniform(*parts: Part) -> float:
    """Return one number in [0, 1), a pure function of the parts."""
    return seed64(*parts) / 2.0**64


def generator(*parts: Part) -> np.random.Generator:
    """Return a counter-based generator (Philox) for the named stream."""
    return np.random.Generator(np.random.Philox(key=seed64(*parts)))
