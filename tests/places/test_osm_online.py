"""places.osm_online and places.http: against a server on loopback that fails in every way that servers do."""

import gzip
import json
import socket
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import osmnx
import pytest
import shapely
import shapely.geometry
from osm_server import CITY, POINT, TRENTO, Server, answer, cafe, ok

from gentraffic.places import http as web
from gentraffic.places.osm_online import fetch_basemap, fetch_place, fetch_pois
from poi.errors import NetworkFailed, PlaceNotFound, PoiError
from poi.osm import read_pois
from poi.overpass import MAX_PARTS, parts, query

# --- what is asked, and what is made of the answer --------------------------------------------------------------------


def test_recorded_answer_gives_what_the_file_gives(server: Server, shared_data: Path) -> None:
    source = shared_data / "osm" / "trento-centre.overpass.json"
    server.usual = ok(source.read_bytes())
    pois = fetch_pois(TRENTO)
    expected = read_pois(source)
    assert sorted(zip(pois["value"], pois.geometry.x, strict=True)) == sorted(
        zip(expected["value"], expected.geometry.x, strict=True)
    )
    assert pois.attrs["snapshot"] == "2026-04-25T14:28:45Z"
    assert pois.attrs["source"] == "Overpass API, 127.0.0.1"
    assert pois.attrs["warnings"] == []
    (path, body, headers), *others = server.asked
    assert not others
    assert path == "/api/interpreter"
    asked = urllib.parse.parse_qs(body)["data"][0]
    assert asked.startswith('[out:json][timeout:2];(nwr["amenity"](poly:')
    assert 'nwr["highway"~"^(bus_stop|rest_area|services)$"]' in asked
    assert headers["User-Agent"].startswith("gentraffic/")
    assert "osmnx" not in headers["User-Agent"].lower()


def test_question_covers_the_boundary_and_its_margin() -> None:
    (polygon,) = parts(TRENTO, 500.0, 2.5e9)
    assert polygon.covers(TRENTO.buffer(0.004))
    assert polygon.area < TRENTO.buffer(0.02).area
    corners = query(polygon, 25).split('poly:"')[1].split('"')[0].split()
    lat, lon = [float(v) for v in corners[::2]], [float(v) for v in corners[1::2]]
    assert 45.9 < min(lat) < max(lat) < 46.2
    assert 11.0 < min(lon) < max(lon) < 11.3


def test_large_areas_are_asked_for_in_parts_that_leave_no_gap() -> None:
    boundary = shapely.box(9.0, 44.5, 11.5, 46.5).difference(shapely.box(9.5, 45.0, 11.0, 46.0))
    polygons = parts(boundary, 100.0, 2.5e9)
    assert 4 < len(polygons) <= MAX_PARTS
    assert shapely.union_all(polygons).buffer(1e-9).covers(boundary)
    with pytest.raises(PoiError, match="--osm FILE"):
        parts(boundary, 100.0, 1e8)
    with pytest.raises(PoiError, match="--osm FILE"):
        parts(boundary, 100.0, 1e4)


def test_an_element_in_two_answers_counts_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osmnx.settings, "max_query_area_size", 8e6)
    older = answer(cafe(1), cafe(2))
    older["osm3s"]["timestamp_osm_base"] = "2026-01-01T00:00:00Z"
    server.script = [ok(older), ok(answer(cafe(1), cafe(3), {**cafe(1), "type": "way", "center": cafe(1)}))]
    server.usual = ok(answer())
    seen: list[tuple[int, int]] = []
    pois = fetch_pois(TRENTO, margin_m=10.0, progress=lambda done, of: seen.append((done, of)))
    assert len(server.asked) > 2
    assert seen == [(i + 1, len(server.asked)) for i in range(len(server.asked))]
    assert len(pois) == 4
    assert pois.attrs["snapshot"] == "2026-01-01T00:00:00Z"


