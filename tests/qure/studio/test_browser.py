"""The five things a person does, in Chromium, on the page that `qure studio` serves; by keyboard, and on a telephone.

QURE_STUDIO_PROJECT names a project whose demo has run (its own copy: training's record is needed for the minings);
without it a small world is served. With QURE_SCREENSHOTS set to a folder, pictures of the pages are left there.
"""

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qure.studio.answers import Answers
from qure.studio.application import ANSWERS
from qure.studio.survey.questions import SURVEY, new_survey

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.integration

SECONDS = 60
WIDE, NARROW = (1200, 900), (420, 860)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[tuple[int, int]], Any]]:
    """Size -> a browser of that size."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    browsers: dict[tuple[int, int], Any] = {}

    def of(size: tuple[int, int]) -> Any:
        if size not in browsers:
            options = webdriver.ChromeOptions()
            options.binary_location = program
            flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
            for flag in (*flags.split(), "disable-component-update", "disable-sync", "disable-dev-shm-usage"):
                options.add_argument(f"--{flag}")
            options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
            options.add_argument(f"--window-size={size[0]},{size[1]}")
            if size[0] < 600:
                metrics = {"width": size[0], "height": size[1], "pixelRatio": 1.0}
                options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
            options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
            browsers[size] = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        return browsers[size]

    yield of
    for browser in browsers.values():
        browser.quit()


class Person:
    """Somebody at a browser."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get(address + "/static/studio.css")
        browser.delete_all_cookies()

    def open(self, place: str) -> None:
        self.browser.get(self.address + place)

    def all(self, selector: str) -> list[Any]:
        return list(self.browser.find_elements(By.CSS_SELECTOR, selector))

    def one(self, selector: str) -> Any:
        return WebDriverWait(self.browser, SECONDS).until(lambda _: next(iter(self.all(selector)), None))

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.browser).send_keys(*keys).perform()

    def until(self, holds: Callable[[], Any]) -> None:
        WebDriverWait(self.browser, SECONDS).until(lambda _: holds())

    @property
    def text(self) -> str:
        return str(self.browser.find_element(By.TAG_NAME, "body").text)

    def seen(self, name: str) -> None:
        """The page is whole: its pictures are loaded, nothing is wider than it, nothing was logged; keeps a picture."""
        self.until(
            lambda: self.browser.execute_script(
                "return [...document.images].filter(i => i.loading != 'lazy').every(i => i.complete && i.naturalWidth)"
            )
        )
        width = self.browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert width <= 0, f"{name} is {width} pixels wider than the window"
        assert self.browser.get_log("browser") == []
        folder = os.environ.get("QURE_SCREENSHOTS")
        if folder:
            shot = Image.open(io.BytesIO(self.browser.get_screenshot_as_png()))
            shot.convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(
                Path(folder) / f"studio-{name}.png", optimize=True
            )


@pytest.fixture
def page(serve: Callable[..., Any], project: Any, tmp_path: Path) -> Any:
    """The page with a survey, the champion loaded."""
    versions = project.versions()
    champion = project.version(None, versions)
    other = next(one for one in versions if one.number != champion.number)
    new_survey(project, champion, other, sets=1, questions=3, checks=1).save(tmp_path / "studio" / SURVEY)
    return serve(folder=tmp_path / "studio")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_five_things(
    size: tuple[int, int], page: Any, chromium: Callable[..., Any], project: Any, tmp_path: Path
) -> None:
    me = Person(chromium(size), page.address)
    suffix = "" if size == WIDE else "-narrow"
    _search(me, project, suffix)
    _refine_by_keyboard(me, suffix)
    _compare(me, suffix)
    _survey(me, suffix)
    _correct(me, suffix)
    _mining(me, suffix)
    answers = Answers(tmp_path / "studio" / ANSWERS, read_only=True)
    assert len(answers.of("preference")) == 4
    assert [one.content["right"] for one in answers.of("mark")] == [True]


def _search(me: Person, project: Any, suffix: str) -> None:
    me.open("/")
    assert me.all("#gallery a")
    me.seen(f"gallery{suffix}")
    query = next(one for one in project.queries.values() if one.category)
    me.one("ul.path a").click()
    me.one("#answers a")
    started = time.monotonic()
    me.browser.refresh()
    me.one("#answers a")
    assert time.monotonic() - started < 20
    assert len(me.all("#answers a")) == 10
    address = me.browser.current_url
    assert "r=gallery" in address
    assert query.category in project.gallery
    me.seen(f"search{suffix}")


