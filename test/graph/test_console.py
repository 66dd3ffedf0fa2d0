"""The operator's page in a real browser at a running robot."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from node_pages import NODES, describe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from ros_support import NAMESPACE, Graph, Listener, free_port, listener, up_sim
from running import node

from rlt_ros import msg
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.qos import RECORD_QOS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.live,
    pytest.mark.whole,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]
OPTIONAL = {
    "sim_node": {"joy", "session"},  # with a simulated human
    "session_node": {"policy_input"},  # with a hand-over by itself
    "console_node": {"/rosout", "step"},
}
"""What the running configuration does not need, or what is left out as everybody's."""
PIXELS = """name => {
  const image = document.querySelector(`[data-camera="${name}"] img`);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 64;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, 64, 64);
  return Array.from(pen.getImageData(0, 0, 64, 64).data);
}"""
WHEN_PRESSED = """() => document.addEventListener("pointerdown", event => {
  window.pressed = performance.timeOrigin + event.timeStamp;
}, { capture: true, once: true })"""


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


def url_in(log: Path, seconds: float = 30.0) -> str:
    """Where the newest console listens, as it logged it."""
    deadline = time.monotonic() + seconds
    while True:
        found = re.findall(r"console: (http://\S+?)(?:;|$)", log.read_text(), re.MULTILINE) if log.is_file() else []
        if found:
            return str(found[-1])
        assert time.monotonic() < deadline, f"no console within {seconds:.0f} s"
        time.sleep(0.1)


