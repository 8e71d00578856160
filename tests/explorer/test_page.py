"""The page as a whole: who can use it, what it says when something fails, and what it leaves alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Request, Route, expect

from tests.explorer.visitor import Visitor

TOOLS = ["Samples", "Map", "Four corners", "Sliders", "Your picture", "Arithmetic", "Film"]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_tool_violates_the_accessibility_guidelines(visit: Visitor, scheme: str) -> None:
    page = visit.opens(color_scheme=scheme)
    for index in (3, 4):
        page.locator("#panel-samples .thumb").nth(index).press("s")
        page.locator("#panel-samples .thumb").nth(index).press("f")
    page.get_by_text("Copy as curl, Python or fetch").click()
    for tool in TOOLS:
        panel = visit.tool(tool)
        if tool == "Your picture":
            panel.get_by_role("button", name="Take the picture on the stage").click()
            expect(panel.locator(".verdict")).to_be_visible()
        if tool == "Sliders":
            panel.get_by_role("button", name="Make children").click()
        visit.settles()
        found = Axe().run(page, options=RULES).response["violations"]
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == [], tool


@pytest.mark.parametrize("width", [320, 768, 1440, 2560])
def test_nothing_is_cut_off_at_any_width_and_targets_are_large_enough(visit: Visitor, width: int) -> None:
    page = visit.opens(width=width, height=800)
    small = """() => [...document.querySelectorAll("button, select, input, summary, a")]
      .filter((element) => element.checkVisibility() && !element.matches(".skip, label input"))
      .map((element) => [element.outerHTML.slice(0, 80), element.getBoundingClientRect()])
      .filter(([, { width, height }]) => width < 24 || height < 24).map(([html]) => html)"""
    for tool in TOOLS:
        visit.tool(tool)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tool
        assert page.evaluate(small) == [], tool


def test_everything_is_reached_by_tab_and_shows_where_the_focus_is(visit: Visitor) -> None:
    page = visit.opens()
    names, unseen = [], []
    state = """() => {
      const { activeElement: at } = document;
      const style = getComputedStyle(at);
      const name = at.getAttribute("aria-label") ?? at.labels?.[0]?.textContent ?? at.textContent;
      return [at.tagName, name.trim(), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
    }"""
    for _ in range(60):
        page.keyboard.press("Tab")
        tag, name, visible = page.evaluate(state)
        if tag == "BODY":
            break
        names.append(name)
        unseen += [] if visible else [name]
    assert unseen == []
    for wanted in ("Skip to the tools", "Model", "Set A", "From A to B", "Play", "Samples", "New seed", "Sample 0"):
        assert any(name.startswith(wanted) for name in names), (wanted, names)


def test_tabs_are_walked_by_arrows(visit: Visitor) -> None:
    page = visit.opens()
    page.get_by_role("tab", name="Samples").focus()
    for key, tool in [("ArrowRight", "Map"), ("End", "Film"), ("ArrowRight", "Samples"), ("ArrowLeft", "Film")]:
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=tool)).to_be_focused()
        expect(page.get_by_role("tabpanel", name=tool)).to_be_visible()


def test_less_motion_is_few_still_steps(visit: Visitor) -> None:
    page = visit.opens(reduced_motion="reduce")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('.ends input').valueAsNumber > 0", polling="raf")
    shown = page.evaluate("document.querySelector('.ends input').valueAsNumber")
    page.get_by_role("button", name="Pause").click()
    assert shown * 6 == pytest.approx(round(shown * 6), abs=0.02)
    assert page.evaluate("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"


def test_link_shows_the_same_to_somebody_else(visit: Visitor) -> None:
    page = visit.opens("#model=mnist_keras_vae@5")
    page.locator("#panel-samples .thumb").nth(5).click()
    page.locator("#panel-samples .thumb").nth(6).press("f")
    visit.tool("Film")
    visit.slides(page.get_by_role("slider", name="From A to B"), 0.355)
    expect(page).to_have_url(re.compile("t=0.355"))
    visit.settles()
    shown, link = visit.pixels(), page.evaluate("location.hash")
    page.close()
    page = visit.opens(link)
    assert visit.pixels() == shown
    expect(page.locator("#panel-film .film .thumb")).to_have_count(1)
    expect(page.locator("#panel-film")).to_be_visible()


def test_another_model_opens_without_a_reload_and_offers_what_it_can(visit: Visitor) -> None:
    page = visit.opens()
    loads: list[str] = []
    page.on("load", lambda _: loads.append("again"))
    page.get_by_label("Model").select_option("tiny_gan@1")
    expect(page.get_by_role("tab", name="Map")).to_have_count(0)
    expect(page.get_by_role("tab", name="Your picture")).to_have_count(1)
    page.get_by_label("Model").select_option("tiny_vae@1")
    expect(page.locator("#summary")).to_have_text("A model for tests.")
    visit.settles()
    assert any(visit.pixels())
    assert loads == []


def without(capabilities: set[str], **changes: Any) -> Any:
    """A handler that answers a model's description as if it could do less."""

    def answer(route: Route) -> None:
        response = route.fetch()
        said = response.json()
        said["capabilities"] = [name for name in said["capabilities"] if name not in capabilities]
        route.fulfill(response=response, json=said | changes)

    return answer


def test_model_that_cannot_sample_starts_from_its_map(visit: Visitor) -> None:
    page = visit.opens()
    page.route(re.compile("/v1/models/mnist_keras_vae@5$"), without({"sample"}))
    page.route("**/mnist_keras_vae@5/sample", lambda route: route.fulfill(status=409, json={"title": "No"}))
    visit.expected = "409"
    page.get_by_label("Model").select_option("mnist_keras_vae@5")
    expect(page.get_by_role("tab", name="Samples")).to_have_count(0)
    expect(page.get_by_role("tab", name="Map")).to_have_attribute("aria-selected", "true")
    visit.settles()
    assert any(visit.picture(".ends .is-a"))


def test_path_through_the_prior_is_the_service_s_where_a_model_has_one(visit: Visitor) -> None:
    page = visit.opens()
    manifest = page.request.get(f"{visit.address}/v1/models/mnist_keras_vae@5").json()["manifest"]
    manifest["graphs"].append({"role": "latent_to_noise", "inputs": []})
    page.route(re.compile("/v1/models/mnist_keras_vae@5$"), without(set(), manifest=manifest))
    asked: list[Any] = []

    def walk(route: Route) -> None:
        asked.append(route.request.post_data_json)
        route.continue_(post_data=json.dumps(asked[-1] | {"path": "linear"}))  # what this model can do

    page.route("**/interpolate?*", walk)
    page.get_by_label("Model").select_option("mnist_keras_vae@5")
    expect(page.get_by_label("Path").locator("option")).to_have_count(3)
    page.get_by_label("Path").select_option("linear")
    page.get_by_role("slider", name="From A to B").fill("0.7")
    visit.settles()
    straight = visit.pixels()
    page.get_by_label("Path").select_option("prior")
    visit.settles()
    assert [wish["path"] for wish in asked] == ["prior"]
    assert max(abs(one - other) for one, other in zip(visit.pixels(), straight, strict=True)) <= 1


def test_conditional_model_samples_a_class_reads_as_one_and_names_it(visit: Visitor) -> None:
    page = visit.opens("#model=tiny_labelled@1")
    expect(page.get_by_label("Class", exact=True).locator("option")).to_have_text(["Any", "plain", "left", "1"])
    page.get_by_label("Class", exact=True).select_option("left")
    expect(page.locator("#panel-samples .thumb").nth(15)).to_have_accessible_name("Sample 15, left")
    expect(page).to_have_url(re.compile("label=1"))
    page.get_by_role("slider", name="From A to B").fill("0.5")
    visit.settles()
    panel = visit.tool("Your picture")
    panel.get_by_label("Its class").select_option("left")
    panel.get_by_role("button", name="Take the picture on the stage").click()
    expect(panel.locator(".results")).to_contain_text("It is taken for")
    expect(panel.locator(".elbo")).to_be_visible()
    with page.expect_download():
        page.get_by_role("button", name="Save animation as GIF").click()


def test_named_directions_appear_where_the_api_lists_them(visit: Visitor) -> None:
    page = visit.opens()
    page.route(re.compile("/v1/models/mnist_keras_vae@5$"), without(set(), directions=[{"name": "slant"}]))
    asked: list[Any] = []

    def add(route: Route) -> None:
        asked.append(route.request.post_data_json)
        sent = {"terms": [term for term in asked[-1]["terms"] if "latent" in term["point"]]}
        route.continue_(post_data=json.dumps(sent))

    page.route("**/arithmetic", add)
    page.get_by_label("Model").select_option("mnist_keras_vae@5")
    expect(page.locator("#summary")).to_contain_text("Keras")
    visit.slides(visit.tool("Sliders").get_by_role("slider", name="slant"), 1.5)
    visit.settles()
    assert asked[0]["terms"][1] == {"weight": 1.5, "point": {"direction": "slant"}}


def test_refusal_shows_its_title_and_request_id(visit: Visitor) -> None:
    page = visit.opens()
    visit.expected = "422"
    with page.expect_response("**/sample") as answer:
        page.get_by_label("Seed", exact=True).evaluate("(input) => { input.max = ''; }")
        page.get_by_label("Seed", exact=True).fill("99999999999999999999")
        page.get_by_label("Seed", exact=True).blur()
    problem = answer.value.json()
    visit.says(problem["title"])
    visit.says(problem["request_id"])
    page.locator(".notice").get_by_role("button", name="Close").click()
    expect(page.locator(".notice")).to_have_count(0)


def test_service_that_is_gone_is_said_to_be(visit: Visitor) -> None:
    page = visit.opens()
    visit.expected = "ERR_CONNECTION_REFUSED"
    page.route("**/sample", lambda route: route.abort("connectionrefused"))
    page.get_by_role("button", name="New seed").click()
    visit.says("The service does not answer")


def test_unknown_model_in_a_link_is_named_and_another_opens(visit: Visitor) -> None:
    visit.expected = "404"
    page = visit.opens("#model=nothing@3")
    visit.says("nothing@3")
    expect(page.get_by_label("Model")).to_have_value("mnist_vae@4")


def test_service_with_keys_asks_for_one_and_goes_on(visit: Visitor) -> None:
    page = visit.opens()
    visit.expected = "401"

    def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer secret":
            route.continue_()
        else:
            route.fulfill(status=401, json={"title": "Unauthorized", "status": 401, "code": "unauthorized"})

    page.route("**/v1/**", guard)
    page.reload()
    page.get_by_label("API key").fill("secret")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#panel-samples .thumb")).to_have_count(16)


def test_page_asks_nobody_but_its_service(visit: Visitor, address: str) -> None:
    asked: list[str] = []
    page = visit.opens()
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    visit.settles()
    for tool in TOOLS:
        visit.tool(tool)
    visit.settles()
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((f"{address}/", "data:", "blob:"))] == []


def test_second_visit_loads_no_file_again(visit: Visitor) -> None:
    page = visit.opens()
    loaded: list[Request] = []
    page.on("requestfinished", lambda request: loaded.append(request))  # noqa: PLW0108  Playwright marks listeners
    page.goto("about:blank")
    page.goto(f"{visit.address}/")
    visit.settles()
    files = [request for request in loaded if "/explorer/" in request.url]
    assert [request.url for request in files if request.sizes()["responseBodySize"] > 0] == []


@pytest.mark.parametrize("model", ["mnist_m1_m2_100", "mnist_acgan"])
def test_glide_of_a_model_whose_prior_or_decoder_is_told_a_class(visit: Visitor, model: str) -> None:
    page = visit.opens(f"#model={model}&path=linear")
    shown = [visit.pixels()]
    for place in ("0.3", "0.9"):
        page.get_by_role("slider", name="From A to B").fill(place)
        visit.settles()
        shown.append(visit.pixels())
    assert all(max(pixels) > min(pixels) for pixels in shown)
    assert shown[0] != shown[1] != shown[2]
