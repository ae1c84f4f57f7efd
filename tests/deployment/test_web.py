"""The web page: a picture that is dropped on it is labelled in the browser as PyTorch does it, and nothing is sent."""

import functools
import json
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from fsrcache.deployment.graph import Pipeline
from fsrcache.deployment.onnx_file import onnx_model
from fsrcache.deployment.web import PAGE, PAGE_FILES, RUNTIME, page_files, runtime_files
from fsrcache.errors import RequestError

CHROMIUM = shutil.which("chromium")
RUNTIME_FOLDER = Path(__file__).parents[2] / "node_modules/onnxruntime-web"
# Drops face.png on the page as a hand would; the request for "held" lasts until the answer is shown, and so does the
# browser's virtual time, which would not wait for WebAssembly.
DROP = """
import "./page.js";
new MutationObserver(() => fetch("answered")).observe(document.getElementById("answers"), { childList: true });
fetch("held");
const content = await (await fetch("face.png")).blob();
const event = new DragEvent("drop", { dataTransfer: new DataTransfer() });
event.dataTransfer.items.add(new File([content], "face.png", { type: "image/png" }));
document.dispatchEvent(event);
"""


def test_a_missing_runtime_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="npm package onnxruntime-web") as caught:
        runtime_files(None)
    assert "npm install onnxruntime-web" in caught.value.remedy
    with pytest.raises(RequestError, match=str(tmp_path / "elsewhere")):
        runtime_files(tmp_path / "elsewhere")


def test_the_page_loads_nothing_from_elsewhere():
    written = page_files(("anger", "fear"), dict.fromkeys(RUNTIME, b"runtime"))
    assert set(written) == set(PAGE_FILES) == {*PAGE, *RUNTIME, "classes.json"}
    assert json.loads(written["classes.json"]) == ["anger", "fear"]
    text = "".join(written[name].decode() for name in PAGE)
    assert not re.search(r"https?:|//cdn|XMLHttpRequest|sendBeacon|WebSocket", text)
    assert "default-src 'none'" in text


class _Server(SimpleHTTPRequestHandler):
    """Serves a folder, keeps the method and path of every request, and holds one back until another comes."""

    def __init__(self, *args, requests, answered, **kwargs):
        self.requests, self.answered = requests, answered
        super().__init__(*args, **kwargs)

    def do_GET(self):
        if self.path == "/answered":
            self.answered.set()
        elif self.path == "/held":
            self.answered.wait(60)
        else:
            super().do_GET()
            return
        self.send_response(204)
        self.end_headers()

    def parse_request(self):
        parsed = super().parse_request()
        self.requests.append((self.command, self.path))
        return parsed

    def log_message(self, *args):
        pass


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and RUNTIME_FOLDER.exists()), reason="needs Chromium and npm install onnxruntime-web")
def test_a_dropped_picture_is_labelled_in_the_browser(networks, model_of, drawn, tmp_path):
    exported, (face,) = networks(), drawn((20, 13), 1)
    (tmp_path / "model.onnx").write_bytes(onnx_model(Pipeline(exported)).SerializeToString())
    for name, content in page_files(exported.extractor.classes, runtime_files(RUNTIME_FOLDER)).items():
        (tmp_path / name).write_bytes(content)
    Image.fromarray(face).save(tmp_path / "face.png")
    (tmp_path / "drop.js").write_text(DROP)
    (tmp_path / "dropped.html").write_text((tmp_path / "index.html").read_text().replace("page.js", "drop.js"))
    requests = []
    handler = functools.partial(_Server, directory=tmp_path, requests=requests, answered=threading.Event())
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = subprocess.run(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
                "--virtual-time-budget=60000", "--dump-dom", f"http://127.0.0.1:{server.server_port}/dropped.html",
            ],
            capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip
        server.shutdown()
    rows = re.findall(r"<td>(\w+)</td><td>([\d.]+)</td>", shown)
    expected = dict(zip(exported.extractor.classes, model_of(exported)(face).probabilities[0].tolist(), strict=True))
    assert {name: float(text) for name, text in rows} == pytest.approx(expected, abs=2e-4)
    assert [name for name, _ in rows] == sorted(expected, key=expected.get, reverse=True)
    assert {method for method, _ in requests} == {"GET"}
    allowed = {
        "/dropped.html",
        "/drop.js",
        "/face.png",
        "/model.onnx",
        "/classes.json",
        "/favicon.ico",
        "/held",
        "/answered",
    }
    assert {path for _, path in requests} <= allowed | {f"/{name}" for name in (*PAGE, *RUNTIME)}