def _refine_by_keyboard(me: Person, suffix: str) -> None:
    """A digit takes an answer as the next reference, the words are typed, Enter asks: no mouse."""
    third = me.all("#answers a")[2].find_element(By.TAG_NAME, "img").get_attribute("alt").split(": ")[1]
    me.press("3")
    me.until(lambda: len(me.all("ol.path li")) == 2)
    assert third in me.browser.current_url.replace("%3A", ":")
    assert me.browser.switch_to.active_element.get_attribute("id") == "text"
    me.press("is much darker", Keys.ENTER)
    me.one("#answers a")
    assert "is much darker" in me.one("ol.path").text
    me.press(Keys.ESCAPE)
    me.browser.execute_script("document.activeElement.blur()")
    me.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    focused = me.browser.switch_to.active_element.find_element(By.TAG_NAME, "img").get_attribute("alt")
    assert focused.startswith("answer 2")
    me.press("/")
    assert me.browser.switch_to.active_element.get_attribute("id") == "text"
    me.seen(f"refine{suffix}")
    me.all("ol.path a")[0].click()
    me.until(lambda: not me.all("ol.path li") or len(me.all("ol.path li")) == 4)


def _compare(me: Person, suffix: str) -> None:
    me.open("/compare")
    assert "Where they differ most" in me.text
    me.seen(f"differences{suffix}")
    me.one("#queries a").click()
    me.until(lambda: len(me.all("#sides section")) == 2)
    assert len(me.all("#sides li")) == 20
    me.seen(f"compare{suffix}")


def _survey(me: Person, suffix: str) -> None:
    me.open("/survey")
    me.seen(f"consent{suffix}")
    me.one("input[name=agree]").click()
    me.one("form button").click()
    for number in range(4):
        me.until(lambda number=number: f"Question {number + 1} of 4" in me.text)
        check = me.all("#check")
        left = 5 if check and check[0].get_attribute("data-check") == "1" else 1 if check else 4
        right = 6 - left if check else 2
        # By keyboard: Tab reaches a group, Space takes a choice, Enter sends.
        for name, value in (("score_1", left), ("score_2", right), ("preferred", 1 if left > right else 2)):
            choice = me.one(f"input[name={name}][value='{value}']")
            me.browser.execute_script("arguments[0].focus()", choice)
            me.press(Keys.SPACE)
            assert choice.is_selected()
        if number == 0:
            me.seen(f"survey{suffix}")
        if check:
            me.seen(f"check{suffix}")
        me.press(Keys.ENTER)
    me.until(lambda: "Thank you" in me.text)
    me.seen(f"thanks{suffix}")


def _correct(me: Person, suffix: str) -> None:
    me.open("/correct")
    me.seen(f"proposals{suffix}")
    me.one("td a").click()
    button = me.one("button[value=yes]")
    button.send_keys(Keys.ENTER)
    me.until(lambda: me.all("button[aria-pressed=true]"))
    assert "1 say right, 0 not" in me.text
    me.seen(f"correct{suffix}")


def _mining(me: Person, suffix: str) -> None:
    me.open("/minings")
    me.seen(f"minings{suffix}")
    me.one("#queries a").click()
    me.one("svg.curve .line")
    assert me.all("#hard img")
    me.seen(f"mining{suffix}")


def test_a_dropped_picture_is_searched_with(
    page: Any, chromium: Callable[..., Any], project: Any, tmp_path: Path
) -> None:
    me = Person(chromium(WIDE), page.address)
    me.open("/")
    picture = tmp_path / "mine.png"
    Image.open(io.BytesIO(project.images.read(next(iter(project.queries.values())).reference))).save(picture)
    me.one("#text").send_keys("is blue")
    me.one("#drop input").send_keys(str(picture))
    me.one("#answers a")
    assert "r=upload" in me.browser.current_url
    assert "is blue" in me.browser.current_url.replace("+", " ")
    me.seen("upload")
    wrong = tmp_path / "wrong.png"
    wrong.write_text("<script>window.ran = 1</script>")
    me.one("#drop input").send_keys(str(wrong))
    me.until(lambda: "cannot be used as a picture" in me.one("#trouble").text)
    large = tmp_path / "large.png"
    with large.open("wb") as stream:
        stream.truncate(100_000_000)
    me.one("#drop input").send_keys(str(large))
    me.until(lambda: "larger than 20 MB" in me.one("#trouble").text)
    assert me.browser.execute_script("return window.ran") is None


def test_hostile_words_do_nothing(page: Any, chromium: Callable[..., Any], project: Any) -> None:
    me = Person(chromium(WIDE), page.address)
    me.open("/")
    me.one("ul.path a").click()
    field = me.one("#text")
    field.clear()
    hostile = "\"'><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>{{ 7*7 }}"
    field.send_keys(hostile, Keys.ENTER)
    me.until(lambda: "script" in me.browser.current_url)
    me.one("#answers a")
    assert me.one("#text").get_attribute("value") == hostile
    assert me.browser.execute_script("return window.ran") is None