def test_place_is_the_most_important_area(server: Server) -> None:
    small = {**CITY, "display_name": "Trento, Ohio", "importance": 0.3}
    server.usual = ok([small, POINT, CITY])
    boundary, name = fetch_place("Trento")
    assert name == "Trento, Trentino, Italia"
    assert boundary.equals(TRENTO)
    path = urllib.parse.urlsplit(server.asked[0][0])
    form = urllib.parse.parse_qs(path.query)
    assert path.path == "/search"
    assert form["q"] == ["Trento"]
    assert form["polygon_geojson"] == ["1"]


def test_no_such_place_and_a_point(server: Server) -> None:
    server.usual = ok([])
    with pytest.raises(PlaceNotFound, match="check the spelling") as caught:
        fetch_place("Trentooo")
    assert caught.value.exit_code == 3
    server.usual = ok([POINT])
    with pytest.raises(PlaceNotFound, match=r"--bbox=11\.0950,46\.0500,11\.1470,46\.0860"):
        fetch_place("Bench")


def test_addresses_of_the_environment_come_first(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osmnx.settings, "overpass_url", "http://127.0.0.1:9/api")
    monkeypatch.setattr(osmnx.settings, "nominatim_url", "http://127.0.0.1:9/")
    monkeypatch.setenv("GENTRAFFIC_OVERPASS_URL", server.url + "/other/interpreter")
    monkeypatch.setenv("GENTRAFFIC_NOMINATIM_URL", server.url + "/nominatim")
    server.script = [ok(answer(cafe(1))), ok([CITY])]
    assert len(fetch_pois(TRENTO)) == 1
    fetch_place("Trento")
    assert [path.split("?")[0] for path, _, _ in server.asked] == ["/other/interpreter", "/nominatim/search"]


