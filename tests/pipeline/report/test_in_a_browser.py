"""The report in a real browser: it works, it is quiet, and nothing leaves the page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import all_of, choose, click, emulate, visit, wait_for
from finished_run import CAPTIONS, NAMES, finished_run

from clusterpipe.pipeline.report import ReportSettings, write_report
from clusterpipe.pipeline.results.reading import read_results

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>hacked=1</script>",
    "\"'><b>&amp;{{7*7}}",
]
N = len(NAMES)


def report(home: Path, **what: Any) -> Path:
    done = finished_run(home, **what)
    settings = ReportSettings(map="pca")
    found = write_report(read_results(done.run, done.config.source), done.config, settings=settings)
    assert found.thumbnails == found.images
    return found.page


@pytest.fixture
def opened(driver: Any, page: Path) -> Iterator[Any]:
    """The page, opened anew from disk; afterwards nothing was said and nobody was asked."""
    yield from visit(driver, page)


def names(driver: Any) -> list[str]:
    return [element.text for element in all_of(driver, ".card .name")]


def test_overview_cards_and_sections(opened: Any) -> None:
    text = opened.find_element("css selector", "#overview").text
    for expected in (f"{N}\nimages", "3\nclusters", "2 to 4", "1\nskipped", "1.000\naccuracy"):
        assert expected in text
    assert names(opened) == CAPTIONS
    assert "truncated" in opened.find_element("css selector", "#skipped").text
    assert len(all_of(opened, "#k svg polyline")) == 1
    assert [cell.text for cell in all_of(opened, ".confusion td.full")] == ["8"] * 3
    assert "assign" in opened.find_element("css selector", "#provenance").text


def test_thumbnails_are_shown(opened: Any) -> None:
    loaded = "[...document.querySelectorAll('.card img')].every(i => i.complete && i.naturalWidth)"
    assert wait_for(opened, loaded)


def test_a_cluster_shows_exemplars_first_and_doubtful_and_outliers_apart(opened: Any) -> None:
    click(opened, ".card")
    headings = [element.text for element in all_of(opened, "#gallery section h3")]
    assert headings == ["Exemplars (2)", "Members (4)", "Low confidence (1)", "Outliers (1)"]
    rows = [int(tile.get_attribute("data-row")) for tile in all_of(opened, "#gallery .image")]
    assert rows[:2] == [0, 3]
    assert rows[-1] == 6
    assert sorted(rows) == list(range(0, N, 3))
    assert [item.text for item in all_of(opened, ".phrases li")] == ["red bicycle 70%", "thing 20%"]
    opened.back()
    assert names(opened) == CAPTIONS


def test_click_leads_to_the_original(opened: Any, page: Path) -> None:
    click(opened, ".card", 1)
    click(opened, ".image")
    shown = opened.find_element("css selector", "#viewer img").get_attribute("src")
    original = page.parent.parent.parent / "photos" / NAMES[1]
    assert shown == original.as_uri()
    assert wait_for(opened, "document.querySelector('#viewer img').naturalWidth") == 64
    assert NAMES[1] in opened.find_element("css selector", "#viewer figcaption").text
    assert opened.find_element("css selector", "#viewer a").get_attribute("href") == shown


def test_filters(opened: Any) -> None:
    opened.find_element("id", "query").send_keys("CAT")
    assert names(opened) == ["grey cat"]
    assert "1 of 3 clusters" in opened.find_element("id", "count").text
    opened.find_element("id", "query").clear()
    opened.find_element("id", "query").send_keys("kind2/00")
    assert names(opened) == []
    assert len(all_of(opened, "#gallery .image")) == N // 3
    opened.find_element("id", "query").clear()
    choose(opened, "flag", "outlier")
    assert names(opened) == ["red bicycle"]
    choose(opened, "flag", "all")
    choose(opened, "order", "caption")
    assert names(opened) == sorted(CAPTIONS)


def test_the_keyboard_suffices(opened: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    def press(*keys: str) -> None:
        ActionChains(opened).send_keys(*keys).perform()

    press("/")
    assert opened.switch_to.active_element.get_attribute("id") == "query"
    opened.execute_script("document.querySelector('.card').focus()")
    press(Keys.ARROW_RIGHT, Keys.ENTER)
    assert wait_for(opened, "location.hash") == "#cluster-1"
    opened.execute_script("document.querySelector('.image').focus()")
    press(Keys.ARROW_RIGHT, Keys.ENTER)
    caption = opened.find_element("css selector", "#viewer figcaption")
    assert NAMES[4] in caption.text
    press(Keys.ARROW_LEFT)
    assert NAMES[1] in caption.text
    press(Keys.ESCAPE)
    assert not opened.execute_script("return document.querySelector('#viewer').open")


MIDDLE = """
const {x, y} = CLUSTERPIPE.images, box = document.querySelector('canvas').getBoundingClientRect();
const side = 0.94 * Math.min(box.width, box.height);
return [(x[0] - .5) * side, (y[0] - .5) * side];
"""


def test_near_duplicates_stand_side_by_side_and_loners_apart(opened: Any) -> None:
    def rows(selector: str) -> list[list[int]]:
        found = all_of(opened, selector)
        tiles = [part.find_elements("css selector", ".image") for part in found]
        return [[int(tile.get_attribute("data-row")) for tile in part] for part in tiles]

    assert "3\nrepeat another" in opened.find_element("css selector", "#overview").text
    assert rows("#groups .group") == [[4, 1, 2], [3, 0]]
    assert rows("#loners") == [[6]]
    below = [label.text for label in all_of(opened, "#groups .image small")]
    assert below[0].startswith(f"keep · 0.954 · {NAMES[4]}")
    assert [text.split(" · ")[0] for text in below[1:3]] == ["exact copy"] * 2
    choose(opened, "repeats", "near")
    assert rows("#groups .group") == [[3, 0]]
    choose(opened, "repeats", "all")
    opened.find_element("id", "twins").send_keys(NAMES[2])
    assert rows("#groups .group") == [[4, 1, 2]]
    assert opened.find_element("id", "groups-count").text == "1 of 2 groups"
    opened.execute_script("document.querySelector('#groups .image').focus()")
    from selenium.webdriver import ActionChains, Keys

    ActionChains(opened).send_keys(Keys.ARROW_RIGHT, Keys.ENTER).perform()
    assert NAMES[1] in opened.find_element("css selector", "#viewer figcaption").text


def test_the_map_answers_the_pointer(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    canvas = opened.find_element("css selector", "canvas")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    x, y = opened.execute_script(MIDDLE)
    ActionChains(opened).move_to_element_with_offset(canvas, round(x), round(y)).perform()
    hover = opened.find_element("id", "hover")
    assert hover.is_displayed()
    name = hover.text.splitlines()[0]
    assert name.startswith("kind")
    assert wait_for(opened, "document.querySelector('#hover img').naturalWidth")
    ActionChains(opened).click().perform()
    assert name in opened.find_element("css selector", "#viewer").text


def test_the_map_zooms_and_highlights(opened: Any) -> None:
    before = painted(opened)
    assert before > 50
    choose(opened, "highlight", "1")
    assert painted(opened) != before
    choose(opened, "highlight", "-1")
    click(opened, "#closer")
    assert painted(opened) != before
    click(opened, "#whole")
    assert painted(opened) == before
    choose(opened, "colour", "confidence")
    assert painted(opened) > 50


def painted(driver: Any) -> int:
    """The opacity of the map's pixels, summed, in full pixels."""
    driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    return int(
        driver.execute_script(
            "const c = document.querySelector('canvas');"
            "const copy = new OffscreenCanvas(c.width, c.height).getContext('2d');"
            "copy.drawImage(c, 0, 0);"
            "const {data} = copy.getImageData(0, 0, c.width, c.height);"
            "let sum = 0; for (let i = 3; i < data.length; i += 4) sum += data[i];"
            "return sum / 255"
        )
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_in_light_and_dark(width: int, dark: bool, opened: Any) -> None:
    emulate(opened, width=width, dark=dark)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    ground = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    brightness = np.mean([int(value) for value in re.findall(r"\d+", ground)[:3]])
    assert bool(brightness < 60) is dark
    assert len(opened.get_screenshot_as_png()) > 5_000


def test_hostile_names_and_captions_are_text(driver: Any, tmp_path: Path) -> None:
    names = [f"{HOSTILE[i % 3].replace('/', '_')}{i}.png" for i in range(6)]
    page = report(tmp_path, names=names, captions=HOSTILE, classes=HOSTILE, skipped=HOSTILE)
    for opened in visit(driver, page):
        assert [name.text for name in all_of(opened, ".card .name")] == HOSTILE
        assert all(text in opened.find_element("id", "skipped").text for text in HOSTILE)
        click(opened, ".card")
        assert all_of(opened, ".phrases li")[0].text == f"{HOSTILE[0]} 70%"
        click(opened, ".image")
        assert names[0] in opened.find_element("css selector", "#viewer figcaption").text
        assert wait_for(opened, "document.querySelector('#viewer img').naturalWidth") == 64
        assert opened.execute_script("return typeof hacked") == "undefined"
        assert all_of(opened, "img[onerror]") == []


def test_a_map_of_fifty_thousand_is_smooth(driver: Any, page: Path, tmp_path: Path) -> None:
    """Without a GPU and on a busy machine: a frame, and the image under the pointer."""
    many = 50_000
    rng = np.random.default_rng(0)
    data = json.loads((page.parent / "data.js").read_text().partition("=")[2].rstrip(";\n"))
    small = data["images"]
    data["images"] = {name: (values * many)[:many] for name, values in small.items()}
    for axis in "xy":
        data["images"][axis] = rng.random(many).round(4).tolist()
    copy = tmp_path / "report"
    copy.mkdir()
    for name in ("index.html", "report.css", "report.js"):
        (copy / name).write_text((page.parent / name).read_text())
    (copy / "data.js").write_text(f"const CLUSTERPIPE = {json.dumps(data)};")
    driver.get((copy / "index.html").as_uri())
    emulate(driver)
    times = driver.execute_async_script(SWEEP)
    assert len(times["draw"]) >= 10
    assert np.median(times["draw"]) < 100
    assert np.median(times["find"]) < 10


SWEEP = """
const done = arguments[0], canvas = document.querySelector('canvas'), draw = [], find = [];
canvas.scrollIntoView();
new PerformanceObserver((list) => draw.push(...list.getEntries().map((e) => e.duration)))
  .observe({entryTypes: ['measure']});
let step = 0;
(function next() {
  const at = {offsetX: 300, offsetY: 200, clientX: 300, clientY: 200, bubbles: true};
  if (step++ === 20) { setTimeout(() => done({draw, find}), 300); return; }
  const began = performance.now();
  canvas.dispatchEvent(new PointerEvent('pointermove', at));
  find.push(performance.now() - began);
  canvas.dispatchEvent(new WheelEvent('wheel', {deltaY: step % 2 ? -40 : 40, cancelable: true}));
  requestAnimationFrame(() => requestAnimationFrame(next));
})();
"""
