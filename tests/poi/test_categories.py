"""poi.categories: the literal table, single tags, tables of tags, AMap classes."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from poi.categories import (
    AMAP_CATEGORIES,
    CATEGORIES,
    ECHO_M,
    IGNORED,
    KEYS,
    NOT_PLACES,
    OSM,
    PLACES,
    categorise,
    categorise_table,
    category_of,
    counts_from_amap,
    osm_tags,
)


def test_table_says_each_tag_once() -> None:
    written = [(k, v) for keys in PLACES.values() for k, values in keys.items() for v in values.split()]
    assert len(written) == len(set(written)) == len(OSM), "a tag stands in two categories"
    assert not OSM.keys() & IGNORED, "a tag is both a place and none"
    assert set(PLACES) == set(CATEGORIES)
    assert {k for k, _ in OSM} == set(KEYS)
    assert len(set(KEYS)) == len(KEYS)
    assert set(NOT_PLACES) <= set(KEYS)
    assert {key for key, _ in ECHO_M} <= set(KEYS)


def test_every_key_is_open_or_closed() -> None:
    """A key counts unlisted values, or it does not: never both, and what it does is written down."""
    for key in KEYS:
        assert not ((key, "*") in OSM and (key, "*") in IGNORED), key


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"amenity": "restaurant"}, ("Food", "amenity", "restaurant")),
        ({"amenity": "school", "building": "school"}, ("Education", "amenity", "school")),
        ({"building": "school"}, ("Education", "building", "school")),
        ({"building": "yes"}, None),
        ({"amenity": "bench"}, None),
        ({"amenity": "bench", "historic": "castle"}, ("Entertainment", "historic", "castle")),
        ({"amenity": "shelter", "highway": "bus_stop"}, ("Traffic", "highway", "bus_stop")),
        ({"highway": "bus_stop", "public_transport": "platform"}, ("Traffic", "public_transport", "platform")),
        ({"highway": "residential", "name": "Via Roma"}, None),
        ({"railway": "rail"}, None),
        ({"railway": "level_crossing"}, None),
        ({"railway": "station"}, ("Traffic", "railway", "station")),
        ({"shop": "anything_at_all"}, ("Shop", "shop", "anything_at_all")),
        ({"shop": "vacant"}, None),
        ({"amenity": "pharmacy", "healthcare": "pharmacy"}, ("Medical", "amenity", "pharmacy")),
        ({"healthcare": "physiotherapist"}, ("Medical", "healthcare", "physiotherapist")),
        ({"tourism": "hotel"}, ("Others", "tourism", "hotel")),
        ({"tourism": "museum"}, ("Entertainment", "tourism", "museum")),
        ({"tourism": "information", "information": "board"}, None),
        ({"tourism": "information", "information": "office"}, ("Public", "information", "office")),
        ({"leisure": "swimming_pool", "sport": "swimming"}, None),
        ({"leisure": "pitch", "sport": "soccer"}, ("Entertainment", "leisure", "pitch")),
        ({"sport": "climbing"}, ("Entertainment", "sport", "climbing")),
        ({"office": "government"}, ("Public", "office", "government")),
        ({"office": "it"}, ("Others", "office", "it")),
        ({"aeroway": "aerodrome"}, ("Traffic", "aeroway", "aerodrome")),
        ({"aeroway": "taxiway"}, None),
        ({"craft": "tailor"}, ("Others", "craft", "tailor")),
        ({"emergency": "fire_hydrant"}, None),
        ({"amenity": "nightclub;restaurant"}, ("Entertainment", "amenity", "nightclub;restaurant")),
        ({"amenity": "bench;waste_basket"}, None),
        ({"amenity": ""}, None),
        ({}, None),
    ],
)
def test_elements(tags: dict[str, str], expected: tuple[str, str, str] | None) -> None:
    assert categorise(tags) == expected


def test_order_of_tags_does_not_matter() -> None:
    tags = {"building": "retail", "shop": "bakery", "amenity": "cafe", "tourism": "attraction"}
    hits = {categorise(dict(order)) for order in itertools.permutations(tags.items())}
    assert hits == {("Food", "amenity", "cafe")}


def test_table_of_tags_agrees_with_single_tags() -> None:
    rng = np.random.default_rng(3)
    values = [*sorted({v for _, v in (*OSM, *IGNORED)}), "a;b", "bar;pub", "x" * 5000]
    keys = [*KEYS, "name", "natural"]
    key = [str(k) for k in rng.choice(keys, 20_000)]
    value = [values[i] for i in rng.integers(0, len(values), 20_000)]
    single = [category_of(k, v) for k, v in zip(key, value, strict=True)]
    index = categorise_table(key, value)
    assert [CATEGORIES[i] if i >= 0 else None for i in index] == single
    assert len(categorise_table([], [])) == 0
    with pytest.raises(ValueError, match="as many"):
        categorise_table(["amenity"], [])


def test_query_tags_ask_for_all_that_counts() -> None:
    tags = osm_tags()
    assert list(tags) == list(KEYS)
    for key, value in OSM:
        wanted = tags[key]
        assert wanted is True or (isinstance(wanted, list) and value in wanted)
    assert tags["shop"] is True
    assert tags["highway"] == ["bus_stop", "rest_area", "services"]


def test_frequent_tags_of_real_extracts_are_decided_by_name(shared_data: Path) -> None:
    """What mappers map by the dozen is in the table or in the list of non-places, not left to a default."""
    import collections

    import osmium

    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    for name in ("monaco.osm.pbf", "porto-centre.osm.pbf", "helsinki-centre.osm.pbf", "malta.osm.pbf"):
        for element in osmium.FileProcessor(str(shared_data / "osm" / name)).with_filter(
            osmium.filter.KeyFilter("amenity", "public_transport", "railway", "aeroway")
        ):
            seen.update(
                (t.k, t.v) for t in element.tags if t.k in ("amenity", "public_transport", "railway", "aeroway")
            )
    undecided = {tag: n for tag, n in seen.items() if n >= 10 and tag not in OSM and tag not in IGNORED}
    assert not undecided


def test_amap_classes_of_the_real_files(shared_data: Path) -> None:
    named: set[str] = set()
    for city in ("nc", "nj", "sd"):
        with np.load(shared_data / "traffic" / f"uomo_{city}.npz") as data:
            classes, poi = [str(c) for c in data["poi_classes"]], data["poi"]  # (series, classes, 4, 4)
        named |= set(classes)
        flat = poi.transpose(0, 2, 3, 1).reshape(-1, len(classes))
        counts = counts_from_amap(flat, classes)
        assert counts.shape == (len(flat), 8)
        np.testing.assert_array_equal(counts.sum(axis=1), flat.sum(axis=1))
        food = flat[:, classes.index("food_beverage")]
        np.testing.assert_array_equal(counts[:, CATEGORIES.index("Food")], food)
    assert named == set(AMAP_CATEGORIES)
    assert len(AMAP_CATEGORIES) == 23
    assert set(AMAP_CATEGORIES.values()) == set(CATEGORIES)


def test_amap_counts_by_hand() -> None:
    counts = counts_from_amap(np.array([[1, 2, 4, 8]]), ["medical", "shopping", "daily_life", "enterprise"])
    assert counts.tolist() == [[0, 1, 0, 0, 0, 0, 6, 8]]
    with pytest.raises(ValueError, match="unknown AMap class zoo"):
        counts_from_amap(np.ones((1, 1)), ["zoo"])
    with pytest.raises(ValueError, match="one column per class"):
        counts_from_amap(np.ones((2, 3)), ["medical"])
