"""The report as a workbench: corrections by mouse and keyboard, kept, downloaded and taken in."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import all_of, choose, click, emulate, press, visit, wait_for
from finished_run import CAPTIONS, NAMES, K
from program import run as run_program

from clusterpipe.cache.run_directory import RunDirectory
from clusterpipe.pipeline.engine.config import Config, load
from clusterpipe.pipeline.results.reading import read_results

pytestmark = pytest.mark.slow

N = len(NAMES)


@dataclass(frozen=True)
class Bench:
    """The page, opened and ready to correct; what it downloads lies in `downloads`."""

    driver: Any
    page: Path
    downloads: Path

    def clusters(self) -> dict[str, list[int]]:
        """By the name on each card, the rows of the cluster, as the page has them now."""
        cards = "[...document.querySelectorAll('.card')].map((c) => [c.querySelector('.name')"
        found = self.driver.execute_script(
            f"return {cards}.textContent, c.querySelector('.about').textContent])"
        )
        return {name: int(about.split(" · ")[1].split()[0]) for name, about in found}

    def pick(self, *rows: int) -> None:
        for row in rows:
            click(self.driver, f'.image[data-row="{row}"]')

    def do(self, command: str) -> None:
        self.driver.find_element("css selector", f'#bar [data-do="{command}"]').click()

    def go(self, where: str) -> None:
        self.driver.execute_script("location.hash = arguments[0]", where)
        wait_for(self.driver, f"location.hash === {where!r}")

    def take(self) -> Path:
        """Downloads the corrections."""
        self.do("download")
        wait_until(lambda: list(self.downloads.glob("*.jsonl")))
        click(self.driver, "#taken .close")
        (file,) = self.downloads.glob("*.jsonl")
        return file


def wait_until(condition: Any) -> None:
    import time

    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def bench(driver: Any, page: Path, tmp_path: Path) -> Iterator[Bench]:
    allow = {"behavior": "allow", "downloadPath": str(tmp_path)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    driver.get(page.as_uri())
    driver.execute_script("localStorage.clear()")
    for opened in visit(driver, page):
        click(opened, "#edit")
        yield Bench(opened, page, tmp_path)


def selected(driver: Any) -> list[int]:
    tiles = all_of(driver, "#gallery .image[aria-pressed=true]")
    return sorted(int(tile.get_attribute("data-row")) for tile in tiles)


def test_who_only_looks_is_not_burdened(driver: Any, page: Path) -> None:
    for opened in visit(driver, page):
        assert not opened.find_element("id", "bar").is_displayed()
        assert all_of(opened, ".pick, .image[aria-pressed]") == []
        press(opened, "e")
        assert opened.find_element("id", "bar").is_displayed()
        assert len(all_of(opened, ".pick")) == K
        press(opened, "e")
        assert not opened.find_element("id", "bar").is_displayed()


def test_selecting_by_mouse_and_by_keyboard(bench: Bench) -> None:
    from selenium.webdriver import ActionChains, Keys

    driver = bench.driver
    bench.go("#cluster-0")
    tiles = [int(t.get_attribute("data-row")) for t in all_of(driver, "#gallery .image")]
    bench.pick(tiles[1])
    assert selected(driver) == [tiles[1]]
    target = all_of(driver, "#gallery .image")[4]
    ActionChains(driver).key_down(Keys.SHIFT).click(target).key_up(Keys.SHIFT).perform()
    assert selected(driver) == sorted(tiles[1:5])
    assert driver.find_element("id", "selected").text == "4 images selected"
    press(driver, Keys.ESCAPE)
    assert selected(driver) == []
    assert driver.execute_script("return location.hash") == "#cluster-0"
    driver.execute_script("document.querySelector('#gallery .image').focus()")
    press(driver, Keys.SPACE)
    press(driver, Keys.ARROW_RIGHT, holding=[Keys.SHIFT])
    assert selected(driver) == sorted(tiles[:2])
    press(driver, "a", holding=[Keys.CONTROL])
    assert selected(driver) == sorted(tiles)
    press(driver, Keys.ENTER)
    assert driver.execute_script("return document.querySelector('#viewer').open")
    press(driver, Keys.SPACE, Keys.ESCAPE)
    assert len(selected(driver)) == len(tiles) - 1


def test_moving_by_keyboard_with_undo_and_redo(bench: Bench) -> None:
    from selenium.webdriver import Keys

    driver = bench.driver
    bench.go("#cluster-0")
    driver.execute_script("document.querySelector('.image[data-row=\"9\"]').focus()")
    press(driver, Keys.SPACE, "m")
    first = driver.find_element("css selector", "#chooser .choice").text
    assert first.startswith("grey cat")  # the likeliest other one
    press(driver, "blue", Keys.ENTER)
    moved = {"red bicycle": 7, "grey cat": 8, "blue boat": 9}
    assert "1 image moved to blue boat" in driver.find_element("id", "said").text
    press(driver, Keys.ESCAPE)
    assert bench.clusters() == moved
    press(driver, "z", holding=[Keys.CONTROL])
    assert bench.clusters() == dict.fromkeys(CAPTIONS, 8)
    press(driver, "z", holding=[Keys.CONTROL, Keys.SHIFT])
    assert bench.clusters() == moved
    bench.go("#cluster-2")
    assert driver.find_element("css selector", '.image[data-row="9"] small').text.startswith("you")


def test_renaming_in_place(bench: Bench) -> None:
    from selenium.webdriver import Keys

    driver = bench.driver
    click(driver, ".card .name", 1)
    press(driver, "tabby", Keys.ENTER)
    assert list(bench.clusters()) == ["red bicycle", "tabby", "blue boat"]
    press(driver, "r")  # the card has the focus still
    press(driver, "tiger", Keys.ESCAPE)
    assert list(bench.clusters())[1] == "tabby"
    bench.go("#cluster-1")
    click(driver, "#gallery .buttons button")
    press(driver, "<b>lynx</b>", Keys.ENTER)
    assert driver.find_element("css selector", ".cluster .name").text == "<b>lynx</b>"


def test_merging_by_drag_and_by_keyboard(bench: Bench) -> None:
    from selenium.webdriver import ActionChains, Keys

    driver = bench.driver
    driver.execute_script("document.querySelector('#clusters').scrollIntoView()")
    first, _, third = all_of(driver, ".card .about")
    ActionChains(driver).click_and_hold(third).move_to_element(first).release().perform()
    assert bench.clusters() == {"red bicycle": 16, "grey cat": 8}
    assert all_of(driver, ".card.picked") == []
    bench.do("undo")
    assert bench.clusters() == dict.fromkeys(CAPTIONS, 8)
    driver.execute_script("document.querySelector('.card').focus()")
    press(driver, Keys.SPACE, Keys.ARROW_RIGHT, Keys.SPACE, "m")
    assert bench.clusters() == {"red bicycle": 16, "blue boat": 8}


def test_none_of_these_and_a_cluster_of_their_own(bench: Bench) -> None:
    driver = bench.driver
    bench.go("#cluster-0")
    bench.pick(9, 12)
    bench.do("gather")
    bench.pick(15)
    bench.do("reject")
    bench.go("#clusters")
    assert bench.clusters() == {**dict.fromkeys(CAPTIONS, 8), "red bicycle": 5, "cluster 3": 2}
    assert [int(t.get_attribute("data-row")) for t in all_of(driver, "#gallery .image")] == [15]


def test_keeping_and_leaving_out_duplicates(bench: Bench) -> None:
    def below() -> list[str]:
        labels = all_of(bench.driver, "#groups .group:first-child .image small")
        return [label.text.split(" · ")[0] for label in labels]

    assert below() == ["keep", "exact copy", "exact copy"]
    click(bench.driver, '#groups .image[data-row="1"]')
    bench.do("keep")
    assert below() == ["0.954", "keep", "exact copy"]
    click(bench.driver, '#groups .image[data-row="2"]')
    bench.do("drop")
    assert below() == ["0.954", "keep", "left out"]


CORNERS = """
const {x, y} = CLUSTERPIPE.images, box = document.querySelector('canvas').getBoundingClientRect();
const side = 0.94 * Math.min(box.width, box.height);
const own = x.map((_, i) => i).filter((i) => CLUSTERPIPE.images.cluster[i] === 0);
const ends = (axis) => own.map((i) => (axis[i] - .5) * side);
const edges = (v) => [Math.min(...v) - 9, Math.max(...v) + 9];
return [...edges(ends(x)), ...edges(ends(y))].map(Math.round);
"""


def test_a_lasso_on_the_map(bench: Bench) -> None:
    from selenium.webdriver import ActionChains

    driver = bench.driver
    choose(driver, "highlight", "0")
    click(driver, "#lasso")
    canvas = driver.find_element("css selector", "canvas")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    left, right, top, bottom = driver.execute_script(CORNERS)
    chain = ActionChains(driver, duration=20).move_to_element_with_offset(canvas, left, top)
    chain.click_and_hold()
    for place in ((right, top), (right, bottom), (left, bottom)):
        chain.move_to_element_with_offset(canvas, *place)
    chain.release().perform()
    assert driver.find_element("id", "selected").text == "8 images selected"
    bench.go("#cluster-0")
    assert selected(driver) == list(range(0, N, K))


def test_corrections_are_kept_in_the_browser_until_they_are_taken(
    bench: Bench, tmp_path: Path
) -> None:
    driver = bench.driver
    bench.go("#cluster-0")
    bench.pick(9)
    bench.do("reject")
    assert driver.find_element("id", "pending").text == "1 correction not downloaded"
    driver.refresh()
    assert driver.find_element("id", "pending").text == "1 correction not downloaded"
    text = (bench.page.parent / "data.js").read_text()
    key = json.loads(text.partition("=")[2].strip(" ;\n"))["run"]["key"]
    other = tmp_path / "report"
    shutil.copytree(bench.page.parent, other)
    (other / "data.js").write_text(text.replace(key, "another"))
    for later in visit(driver, other / "index.html"):
        assert later.find_element("id", "pending").text == ""
        click(later, "#edit")
        click(later, "#earlier-download")
        wait_until(lambda: list(bench.downloads.glob("*.jsonl")))
        assert not later.find_element("id", "earlier").is_displayed()
    (file,) = bench.downloads.glob("*.jsonl")
    (line,) = map(json.loads, file.read_text().splitlines())
    assert (line["act"], list(line["images"])) == ("reject", [NAMES[9]])
    driver.get(bench.page.as_uri())


def test_what_was_done_in_the_page_is_what_the_program_makes_of_it(bench: Bench) -> None:
    """Every kind of act, downloaded and taken in: the same clusters, the same names."""
    from selenium.webdriver import Keys

    driver = bench.driver
    click(driver, ".card .name", 1)
    press(driver, 'a "cat" <i>', Keys.ENTER)
    bench.go("#cluster-0")
    bench.pick(9, 12)
    bench.do("gather")
    bench.pick(15)
    bench.do("reject")
    bench.pick(18)
    bench.do("pin")
    bench.pick(21)
    bench.do("star")
    bench.pick(6)
    bench.do("move")
    press(driver, "boat", Keys.ENTER)
    click(driver, '#groups .image[data-row="1"]')
    bench.do("keep")
    click(driver, '#groups .image[data-row="2"]')
    bench.do("drop")
    bench.go("#clusters")
    driver.execute_script("document.querySelector('.card:nth-child(2)').focus()")
    press(driver, Keys.SPACE, Keys.ARROW_RIGHT, Keys.SPACE, "m")
    page = bench.clusters()
    assert page == {"red bicycle": 4, 'a "cat" <i>': 17, "cluster 3": 2}
    driver.execute_script("document.querySelector('.card').focus()")
    press(driver, Keys.ESCAPE, "s", Keys.ENTER)
    home = bench.downloads / "home"
    shutil.copytree(bench.page.parent.parent.parent, home)
    done = run_program("correct", "--from", bench.take(), "--run-dir", home / "run", cwd=home)
    assert done.code == 0, done.err
    run = RunDirectory(home / "run")
    results = read_results(run, load(Config(), run.config).source)
    assert results.corrections is not None
    assert set(results.corrections.outcome) == {""}
    label = results.clusters.label
    assert len(np.unique(label[[0, 3, 18, 21]])) == 2  # the four of the first card, split
    assert len(np.unique(label)) == 5
    assert (label[15], int((label == label[1]).sum())) == (-1, 17)
    assert label[9] == label[12] != label[0]
    assert label[6] == label[2] == label[1]
    assert results.captions[label[1]] == 'a "cat" <i>'
    assert results.exemplar_rank[21] == 1
    assert results.is_representative[[4, 1, 2]].tolist() == [False, True, False]


def test_a_split_waits_for_the_program(bench: Bench) -> None:
    from selenium.webdriver import Keys

    driver = bench.driver
    driver.execute_script("document.querySelector('.card').focus()")
    press(driver, "s")
    press(driver, "3", Keys.ENTER)
    assert "to be split into 3" in all_of(driver, ".card .about")[0].text
    (line,) = map(json.loads, bench.take().read_text().splitlines())
    assert (line["act"], line["into"]) == ("split", 3)
    assert list(line["clusters"][0]["images"])[:2] == [NAMES[0], NAMES[3]]
    assert line["clusters"][0]["size"] == 8


def test_a_split_along_finer_parts_is_done_at_once(bench: Bench) -> None:
    bench.driver.execute_script("document.querySelector('.card').focus()")
    press(bench.driver, "s")
    click(bench.driver, "#along")
    assert bench.clusters() == {**dict.fromkeys(CAPTIONS, 8), "red bicycle": 5, "cluster 3": 3}
    (line,) = map(json.loads, bench.take().read_text().splitlines())
    assert (line["act"], list(line["images"])) == ("gather", [NAMES[15], NAMES[18], NAMES[21]])


def test_a_thumb_hits_everything_on_a_phone(bench: Bench) -> None:
    driver = bench.driver
    emulate(driver, width=390, height=800)
    click(driver, "#sections")
    links = all_of(driver, "nav a")
    assert len(links) >= 8
    for link in links:
        assert link.is_displayed()
        assert link.rect["x"] + link.rect["width"] <= 390
    small = driver.execute_script(
        "return [...document.querySelectorAll('button, select, input, summary, nav a, .tiles a')]"
        ".filter((e) => e.checkVisibility() && e.offsetHeight < 44 && !e.matches('.name'))"
        ".map((e) => e.outerHTML)"
    )
    assert small == []
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
