"""Progress of a long job (done, rate, remaining): one line every few seconds, so that a log file stays readable."""

import sys
import time


class Progress:
    """Count work done and print `label: done/total unit, rate/s, remaining` to stderr at most every `every` seconds."""

    def __init__(self, total: int, unit: str, label: str, every: float = 5.0) -> None:
        self.total, self.unit, self.label, self.every = total, unit, label, every
        self.done = 0
        self.start = self.last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Add `count` to the work done, and print if a line is due or all work is done."""
        self.done += count
        now = time.monotonic()
        if now - self.last >= self.every or self.done >= self.total:
            self.last = now
            print(self.line(now - self.start), file=sys.stderr, flush=True)

    def line(self, elapsed: float) -> str:
        """Return the line for `elapsed` seconds since the start."""
        rate = self.done / elapsed if elapsed > 0 else 0.0
        remaining = f"{(self.total - self.done) / rate:.0f} s remaining" if rate > 0 else "remaining time unknown"
        return f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s, {remaining}"
