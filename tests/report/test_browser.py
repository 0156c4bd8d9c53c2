"""The page in a real browser: it draws, stays silent, loads nothing, fits a phone, and runs no name."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from glmplan.report.page import html_page
from glmplan.report.run_folder import LoggedStep, Run
from glmplan.report.sections import make_report
from glmplan.report.validation_page import validation_report
from tests.report.sample_plan import sample_measurement, sample_plan
from tests.report.test_validation_page import outcome

CHROMIUM = shutil.which("chromium")
PHONE_PX = 390
ATTACK = "</script><img src=x onerror=\"document.documentElement.id='owned'\"><b>x</b>"
"""Text that would mark the document if any of it ran."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PROBE = """<!DOCTYPE html><title>probe</title>
<iframe src="page.html" width="390" height="800"></iframe>
<iframe src="unguarded.html" width="1280" height="800"></iframe>
<pre id="seen"></pre>
<script>
window.addEventListener("load", function () {
  setTimeout(function () {
    const seen = Array.from(document.querySelectorAll("iframe")).map(function (frame) {
      const page = frame.contentDocument;
      const all = function (selector) { return Array.from(page.querySelectorAll(selector)); };
      const name = function (entry) { return entry.name; };
      const wide = function (chart) { return chart.querySelector("svg").clientWidth > chart.clientWidth; };
      return {
        scroll_px: page.documentElement.scrollWidth,
        client_px: page.documentElement.clientWidth,
        drawn: all(".chart").filter(function (chart) { return chart.querySelector(".trace path"); }).length,
        too_wide: all(".chart").filter(wide).length,
        images: all("img, b").length,
        owned: page.documentElement.id,
        legends: all("#chart-loss .legendtext").map(function (text) { return text.textContent; }),
        loaded: frame.contentWindow.performance.getEntriesByType("resource").map(name)
      };
    });
    document.getElementById("seen").textContent = JSON.stringify(seen);
  }, 1000);
});
</script>
"""


def browse(path: Path, profile: Path) -> tuple[str, list[str]]:
    """The document after its scripts have run, and the lines of the console."""
    assert CHROMIUM is not None
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --disable-dev-shm-usage --allow-file-access-from-files "
        "--enable-logging=stderr --v=0 --virtual-time-budget=8000 --window-size=1800,1000 --dump-dom"
    )
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def hostile_page() -> str:
    plan = sample_plan(ATTACK, cluster=ATTACK, device=ATTACK)
    steps = tuple(LoggedStep(step=step, loss=9.0 / (step + 1)) for step in range(30))
    measurement = sample_measurement(plan, plan.chosen, step_time_s=8.5, peak_memory_gib=40.0)
    runs = tuple(Run(name=name, steps=steps, measurement=measurement) for name in (ATTACK, "calm"))
    return html_page(make_report(plan, runs))


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[str]]:
    """What the frames of the probe saw of a plan's report."""
    return look_at(hostile_page(), tmp_path_factory.mktemp("page"))


def look_at(page: str, folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """What a phone-wide frame with the page saw, and a wide one with the page stripped of its security policy."""
    unguarded = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert unguarded != page
    (folder / "page.html").write_text(page, encoding="utf-8")
    (folder / "unguarded.html").write_text(unguarded, encoding="utf-8")
    (folder / "probe.html").write_text(PROBE, encoding="utf-8")
    dom, console = browse(folder / "probe.html", folder / "profile")
    match = re.search(r'<pre id="seen">(.+?)</pre>', dom)
    assert match is not None, f"the probe did not finish; console: {console}"
    return json.loads(html.unescape(match.group(1))), console


Visit = tuple[list[dict[str, Any]], list[str]]


def test_every_chart_is_drawn_and_the_console_stays_silent(visit: Visit) -> None:
    seen, console = visit
    assert [frame["drawn"] for frame in seen] == [6, 6]
    assert console == []


def test_nothing_is_loaded(visit: Visit) -> None:
    assert [frame["loaded"] for frame in visit[0]] == [[], []]


def test_a_phone_scrolls_no_page_sideways(visit: Visit) -> None:
    phone, desktop = visit[0]
    assert phone["client_px"] <= PHONE_PX
    assert phone["scroll_px"] <= phone["client_px"]
    assert desktop["scroll_px"] <= desktop["client_px"]
    assert phone["too_wide"] == desktop["too_wide"] == 0


def test_a_hostile_name_is_shown_and_never_run_even_without_the_policy(visit: Visit) -> None:
    for frame in visit[0]:
        assert frame["owned"] == ""
        assert frame["images"] == 0
        assert frame["legends"][0].startswith("</script><img src=x")


def test_the_page_of_a_validation_is_drawn_whole_and_silent(tmp_path: Path) -> None:
    report = validation_report(outcome(ATTACK))
    charts = sum(len(section.charts) for section in report.sections)
    seen, console = look_at(html_page(report), tmp_path)
    assert console == []
    for frame in seen:
        assert (frame["drawn"], frame["too_wide"], frame["loaded"], frame["owned"]) == (charts, 0, [], "")
        assert frame["scroll_px"] <= frame["client_px"]


def test_the_policy_stops_what_escaping_would_have_missed(tmp_path: Path) -> None:
    planted = hostile_page().replace("<main>", "<main><img src=x onerror=\"document.documentElement.id='owned'\">")
    planted = planted.replace("<main>", "<main><script>document.documentElement.id='owned'</script>")
    (tmp_path / "page.html").write_text(planted, encoding="utf-8")
    dom, console = browse(tmp_path / "page.html", tmp_path / "profile")
    assert '<html lang="en">' in dom
    assert any("Content Security Policy" in line for line in console)
