"""Pictures of the report for the documentation, taken in a real browser.

    python tests/campaigns/pictures.py RUNS

RUNS holds the runs of the tutorials, with their reports written: demonstration, scans, caltech20,
clothing500 and pets-37. Of a run that is not there the pictures stay as they are. Needs chromium
and chromium-driver.
"""

import io
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from browser import all_of, browser, choose, click, emulate, wait_for  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1200, 780
LOADED = """[...document.images].every((image) => image.complete || !image.checkVisibility()
  || image.getBoundingClientRect().top > innerHeight)"""


def scroll(driver: Any, selector: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).scrollIntoView()", selector)


def overview(driver: Any) -> None:
    scroll(driver, "body")


def duplicates(driver: Any) -> None:
    scroll(driver, "#duplicates")


def phone(driver: Any) -> None:
    emulate(driver, dark=True, width=390, height=640)
    click(driver, ".card")


def workbench(driver: Any) -> None:
    """A cluster with a few images selected, and the bar."""
    click(driver, "#edit")
    click(driver, ".card .enter")
    for place in (1, 2, 4):
        all_of(driver, "#gallery .image")[place].click()


def dropped(driver: Any) -> None:
    """A card on its way onto another."""
    from selenium.webdriver import ActionChains

    click(driver, "#edit")
    scroll(driver, "#clusters")
    first, second = all_of(driver, ".card .about")[:2]
    chain = ActionChains(driver).click_and_hold(second)
    chain.move_to_element_with_offset(first, 60, 20).perform()


def near(driver: Any) -> None:
    """The map from near, with thumbnails."""
    for _ in range(2):
        click(driver, "#closer")
    scroll(driver, "#map")


def minority(driver: Any) -> None:
    """Images of the clearest cluster that are of another class."""
    choose(driver, "flag", "minority")
    names = [name.text for name in all_of(driver, ".card .name")]
    all_of(driver, ".card")[names.index("jean") if "jean" in names else 0].click()
    scroll(driver, "#clusters")


def classes(driver: Any) -> None:
    choose(driver, "colour", "label")
    scroll(driver, "#map")


TAKEN: Mapping[str, tuple[str, Callable[[Any], None]]] = {
    "report": ("demonstration", overview),
    "tour_archivist": ("scans", overview),
    "tour_duplicates": ("scans", duplicates),
    "tour_phone": ("scans", phone),
    "tour_workbench": ("caltech20", workbench),
    "tour_merge": ("caltech20", dropped),
    "tour_map": ("caltech20", near),
    "tour_curator": ("clothing500", minority),
    "tour_researcher": ("pets-37", classes),
}


def take(driver: Any, page: Path, show: Callable[[Any], None]) -> Any:
    """The screen after `show`, with few colours, so that the repository stays small."""
    driver.get("about:blank")
    emulate(driver, width=WIDTH, height=HEIGHT)
    driver.get(page.absolute().as_uri())
    show(driver)
    wait_for(driver, LOADED)
    driver.execute_async_script("setTimeout(arguments[0], 700)")
    return Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB").quantize(128)


def main(runs: Path) -> None:
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as driver:
        for name, (run, show) in TAKEN.items():
            page = runs / run / "report" / "index.html"
            if not page.exists():
                print(f"{name}: no {page}")
                continue
            take(driver, page, show).save(PICTURES / f"{name}.png", optimize=True)
            print(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
