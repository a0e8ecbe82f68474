"""Places of Overture Maps: its schema, old and new, read like an extract of OpenStreetMap."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from gentraffic.places.context import read_place
from gentraffic.places.query import PlaceQuery
from poi.errors import BadFile
from poi.osm import read_pois
from poi.overture import category_of_place


@pytest.mark.parametrize(
    ("name", "hierarchy", "category"),
    [
        ("afghan_restaurant", None, "Food"),
        ("restaurant", ["food_and_drink", "restaurant"], "Food"),
        ("train_station", None, "Traffic"),
        ("waterway", ["travel_and_transportation", "watercraft_and_water_transport", "waterway"], "Traffic"),
        ("elementary_school", None, "Education"),
        ("school", ["education", "place_of_learning", "school"], "Education"),
        ("zoo", ["arts_and_entertainment", "animal_attraction", "zoo"], "Entertainment"),
        ("catholic_church", None, "Public"),
        ("dental_clinic", ["health_care", "dental_clinic"], "Medical"),
        ("book_store", None, "Shop"),
        ("hotel", ["lodging", "hotel"], "Others"),
        ("welders", None, "Others"),
        (None, None, "Others"),
    ],
)
def test_a_place_has_the_category_of_its_root_or_of_its_words(name: Any, hierarchy: Any, category: str) -> None:
    assert category_of_place(name, hierarchy) == category


def write(path: Path, rows: list[tuple[float, float, str, str]], new: bool) -> None:
    """A file with the columns of Overture's places: lon, lat, name, operating status."""
    columns: dict[str, Any] = {
        "id": [f"id{i}" for i in range(len(rows))],
        "geometry": [shapely.to_wkb(shapely.Point(lon, lat)) for lon, lat, _, _ in rows],
        "bbox": [{"xmin": lon, "xmax": lon, "ymin": lat, "ymax": lat} for lon, lat, _, _ in rows],
        "names": [{"primary": "N"} for _ in rows],
        "confidence": [0.9 for _ in rows],
        "operating_status": [status for *_, status in rows],
    }
    if new:
        columns["taxonomy"] = [{"primary": n, "hierarchy": ["travel_and_transportation", n]} for _, _, n, _ in rows]
        columns["basic_category"] = [n for _, _, n, _ in rows]
    else:
        columns["categories"] = [{"primary": n, "alternate": ["x"]} for _, _, n, _ in rows]
    pq.write_table(pa.table(columns), path)


ROWS = [
    (11.121, 46.067, "cafe", "open"),
    (11.122, 46.068, "cafe", "open"),
    (11.122, 46.069, "bus_station", "open"),
    (11.123, 46.069, "hospital", "permanently_closed"),
    (12.5, 46.069, "hospital", "open"),
]


@pytest.mark.parametrize("new", [False, True])
def test_places_are_read_and_cut_to_the_boundary(new: bool, tmp_path: Path) -> None:
    write(tmp_path / "places.parquet", ROWS, new)
    pois = read_pois(tmp_path / "places.parquet", shapely.box(11.1, 46.0, 11.2, 46.1))
    assert sorted(pois["value"]) == ["bus_station", "cafe", "cafe"]  # the closed and the far one are left out
    assert sorted(pois["category"]) == (["Traffic"] * 3 if new else ["Food", "Food", "Traffic"])
    assert set(zip(pois.geometry.x, pois.geometry.y, strict=True)) == {(lon, lat) for lon, lat, _, _ in ROWS[:3]}
    assert len(read_pois(tmp_path / "places.parquet")) == 4


def test_a_context_from_overture_says_whose_it_is(tmp_path: Path) -> None:
    write(tmp_path / "places.parquet", ROWS[:3], False)
    context = read_place(
        PlaceQuery(bbox=(11.115, 46.06, 11.13, 46.075), osm=tmp_path / "places.parquet", cell_size=500)
    )
    assert context["poi_count"].sum("cell").values.tolist() == [0, 0, 0, 0, 1, 2, 0, 0]
    assert "Overture" in context.attrs["attribution"]
    assert context.attrs["license"] == "CDLA-Permissive-2.0"


def test_a_file_without_places_there_or_with_other_coordinates_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "places.parquet", ROWS, False)
    with pytest.raises(BadFile, match="has no places there"):
        read_pois(tmp_path / "places.parquet", shapely.box(0, 0, 1, 1))
    write(tmp_path / "metres.parquet", [(664_000.0, 5_100_000.0, "cafe", "open")], False)
    with pytest.raises(BadFile, match="is not on earth"):
        read_pois(tmp_path / "metres.parquet")


def test_many_places_are_read_in_pieces(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    at = rng.uniform((11.0, 46.0), (11.4, 46.4), (70_000, 2))
    write(tmp_path / "places.parquet", [(lon, lat, "cafe", "open") for lon, lat in at.tolist()], False)
    pois = read_pois(tmp_path / "places.parquet", shapely.box(11.0, 46.0, 11.1, 46.4))
    assert len(pois) == int((at[:, 0] <= 11.1).sum())
