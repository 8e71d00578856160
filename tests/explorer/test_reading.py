"""The map, the sliders, pictures of one's own, arithmetic: what is asked of the encoder and the density."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Route, expect

from tests.explorer.visitor import Visitor


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of a seven in dark ink on grey paper, off the middle."""
    rng = np.random.default_rng(5)
    paper = Image.fromarray(rng.normal(205, 3, (480, 640)).clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(paper).line([(330, 100), (450, 100), (380, 300)], fill=40, width=22, joint="curve")
    path = tmp_path_factory.mktemp("photo") / "seven.jpg"
    paper.save(path)
    return path


def test_map_decodes_under_the_pointer_and_a_click_sets_a(visit: Visitor) -> None:
    page = visit.opens()
    panel = visit.tool("Map")
    surface = panel.locator(".map")
    expect(surface).to_be_visible()
    visit.settles()
    before = visit.pixels()
    box = surface.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(visit.screen).to_have_attribute("aria-label", "A look at another place")
    visit.settles()
    looked = visit.pixels()
    assert looked != before
    page.mouse.down()
    page.mouse.up()
    visit.settles()
    assert visit.picture(".ends .is-a") == looked
    page.mouse.move(5, 5)
    expect(visit.screen).to_have_attribute("aria-label", "At A")


def test_map_is_walked_by_keyboard_and_names_classes_in_words(visit: Visitor) -> None:
    visit.opens()
    panel = visit.tool("Map")
    walk = panel.get_by_role("slider", name="Picture")
    walk.press("ArrowRight")
    expect(walk).to_have_attribute("aria-valuetext", "0, 2 of 400")
    visit.settles()
    looked = visit.pixels()
    panel.get_by_role("button", name="Set B to it").click()
    visit.settles()
    assert visit.picture(".ends .is-b") == looked
    for digit in range(10):
        expect(panel.get_by_label(str(digit), exact=True)).to_be_checked()
    drawn = visit.pixels(".map canvas:last-child")
    panel.get_by_label("3", exact=True).uncheck()
    assert visit.pixels(".map canvas:last-child") != drawn


def test_plane_of_a_two_dimensional_model_is_shown_whole(visit: Visitor) -> None:
    page = visit.opens("#model=mnist_keras_vae@5")
    panel = visit.tool("Map")
    panel.get_by_label("Show the images of the whole plane").check()
    page.wait_for_function("() => document.querySelector('.manifold').width === 17 * 28")
    assert any(visit.pixels(".manifold"))


def test_sliders_change_lock_reset_and_are_undone(visit: Visitor) -> None:
    page = visit.opens()
    panel = visit.tool("Sliders")
    slider = panel.get_by_role("slider", name="Dimension").first
    expect(panel.get_by_role("slider", name="Dimension")).to_have_count(8)
    manifest = page.request.get(f"{visit.address}/v1/models/mnist_vae").json()["manifest"]
    first = manifest["latent"]["active_dimensions"][0]
    expect(slider).to_have_accessible_name(f"Dimension {first}")
    before, value = visit.pixels(), slider.input_value()
    visit.slides(slider, 3)
    visit.settles()
    assert visit.pixels() != before
    panel.get_by_role("button", name=f"Reset dimension {first}").click()
    expect(slider).to_have_value("0")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    expect(slider).to_have_value(value)
    page.keyboard.press("Control+Shift+Z")
    expect(slider).to_have_value("3")
    panel.get_by_label(f"Lock dimension {first}").check()
    panel.get_by_role("button", name="Reset all").click()
    expect(slider).to_have_value("3")
    expect(panel.get_by_role("slider", name="Dimension").nth(1)).to_have_value("0")


def test_children_resemble_their_parent_by_the_distance(visit: Visitor) -> None:
    page = visit.opens()
    panel = visit.tool("Sliders")
    visit.slides(panel.get_by_role("slider", name="Distance"), 0.05)
    panel.get_by_role("button", name="Make children").click()
    born = panel.get_by_role("group", name="Children").locator(".thumb")
    expect(born).to_have_count(8)
    visit.settles()
    parent = np.array(visit.pixels(), float)
    child = np.array(visit.picture("[aria-label=Children] .thumb"), float)
    assert np.abs(parent - child).mean() < 20
    born.first.click()
    visit.settles()
    assert visit.pixels() == child.tolist()
    expect(page.locator(".recent .thumb")).to_have_count(2)
    page.locator(".recent .thumb").nth(1).click()
    visit.settles()
    assert visit.pixels() == parent.tolist()


def test_gan_without_measured_dimensions_ranks_them_itself(visit: Visitor) -> None:
    visit.opens("#model=tiny_gan@1")
    panel = visit.tool("Sliders")
    expect(panel.get_by_role("slider", name="Dimension")).to_have_count(4)


def test_picked_photo_is_turned_scored_and_put_into_words(visit: Visitor, photo: Path) -> None:
    visit.opens()
    panel = visit.tool("Your picture")
    panel.get_by_label("Picture file").set_input_files(photo)
    verdict = panel.locator(".verdict")
    expect(verdict).to_contain_text(re.compile("Typical|Unusual|An outlier"))
    expect(verdict).to_contain_text("% of held-out pictures")
    expect(panel.get_by_label("Swap light and dark")).to_be_checked()
    expect(panel.get_by_label("Cut out and centre what is drawn")).to_be_checked()
    for name in ("What the model sees", "What it gives back", "Where they differ"):
        expect(panel.get_by_role("img", name=name)).to_be_visible()
    rows = dict(
        zip(panel.locator(".elbo th").all_inner_texts(), panel.locator(".elbo .number").all_inner_texts(), strict=True)
    )
    numbers = [float(text.replace("−", "-")) for text in rows.values()]
    assert list(rows) == ["Reconstruction", "− KL", "= ELBO"]
    assert numbers[0] + numbers[1] == pytest.approx(numbers[2], abs=0.11)


def test_picture_that_is_no_digit_is_an_outlier_and_a_way_to_it_starts(visit: Visitor, tmp_path: Path) -> None:
    noise = np.random.default_rng(6).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    page = visit.opens()
    panel = visit.tool("Your picture")
    panel.get_by_label("Picture file").set_input_files(tmp_path / "noise.png")
    expect(panel.locator(".verdict")).to_contain_text("An outlier")
    panel.get_by_role("button", name="Set A to it").click()
    visit.settles()
    assert visit.picture(".ends .is-a") == visit.pixels("[aria-label='What it gives back']")
    expect(page.get_by_role("slider", name="From A to B")).to_have_attribute("aria-valuetext", "A")


def test_photo_dropped_or_pasted_anywhere_is_read(visit: Visitor, photo: Path) -> None:
    page = visit.opens()
    content = base64.b64encode(photo.read_bytes()).decode()
    give = """([kind, content]) => {
      const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
      const options = { bubbles: true, cancelable: true };
      const event = kind === "drop"
        ? new DragEvent("drop", { ...options, dataTransfer: data })
        : new ClipboardEvent("paste", { ...options, clipboardData: data });
      document.body.dispatchEvent(event);
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(give, [kind, content])
        expect(page.locator("#panel-yours .verdict")).to_be_visible()
        expect(page.get_by_role("tab", name="Your picture")).to_have_attribute("aria-selected", "true")
        visit.settles()
        page.locator("#panel-yours .results").evaluate("(element) => element.replaceChildren()")


def test_drawing_is_read_after_every_stroke(visit: Visitor) -> None:
    page = visit.opens()
    panel = visit.tool("Your picture")
    canvas = panel.locator(".drawing")
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 30, steps=5)
    page.mouse.up()
    expect(panel.locator(".verdict")).to_be_visible()
    panel.get_by_role("button", name="Clear").click()
    assert not any(visit.pixels(".drawing"))


def test_gan_s_discriminator_judges_in_words(visit: Visitor, photo: Path) -> None:
    visit.opens("#model=tiny_gan@1")
    panel = visit.tool("Your picture")
    panel.get_by_label("Picture file").set_input_files(photo)
    expect(panel.locator(".results")).to_contain_text("The discriminator takes it for")
    expect(panel.locator(".elbo")).to_have_count(0)


def test_gan_with_an_encoder_is_scored_under_the_assumption_that_is_stated(visit: Visitor, photo: Path) -> None:
    visit.opens("#model=mnist_gan@5")
    panel = visit.tool("Your picture")
    panel.get_by_label("Picture file").set_input_files(photo)
    expect(panel.get_by_role("img", name="What it gives back")).to_be_visible()
    expect(panel.locator(".elbo caption")).to_contain_text("Assumed: p(x|z) = N(G(z), σ²I)")
    expect(panel.locator(".results")).to_contain_text("The discriminator takes it for")


def test_arithmetic_adds_weights_means_and_tells_the_log_prior(visit: Visitor) -> None:
    page = visit.opens()
    samples = page.locator("#panel-samples .thumb")
    samples.nth(2).press("s")
    samples.nth(3).press("s")
    panel = visit.tool("Arithmetic")
    expect(panel.locator(".answer")).to_contain_text("Log prior −")
    weight = panel.get_by_label("Weight of term 2")
    weight.fill("-0.9")
    weight.press("ArrowDown")
    expect(weight).to_have_value("-1")
    expect(weight).to_be_focused()
    panel.locator(".term").nth(0).get_by_role("button", name="Mean with the stage").click()
    expect(panel.get_by_text("mean of 2")).to_be_visible()
    visit.settles()
    panel.get_by_label("Scale to the typical length").uncheck()
    expect(panel.locator(".answer")).to_contain_text("usual places have about −45.4")
    panel.get_by_role("button", name="Remove term 2").click()
    panel.get_by_role("button", name="Clear").click()
    expect(panel.get_by_text("The sum is empty.")).to_be_visible()


def test_sum_of_one_place_is_that_place(visit: Visitor) -> None:
    page = visit.opens()
    page.locator("#panel-samples .thumb").nth(6).press("s")
    panel = visit.tool("Arithmetic")
    panel.get_by_label("Scale to the typical length").uncheck()
    visit.settles()
    panel.get_by_role("button", name="Show on the stage").click()
    visit.settles()
    assert visit.pixels() == visit.picture("#panel-samples .thumb:nth-child(7)")


def test_png_saved_from_the_stage_brings_its_place_back(visit: Visitor) -> None:
    page = visit.opens("#model=mnist_keras_vae@5&t=0.4")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save PNG").click()
    png = saved.value.path().read_bytes()
    assert Image.open(io.BytesIO(png)).size == (28, 28)
    shown = visit.pixels()
    page.get_by_label("Model").select_option("mnist_vae@4")
    visit.settles()
    drop(visit, png)
    visit.says("the service makes the same bytes again")
    expect(page.get_by_label("Model")).to_have_value("mnist_keras_vae@5")
    visit.settles()
    assert visit.pixels() == shown


def test_model_chosen_last_is_shown_whichever_answers_first(visit: Visitor) -> None:
    page = visit.opens("#model=mnist_vae@4")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/v1/models/mnist_keras_vae@5/sample", hold)
    choice = page.get_by_label("Model")
    choice.select_option("mnist_keras_vae@5")
    choice.select_option("tiny_gan@1")
    expect(page).to_have_title("tiny gan · LatentServe")
    assert len(held) == 1
    with page.expect_response("**/v1/models/mnist_keras_vae@5/sample"):
        held[0].continue_()
    visit.settles()
    expect(page).to_have_title("tiny gan · LatentServe")
    expect(choice).to_have_value("tiny_gan@1")


def test_sheet_dropped_on_the_page_brings_its_sampling_back(visit: Visitor) -> None:
    page = visit.opens("#model=mnist_vae@4&seed=11&count=36&temperature=0.5")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save sheet as PNG").click()
    sheet = saved.value.path().read_bytes()
    page.get_by_label("Seed", exact=True).fill("12")
    page.get_by_label("Seed", exact=True).blur()
    expect(page).to_have_url(re.compile("seed=12"))
    drop(visit, sheet)
    visit.says("the service makes the same bytes again")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("11")
    expect(page.get_by_role("slider", name="Temperature")).to_have_value("0.5")
    expect(page.locator("#panel-samples .thumb")).to_have_count(36)


def drop(visit: Visitor, png: bytes) -> None:
    """Drop a PNG on the page."""
    script = """(content) => {
      const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], "a.png", { type: "image/png" }));
      document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
    }"""
    visit.page.evaluate(script, base64.b64encode(png).decode())