# --- failures ---------------------------------------------------------------------------------------------------------


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Promises more than it sends."""
    content = json.dumps(answer(cafe(1))).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:50])
    handler.close_connection = True


def cut_without_a_length(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(json.dumps(answer(cafe(1))).encode()[:50])
    handler.close_connection = True


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def say_nothing(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.6)
    handler.close_connection = True


SQUEEZED = gzip.compress(json.dumps(answer(cafe(1))).encode())
PASSING: dict[str, Any] = {
    "429": (429, b"busy", {}),
    "500": (500, b"", {}),
    "502": (502, b"", {}),
    "503": (503, b"<html>", {}),
    "504": (504, b"<html>", {}),
    "cut": cut,
    "cut without a length": cut_without_a_length,
    "cut gzip": (200, SQUEEZED[:-9], {"Content-Encoding": "gzip"}),
    "damaged gzip": (200, b"\x1f\x8b\x08" + b"x" * 50, {"Content-Encoding": "gzip"}),
    "html": (200, b"<html>runtime error</html>", {}),
    "no elements": (200, b"{}", {}),
    "hung up": hang_up,
    "silence": say_nothing,
}


@pytest.mark.parametrize("failure", PASSING)
def test_what_may_pass_is_asked_again_so_often_and_no_more(
    server: Server, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(osmnx.settings, "requests_timeout", 0.3 if failure == "silence" else 2)
    server.script = [PASSING[failure]] * 3
    server.usual = (200, SQUEEZED, {"Content-Encoding": "gzip"})
    assert len(fetch_pois(TRENTO)) == 1, "the fourth attempt is good"
    assert len(server.asked) == 4
    server.asked.clear()
    server.script = [PASSING[failure]] * 9
    with pytest.raises(NetworkFailed, match=r"4 times: try later, or give --osm FILE") as caught:
        fetch_pois(shapely.box(11.0, 46.0, 11.05, 46.05))
    assert len(server.asked) == web.ATTEMPTS
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
    if failure.isdigit():
        assert failure in str(caught.value)


def test_the_pause_grows_and_heeds_the_server_within_bounds(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(web, "BACKOFF_S", (2.0, 8.0, 30.0))
    monkeypatch.setattr(web.time, "sleep", pauses.append)
    server.script = [(429, b"", {"Retry-After": "5"}), (429, b"", {}), (429, b"", {"Retry-After": "99999"})]
    server.usual = ok(answer(cafe(1)))
    fetch_pois(TRENTO)
    assert pauses == [5.0, 8.0, web.MAX_WAIT_S]


def test_the_time_for_all_attempts_is_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BACKOFF_S", (50.0, 50.0, 50.0))
    monkeypatch.setattr(web, "TOTAL_S", 20.0)
    server.usual = PASSING["504"]
    start = time.monotonic()
    with pytest.raises(NetworkFailed, match="504"):
        fetch_pois(TRENTO)
    assert time.monotonic() - start < 5
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 403, 404])
def test_what_will_not_pass_is_asked_once(server: Server, status: int) -> None:
    server.usual = (status, b"no", {})
    with pytest.raises(NetworkFailed, match=f"answered {status}"):
        fetch_pois(TRENTO)
    assert len(server.asked) == 1


def test_a_remark_is_an_error_and_is_not_kept(server: Server) -> None:
    said = 'runtime error: Query timed out in "query" at line 1 after 26 seconds.'
    server.usual = ok(answer(cafe(1), remark=said))
    with pytest.raises(NetworkFailed, match=r"answered in part.*timed out") as caught:
        fetch_pois(TRENTO)
    assert caught.value.exit_code == 4
    assert len(server.asked) == web.ATTEMPTS
    server.script = [server.usual]  # a busy server may have time later
    server.usual = ok(answer(cafe(1)))
    assert len(fetch_pois(TRENTO)) == 1
    assert len(server.asked) == web.ATTEMPTS + 2


@pytest.mark.parametrize(
    "body", [b'{"error": "x"}', b"[7]", b'[{"importance": "x"}]', b'[{"boundingbox": [1]}]', b"\xff"]
)
def test_foreign_answers_to_a_name(server: Server, body: bytes) -> None:
    server.usual = ok(body)
    with pytest.raises(NetworkFailed, match="cut or foreign"):
        fetch_place("Trento")


def test_an_answer_that_is_too_large(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_ANSWER", 1000)
    server.usual = (200, gzip.compress(b" " * 100_000), {"Content-Encoding": "gzip"})
    with pytest.raises(NetworkFailed, match="larger than 1000 bytes"):
        fetch_pois(TRENTO)
    assert len(server.asked) == 1


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENTRAFFIC_CACHE", str(tmp_path))
    monkeypatch.setenv("GENTRAFFIC_OVERPASS_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("GENTRAFFIC_NOMINATIM_URL", "http://nowhere.invalid/")
    start = time.monotonic()
    with pytest.raises(NetworkFailed, match=r"cannot reach 127\.0\.0\.1:9 \(connection refused\).*--osm FILE"):
        fetch_pois(TRENTO)
    with pytest.raises(NetworkFailed, match=r"cannot reach nowhere\.invalid"):
        fetch_place("Trento")
    assert time.monotonic() - start < 10
    monkeypatch.setenv("GENTRAFFIC_OVERPASS_URL", "file:///etc")
    with pytest.raises(NetworkFailed, match="no http address"):
        fetch_pois(TRENTO)


# --- cache ------------------------------------------------------------------------------------------------------------


def test_answers_are_kept_and_suffice_offline(server: Server) -> None:
    server.script = [ok([CITY]), ok(answer(cafe(1), cafe(2)))]
    server.usual = (500, b"", {})
    fetch_place("Trento")
    first = fetch_pois(TRENTO)
    again, offline = fetch_pois(TRENTO), fetch_pois(TRENTO, offline=True)
    assert fetch_place("Trento", offline=True)[1] == CITY["display_name"]
    assert len(server.asked) == 2
    assert first.attrs == again.attrs == offline.attrs
    assert len(offline) == 2
    kept = sorted(web.cache_folder().iterdir())
    assert len(kept) == 2
    assert all(file.suffix == ".answer" for file in kept), "no temporary file remains"


def test_offline_asks_nobody(server: Server) -> None:
    with pytest.raises(NetworkFailed, match=r"missing in the cache.*without --offline, or give --osm FILE") as caught:
        fetch_pois(TRENTO, offline=True)
    assert caught.value.exit_code == 4
    with pytest.raises(NetworkFailed, match="--offline"):
        fetch_place("Trento", offline=True)
    assert not server.asked


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_entry_is_asked_for_again(server: Server, damage: str) -> None:
    server.usual = ok(answer(cafe(1), cafe(2)))
    fetch_pois(TRENTO)
    (file,) = web.cache_folder().iterdir()
    whole = file.read_bytes()
    import hashlib

    broken = {
        "cut": whole[:-20],
        "flipped": whole[:100] + b"#" + whole[101:],
        "empty": b"",
        "foreign": hashlib.sha256(b"[]").hexdigest().encode() + b"\n[]",
    }[damage]
    file.write_bytes(broken)
    with pytest.raises(NetworkFailed, match="damaged in the cache"):
        fetch_pois(TRENTO, offline=True)
    assert len(fetch_pois(TRENTO)) == 2
    assert len(server.asked) == 2
    assert file.read_bytes() == whole
    assert len(fetch_pois(TRENTO, offline=True)) == 2


def test_a_cache_that_cannot_be_written_is_a_warning(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GENTRAFFIC_CACHE", str(tmp_path / "file" / "cache"))
    server.usual = ok(answer(cafe(1)))
    pois = fetch_pois(TRENTO)
    assert len(pois) == 1
    assert any("not kept in the cache" in line for line in pois.attrs["warnings"])


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENTRAFFIC_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert web.cache_folder() == Path("/x/gentraffic")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert web.cache_folder() == Path("/h/.cache/gentraffic")


def test_the_map_beneath_is_asked_for_and_is_what_the_answer_holds(server: Server) -> None:
    def line(number: int, tags: dict[str, str], *corners: tuple[float, float]) -> dict[str, Any]:
        return {"type": "way", "id": number, "tags": tags, "geometry": [{"lon": x, "lat": y} for x, y in corners]}

    road = line(1, {"highway": "primary"}, (11.10, 46.06), (11.14, 46.08))
    town = {"type": "node", "id": 2, "lon": 11.12, "lat": 46.07, "tags": {"place": "city", "name": "Trento"}}
    server.usual = ok(answer(road, town, line(3, {"highway": "footway"}, (11.1, 46.07), (11.12, 46.07))))
    base, ground = fetch_basemap(TRENTO)
    assert base is not None
    assert ground is not None
    assert ground.known == ("street motorway", "street main", "street street")  # no building was in the answer
    assert ground.amount.sum() == pytest.approx(3_802, rel=0.005)
    assert base.at.tolist() in ([[1110000, 4606000], [1114000, 4608000]], [[1114000, 4608000], [1110000, 4606000]])
    assert base.name == ("Trento",)
    asked = urllib.parse.parse_qs(server.asked[0][1])["data"][0]
    assert 'node["place"~"^(city|' in asked
    assert "residential" in asked
    assert 'wr["building"]' in asked
    fetch_basemap(shapely.box(11.0, 46.0, 11.4, 46.3))  # 1,000 km2
    assert "residential" not in urllib.parse.parse_qs(server.asked[-1][1])["data"][0]
    assert "building" not in urllib.parse.parse_qs(server.asked[-1][1])["data"][0]
    before = len(server.asked)
    assert fetch_basemap(shapely.box(8.0, 45.0, 12.0, 47.0)) == (None, None)
    assert len(server.asked) == before
    server.usual = (504, b"", {})
    with pytest.raises(NetworkFailed):
        fetch_basemap(shapely.box(11.0, 46.0, 11.05, 46.05))
