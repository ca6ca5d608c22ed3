"""Make the README's pictures from the results of the default study: `make pictures`.

`pictures.py FOLDER` takes them from another folder of results. The figure is scaled down, the top of the report is
photographed by a headless Chromium; both are reduced to few colours, so that the files stay small.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).parent / "images"
FIGURE = Path("figures/fig1.png")
REPORT = Path("report.html")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1250, 1400
COLOURS = 64
TIMEOUT = 600


def main(results: Path) -> None:
    """Write both pictures; end with one line if the results or the browser are missing."""
    for path in (results / FIGURE, results / REPORT):
        if not path.exists():
            sys.exit(f"error: {path} does not exist; run the default study first (make run)")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"error: no browser is on the path to photograph the report; install one of {', '.join(BROWSERS)}")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        photograph = Path(folder) / "report.png"
        take(browser, results / REPORT, photograph)
        save(results / FIGURE, IMAGES / "figure.png")
        save(photograph, IMAGES / "report.png")


def take(browser: str, page: Path, picture: Path) -> None:
    """Photograph the top of a page, with a profile beside the picture."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"]
    places = [f"--user-data-dir={picture.parent / 'profile'}", f"--screenshot={picture}", page.resolve().as_uri()]
    try:
        subprocess.run([browser, *options, *places], capture_output=True, timeout=TIMEOUT, check=True)
    except subprocess.SubprocessError as error:
        sys.exit(f"error: no picture of {page} was taken: {error}")


def save(source: Path, target: Path) -> None:
    """Save a picture at most `WIDTH` pixels wide, in `COLOURS` colours."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((WIDTH, WIDTH * 2))
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.relative_to(Path.cwd())}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path("results"))
