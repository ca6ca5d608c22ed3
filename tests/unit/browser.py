"""The browser that pages are looked at in."""

import os
import shutil
from pathlib import Path

import pytest

QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-component-update", "--disable-background-networking"]


def chromium(folder: Path) -> list[str]:
    """The command of a silent browser with its profile in `folder`; the test is skipped where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("REQUIRE_CHROMIUM") == "1":
            pytest.fail("REQUIRE_CHROMIUM=1, and no chromium is on the path")
        pytest.skip("no chromium on the path; install the package chromium to render the report")
    return [found, *QUIET, f"--user-data-dir={folder / 'profile'}"]