def wait(condition: Callable[[], bool], page: Page, seconds: float, what: str) -> float:
    """Until the page shows something; the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds:.0f} s"
        page.wait_for_timeout(20)
    return time.monotonic() - began


def frames(page: Page) -> list[int]:
    return page.eval_on_selector_all(".camera", "all => all.map(one => Number(one.dataset.frames || 0))")


def check_documentation(ros: Listener, name: str) -> None:
    """Topics and services of a running node are those of its docstring, of which docs/nodes is made."""
    node, said = ros.node, describe(NODES / f"{name}.py")
    for section, ask in (
        ("Publishes", node.get_publisher_names_and_types_by_node),
        ("Subscribes", node.get_subscriber_names_and_types_by_node),
        ("Services", node.get_service_names_and_types_by_node),
    ):
        live = {
            topic.replace(f"{NAMESPACE}/{name}/", "~/").replace(f"{NAMESPACE}/", ""): types[0].split("/")
            for topic, types in ask(name, NAMESPACE)
        }
        live = {
            topic: kind[-1]
            for topic, kind in live.items()
            if kind[0] not in ("rcl_interfaces", "lifecycle_msgs", "type_description_interfaces")
        }
        documented = said.names(section)
        for topic, kind in live.items():
            known = [
                types
                for pattern, types in documented.items()
                if re.fullmatch(re.sub(r"<[^>]*>", ".+", pattern), topic) and kind in types
            ]
            assert known, f"{name}: {section} says nothing of {topic} ({kind})"
        absent = {topic for topic in documented if "<" not in topic} - set(live) - OPTIONAL.get(name, set())
        assert not absent, f"{name} has no {absent}"


@pytest.fixture
def graph(domain: int, tmp_path: Path) -> Iterator[Graph]:
    settings = {
        "session_node.warmup_episodes": 3,
        "learner_node.warmup_samples": 50,
        "learner_node.burn_in_updates": 20,
        "executor_node.priority": 0,
        "sim_node.priority": 0,
        "console_node.port": free_port(),
    }
    with listener() as ros, up_sim(ros, tmp_path, settings) as running:
        yield running


def test_an_operator_sees_stops_and_takes_over_and_deaths_are_seen(graph: Graph, browser: Browser) -> None:
    ros = graph.ros
    steps = ros.listen(msg.ControlStep, "step", RECORD_QOS)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(90_000)  # of clicks: a busy machine's browser is late
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(url_in(graph.run_dir / "log" / "console_node.log"))
    badge = page.locator("#executor")

    def flown(*states: int, seconds: float = 30.0) -> None:
        steps.clear()
        ros.wait(lambda: any(step.state in states for step in steps), seconds, f"state {states} on the wire")

    # 1. Pictures of all cameras arrive and change; so do state, table and curves.
    wait(lambda: len(frames(page)) == 3 and min(frames(page)) >= 3, page, 60, "pictures")
    flown(msg.ControlStep.STATE_REFERENCE, msg.ControlStep.STATE_ACTOR, seconds=60)
    before = page.evaluate(PIXELS, "base")
    assert max(before) > 0
    wait(lambda: page.evaluate(PIXELS, "base") != before, page, 10, "a picture that changes")
    ages = [text.split(" ms")[0] for text in page.locator(".camera .age").all_text_contents()]
    assert all(float(age) < 500 for age in ages), ages
    expect(badge).to_have_attribute("data-state", re.compile("REFERENCE|ACTOR"), timeout=20_000)
    expect(page.locator('[data-node="vla_node"]')).to_contain_text("passes/s", timeout=10_000)
    expect(page.locator('[data-node="learner_node"]')).to_have_attribute("data-state", "ok", timeout=10_000)

    # The pages in docs/nodes say of every running node what it says and hears, and nothing else.
    for name in ("session", "executor", "vla", "learner", "recorder", "sim", "teleop", "console"):
        check_documentation(ros, f"{name}_node")

    # 2. A click on "intervene": a human has the robot, which holds; "hand back" gives it back.
    page.click("text=Intervene")
    flown(msg.ControlStep.STATE_HUMAN)
    expect(badge).to_have_attribute("data-state", "HUMAN", timeout=2_000)
    page.click("text=Hand back")
    expect(badge).not_to_have_attribute("data-state", "HUMAN", timeout=5_000)

    # 3. The emergency stop latches at once; clearing it takes two steps, and the robot waits even then.
    flown(msg.ControlStep.STATE_REFERENCE, msg.ControlStep.STATE_ACTOR)
    page.evaluate(WHEN_PRESSED)
    steps.clear()
    page.click("#estop")
    ros.wait(lambda: any(step.state == msg.ControlStep.STATE_ESTOP for step in steps), 5, "the stop")
    stopped = next(from_stamp(step.header.stamp) for step in steps if step.state == msg.ControlStep.STATE_ESTOP)
    latency = stopped - page.evaluate("window.pressed") / 1000
    print(f"from the click to the first stopped tick: {latency * 1000:.0f} ms")
    assert latency < 0.2
    expect(badge).to_have_attribute("data-state", "ESTOP", timeout=1_000)
    page.click("#clear")
    expect(page.locator("#clear")).to_have_text("Really clear it")
    ros.spin(1.0)
    assert steps[-1].state == msg.ControlStep.STATE_ESTOP, "one step clears nothing"
    page.click("#clear")
    expect(badge).to_have_attribute("data-state", "HOLD", timeout=3_000)
    page.click("text=Auto")
    flown(msg.ControlStep.STATE_REFERENCE, msg.ControlStep.STATE_ACTOR)
    page.keyboard.press("Space")
    expect(badge).to_have_attribute("data-state", "ESTOP", timeout=2_000)
    page.click("#clear")
    page.wait_for_timeout(500)
    page.click("#clear")
    page.click("text=Auto")

    # 4. A dead learner is seen.
    graph.kill("learner_node")
    seconds = wait(
        lambda: page.get_attribute('[data-node="learner_node"]', "data-state") != "ok", page, 3, "the dead learner"
    )
    print(f"a dead learner is seen after {seconds:.1f} s")
    expect(page.locator('[data-node="learner_node"]')).to_have_attribute("data-state", "ok", timeout=60_000)

    # 5. The console dies: the page says that it shows the past, and comes back by itself.
    graph.kill("console_node")
    expect(page.locator("#lost")).to_be_visible(timeout=3_000)
    expect(badge).to_have_attribute("data-state", "NONE")
    page.click("text=Start")
    expect(page.locator("#answer")).to_contain_text("NOT sent")
    expect(page.locator("#lost")).to_be_hidden(timeout=20_000)
    wait(lambda: len(frames(page)) == 3 and min(frames(page)) >= 3, page, 20, "pictures after the restart")

    # 6. A console that hangs closes no connection: the page must not show its last word for long.
    hung = graph.pid("console_node")
    os.kill(hung, signal.SIGSTOP)
    try:
        expect(page.locator("#lost")).to_be_visible(timeout=5_000)
        expect(badge).to_have_attribute("data-state", "NONE")
        page.click("#estop")
        expect(page.locator("#answer")).to_contain_text("NOT CONFIRMED", timeout=3_000)
    finally:
        os.kill(hung, signal.SIGCONT)
    flown(msg.ControlStep.STATE_ESTOP)  # it is asked for until it is done
    expect(page.locator("#estop")).to_have_text("E-STOP", timeout=5_000)
    expect(page.locator("#lost")).to_be_hidden(timeout=20_000)

    # 7. Pages come and go; the console stays.
    console = graph.pid("console_node")
    page.close()
    for _ in range(3):
        again = browser.new_page()
        again.goto(url_in(graph.run_dir / "log" / "console_node.log"))
        wait(lambda page=again: min(frames(page), default=0) >= 1, again, 20, "pictures on a page that comes later")
        again.close()
        ros.spin(0.5)
    assert graph.pid("console_node") == console
    assert faults == []
    assert graph.process.poll() is None


def test_a_wrong_token_and_a_foreign_page_are_refused(domain: int, browser: Browser, tmp_path: Path) -> None:
    log, token = tmp_path / "log", tmp_path / "token"
    parameters = {"port": 0, "token_file": str(token), "read_only": True}
    with node("console_node", parameters, log):
        url = url_in(log)
        secret = token.read_text().strip()
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.fill("#token", "guessed wrong, but long")
        page.click("text=Enter")
        expect(page.locator("#answer")).to_have_text("wrong token", timeout=5_000)
        page.fill("#token", secret)
        page.click("text=Enter")
        expect(page.locator("#estop")).to_be_visible(timeout=5_000)
        expect(page.locator("body")).to_have_attribute("data-connected", "true", timeout=5_000)
        assert page.locator("button:enabled").all_text_contents() == ["E-STOP"], "read-only"

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        (tmp_path / "www").mkdir()
        (tmp_path / "www" / "index.html").write_text("<title>elsewhere</title>")
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *arguments: Quiet(*arguments, directory=str(tmp_path / "www"))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        foreign = context.new_page()  # the same browser, with the same cookie
        foreign.goto(f"http://127.0.0.1:{server.server_port}")
        outcome = foreign.evaluate(
            """address => new Promise(done => {
              const socket = new WebSocket(address);
              socket.onopen = () => done("open");
              socket.onclose = () => done("refused");
            })""",
            url.replace("http", "ws") + "/ws",
        )
        assert outcome == "refused"
        server.shutdown()
        assert secret not in log.read_text()
