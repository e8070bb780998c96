"""The page as a browser shows it."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.evaluate.report.conftest import start_from, text
from tests.stages import make

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"
)


# What a browser made of the page. The page itself forbids scripts, so a copy without that is asked.
_PROBE = """<script>addEventListener("load", () => {
  const images = [...document.images];
  parent.document.title = JSON.stringify({
    width: innerWidth,
    images: images.length,
    shown: images.filter(image => image.complete && image.naturalWidth > 500).length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    background: getComputedStyle(document.body).backgroundColor,
    charts: [...document.querySelectorAll("svg")].filter(s => s.getBBox().width > 100).length,
    empty: [...document.querySelectorAll("section")].filter(s => s.offsetHeight < 40).length,
  });
});</script>"""


def browse(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}",
            *arguments,
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert not complaints
    return done.stdout


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_all_pictures_without_scrolling_sideways(scored, project, tmp_path, theme):
    for stage in ("pose2d", "stage1"):
        (project / "work/times/fake").mkdir(parents=True, exist_ok=True)
        (project / "work/times/fake" / stage).write_text("75.0\n")
    start_from("fake")
    curves = Path("reports/fake/stage1/plots/metrics")
    curves.mkdir(parents=True)
    (curves / "loss.tsv").write_text("step\tloss\n1\t0.9\n2\t0.5\n")
    make("report", "fake")
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text())
    inside = html.escape(bare.replace("</head>", f"{_PROBE}</head>"))
    asked = tmp_path / "asked.html"
    # A window cannot be as narrow as a phone, but a frame in it can.
    asked.write_text(
        "<!doctype html><title>none</title>"
        f'<iframe style="width: 390px; height: 900px; border: 0" srcdoc="{inside}"></iframe>'
    )
    scheme = {"dark": 0, "light": 1}[theme]
    dom = browse(
        tmp_path,
        f"--blink-settings=preferredColorScheme={scheme}",
        "--dump-dom",
        f"file://{asked}",
    )
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom)[1]))
    assert found["width"] == 390
    assert found["images"] == found["shown"] == 8
    assert found["overflow"] <= 0
    assert found["charts"] >= 4
    assert found["empty"] == 0
    brightness = sum(map(int, re.findall(r"\d+", found["background"])[:3]))
    assert brightness < 150 if theme == "dark" else brightness > 600


@needs_browser
def test_the_page_as_it_is_opens_without_complaint_and_is_not_blank(scored, tmp_path):
    make("report", "fake")
    picture = tmp_path / "page.png"
    browse(
        tmp_path,
        "--window-size=1000,3000",
        f"--screenshot={picture}",
        f"file://{Path('reports/fake/report.html').absolute()}",
    )
    shown = cv2.imread(str(picture))
    assert shown.shape == (3000, 1000, 3)
    # Text, green and red frames, skeletons: thousands of colours, and ink all the way down.
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 2000
    assert all(np.ptp(part) > 100 for part in np.array_split(shown, 6))
