"""A server on loopback that answers as Overpass and Nominatim do, or fails as they do."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import osmnx
import pytest
import shapely
import shapely.geometry

from gentraffic.places import http as web

TRENTO = shapely.box(11.095, 46.050, 11.147, 46.086)
Reply = tuple[int, bytes, dict[str, str]]


@dataclass
class Server:
    """Answers from `script`, one reply per request, then from `usual`. Keeps what it was asked."""

    url: str = ""
    script: list[Reply | Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    usual: Reply = (200, b"{}", {})
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # path, body, headers


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            state.asked.append((self.path, body, dict(self.headers)))
            reply = state.script.pop(0) if state.script else state.usual
            if callable(reply):
                reply(self)
                return
            status, content, headers = reply
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    monkeypatch.setattr(osmnx.settings, "overpass_url", state.url + "/api")
    monkeypatch.setattr(osmnx.settings, "nominatim_url", state.url + "/")
    monkeypatch.setattr(osmnx.settings, "requests_timeout", 2)
    monkeypatch.setattr(web, "BACKOFF_S", (0.0, 0.01, 0.02))
    for name in ("http_proxy", "HTTP_PROXY", "GENTRAFFIC_OVERPASS_URL", "GENTRAFFIC_NOMINATIM_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GENTRAFFIC_CACHE", str(tmp_path / "cache"))
    yield state
    httpd.shutdown()
    httpd.server_close()


def ok(content: Any, **headers: str) -> Reply:
    return 200, content if isinstance(content, bytes) else json.dumps(content).encode(), headers


def cafe(number: int, lon: float = 11.12, lat: float = 46.07) -> dict[str, Any]:
    return {"type": "node", "id": number, "lon": lon, "lat": lat, "tags": {"amenity": "cafe"}}


def answer(*elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": 0.6, "osm3s": {"timestamp_osm_base": "2026-01-02T03:04:05Z"}, "elements": list(elements), **more}


CITY = {
    "display_name": "Trento, Trentino, Italia",
    "importance": 0.6,
    "boundingbox": ["46.050", "46.086", "11.095", "11.147"],
    "geojson": shapely.geometry.mapping(TRENTO),
}
POINT = {
    **CITY,
    "display_name": "a bench",
    "importance": 0.9,
    "geojson": {"type": "Point", "coordinates": [11.1, 46.0]},
}
