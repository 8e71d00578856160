"""Samples, the way from A to B, four corners, the film: what a visitor does first."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import Download, Route, expect

from tests.explorer.visitor import Visitor


def picture(download: Download) -> Image.Image:
    """What was saved."""
    return Image.open(io.BytesIO(download.path().read_bytes()))


def test_first_paint_shows_sixteen_samples_and_a_stage(visit: Visitor) -> None:
    page = visit.opens()
    expect(page.locator("#panel-samples .thumb")).to_have_count(16)
    expect(page.locator("#model")).to_have_value("mnist_vae@4")
    assert any(visit.pixels())
    assert any(visit.picture("#panel-samples .thumb"))


def test_click_is_a_and_shift_click_is_b(visit: Visitor) -> None:
    page = visit.opens()
    samples = page.locator("#panel-samples .thumb")
    samples.nth(4).click()
    samples.nth(9).click(modifiers=["Shift"])
    expect(samples.nth(4)).to_have_attribute("aria-description", "is A")
    expect(samples.nth(9)).to_have_attribute("aria-description", "is B")
    page.get_by_label("sets B").check()
    samples.nth(2).click()
    expect(samples.nth(2)).to_have_attribute("aria-description", "is B")
    assert visit.picture(".slot.is-b") == visit.pixels("#panel-samples .thumb:nth-child(3) :is(canvas, img)")


def test_samples_are_walked_and_set_by_keyboard_alone(visit: Visitor) -> None:
    page = visit.opens()
    samples = page.locator("#panel-samples .thumb")
    samples.first.focus()
    for key in ("ArrowRight", "ArrowRight", "b", "End", "Enter", "f", "Home", "s"):
        page.keyboard.press(key)
    expect(samples.nth(2)).to_have_attribute("aria-description", "is B")
    expect(samples.nth(15)).to_have_attribute("aria-description", "is A")
    expect(visit.tool("Film").locator(".film .thumb")).to_have_count(1)
    expect(visit.tool("Arithmetic").locator(".term")).to_have_count(1)


def test_pictures_are_dragged_to_ends_corners_sum_and_film(visit: Visitor) -> None:
    page = visit.opens()
    samples = page.locator("#panel-samples .thumb")
    samples.nth(5).drag_to(page.locator(".ends .slot.is-b"))
    expect(samples.nth(5)).to_have_attribute("aria-description", "is B")
    for name, target, found in [
        ("Arithmetic", ".terms", ".term"),
        ("Film", "ol.film", ".film .thumb"),
    ]:
        panel = visit.tool(name)
        page.locator(".ends .slot.is-a .thumb").drag_to(panel.locator(target))
        expect(panel.locator(found)).to_have_count(1)
    panel = visit.tool("Four corners")
    page.locator(".ends .slot.is-b .thumb").drag_to(panel.locator(".corner.is-d"))
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    visit.settles()
    assert visit.picture(".corner.is-d") == visit.picture(".ends .slot.is-b")


def test_slider_glides_from_a_to_b_frame_by_frame(visit: Visitor) -> None:
    page = visit.opens()
    slider = page.get_by_role("slider", name="From A to B")
    frames = [visit.pixels()]
    for step in range(1, 9):
        visit.slides(slider, step / 8)
        visit.settles()
        frames.append(visit.pixels())
    expect(slider).to_have_attribute("aria-valuetext", "B")
    assert [frames[0], frames[-1]] == [visit.picture(".ends .is-a"), visit.picture(".ends .is-b")]
    assert len({tuple(frame) for frame in frames}) == 9


def test_older_frames_are_aborted_for_the_latest(visit: Visitor) -> None:
    page = visit.opens()
    held: list[Route] = []
    failed: list[str] = []
    page.route("**/decode?*", lambda route: held.append(route) if not held else route.continue_())
    page.on("requestfailed", lambda request: failed.append(request.failure or ""))
    slider = page.get_by_role("slider", name="From A to B")
    slider.fill("0.3")
    with page.expect_response("**/decode?*"):
        slider.fill("0.9")
        slider.fill("1")
    visit.settles()
    assert failed == ["net::ERR_ABORTED"]
    assert visit.pixels() == visit.picture(".ends .is-b")


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_frame_is_the_service_s_own_on_either_path(visit: Visitor, path: str) -> None:
    page = visit.opens(f"#model=mnist_vae@4&path={path}&t=0.5&via=glide")
    middle = page.evaluate(
        """async (path) => {
          const { LatentServe } = await import("/explorer/latentserve.js");
          const points = [{ seed: 7, index: 0 }, { seed: 7, index: 1 }];
          const { images } = await new LatentServe().interpolate("mnist_vae@4", points, { steps: 3, path });
          const { pixelsOf } = await import("/explorer/paint.js");
          return Array.from((await pixelsOf(`data:image/png;base64,${images[1].png}`, 1)).data);
        }""",
        path,
    )
    difference = [abs(one - other) for one, other in zip(visit.pixels(), middle, strict=True)]
    assert max(difference) <= 1  # float32 latents mixed in another order


def test_play_moves_and_stops_and_ping_pong_returns(visit: Visitor) -> None:
    page = visit.opens()
    slider = page.get_by_role("slider", name="From A to B")
    page.get_by_role("button", name="Play").click()
    expect(slider).to_have_attribute("aria-valuetext", "B", timeout=30_000)
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert visit.pixels() == visit.picture(".ends .is-b")
    caption = page.locator("figcaption").first
    expect(caption).to_contain_text("At B")
    page.get_by_label("Back and forth").check()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(
        """() => {
          const at = document.querySelector(".ends input").valueAsNumber;
          window.highest = Math.max(window.highest ?? 0, at);
          return window.highest === 1 && at < 0.8;
        }""",
        polling="raf",
    )
    expect(caption).to_contain_text("On the way from A to B")
    page.get_by_role("button", name="Pause").click()
    expect(caption).to_contain_text("of the way")


@pytest.mark.parametrize(("button", "kind"), [("GIF", "GIF"), ("WebP", "WEBP"), ("APNG", "PNG")])
def test_way_is_saved_as_an_animation(visit: Visitor, button: str, kind: str) -> None:
    page = visit.opens()
    with page.expect_download() as saved:
        page.get_by_role("button", name=f"Save animation as {button}").click()
    with picture(saved.value) as animation:
        assert animation.format == kind
        assert animation.n_frames > 20  # neighbouring equal frames are stored once


def test_film_through_three_keyframes_is_cut_reordered_and_saved(visit: Visitor) -> None:
    page = visit.opens()
    for index in (1, 2, 3):
        page.locator("#panel-samples .thumb").nth(index).press("f")
    panel = visit.tool("Film")
    frames = panel.locator(".film .thumb")
    expect(frames).to_have_count(3)
    visit.settles()
    before = visit.picture(".film li:nth-child(1)")
    panel.get_by_role("button", name="Move keyframe 1 later").press("Enter")
    expect(panel.get_by_role("button", name="Move keyframe 1 later")).to_be_focused()
    visit.settles()
    assert visit.picture(".film li:nth-child(2)") == before
    panel.get_by_role("button", name="Remove keyframe 3").click()
    expect(frames).to_have_count(2)
    visit.slides(panel.get_by_role("slider", name="Frames a leg"), 5)
    expect(panel.get_by_text("8 frames")).to_be_visible()
    panel.get_by_role("button", name="Make the animation").click()
    expect(panel.get_by_alt_text("The animation through the keyframes")).to_be_visible()
    with page.expect_download() as saved:
        panel.get_by_role("link", name="Save it").click()
    assert saved.value.suggested_filename == "mnist_vae-film.gif"
    with picture(saved.value) as animation:
        assert (animation.size, animation.format) == ((28, 28), "GIF")


def test_square_decodes_where_the_pointer_or_the_sliders_are(visit: Visitor) -> None:
    page = visit.opens()
    panel = visit.tool("Four corners")
    pad = panel.locator(".pad")
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] + 30, steps=3)
    page.mouse.up()
    across = panel.get_by_role("slider", name="Across")
    down = panel.get_by_role("slider", name="Down")
    expect(down).to_have_attribute("aria-valuetext", "100 %")
    across.press("End")
    visit.settles()
    assert visit.pixels() == visit.picture(".corner.is-d")
    down.press("Home")
    visit.settles()
    assert visit.pixels() == visit.picture(".corner.is-b")
    assert any(visit.pixels(".pad canvas"))


def test_sampling_changes_with_seed_count_temperature_and_truncation(visit: Visitor) -> None:
    page = visit.opens()
    first = visit.picture("#panel-samples .thumb")
    page.get_by_label("Images").select_option("256")
    expect(page.locator("#panel-samples .thumb")).to_have_count(256)
    page.get_by_label("Seed", exact=True).fill("8")
    page.get_by_label("Seed", exact=True).blur()
    expect(page).to_have_url(re.compile("seed=8"))
    visit.settles()
    assert visit.picture("#panel-samples .thumb") != first
    visit.slides(page.get_by_role("slider", name="Truncation"), 1)
    visit.slides(page.get_by_role("slider", name="Temperature"), 0)
    expect(page).to_have_url(re.compile("temperature=0&truncation=1"))
    visit.settles()
    still = visit.picture("#panel-samples .thumb:nth-child(1)")  # temperature 0: the mean alone
    assert still == visit.picture("#panel-samples .thumb:nth-child(200)")
