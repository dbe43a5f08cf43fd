"""A real headless Chromium that must not speak to anybody."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A selenium driver; skips the test where Debian's chromium and chromium-driver are absent."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = program
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = Chrome(options=options, service=Service(driver))
    try:
        yield started
    finally:
        started.quit()


def complaints(driver: Any) -> list[str]:
    """What the page wrote to the console since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requested(driver: Any) -> list[str]:
    """Every URL that the page asked for since the last call."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    sent = (m["params"] for m in messages if m["method"] == "Network.requestWillBeSent")
    return [str(parameters["request"]["url"]) for parameters in sent]


def emulate(driver: Any, *, dark: bool = False, width: int = 1280, height: int = 900) -> None:
    """A screen of that size; below 600 pixels, a phone."""
    scheme = "dark" if dark else "light"
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def visit(driver: Any, page: Path) -> Iterator[Any]:
    """The page, opened from disk; afterwards nothing was said and nobody was asked."""
    driver.get("about:blank")
    complaints(driver), requested(driver)
    emulate(driver)
    driver.get(page.as_uri())
    yield driver
    assert complaints(driver) == []
    asked = requested(driver)
    assert page.as_uri() in {url.partition("#")[0] for url in asked}
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def all_of(driver: Any, selector: str) -> list[Any]:
    found: list[Any] = driver.find_elements("css selector", selector)
    return found


def click(driver: Any, selector: str, place: int = 0) -> None:
    target = all_of(driver, selector)[place]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    target.click()


def press(driver: Any, *keys: str, holding: Sequence[str] = ()) -> None:
    """Presses keys one after the other, where the focus is."""
    from selenium.webdriver import ActionChains

    chain = ActionChains(driver)
    for key in holding:
        chain.key_down(key)
    chain.send_keys(*keys)
    for key in holding:
        chain.key_up(key)
    chain.perform()


def choose(driver: Any, identifier: str, value: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(driver.find_element("id", identifier)).select_by_value(value)


def wait_for(driver: Any, script: str) -> Any:
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(driver, 20).until(lambda d: d.execute_script(f"return {script}"))
