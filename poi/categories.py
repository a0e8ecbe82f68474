"""OpenStreetMap tags and AMap classes -> the eight categories of STOUTER's base-station graph (see PAPERS, Fig. 5).

One element is one point of interest with one category. Where an element has several of the keys below, the first key of
`KEYS` that says something decides: a shop in a listed building is a shop. A value that `NOT_PLACES` lists (furniture,
machines, lines, areas without a place in them) says nothing, so the element's next key is asked.
"*" stands for every other value of its key.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

CATEGORIES = ("Education", "Medical", "Public", "Entertainment", "Traffic", "Food", "Shop", "Others")

# Which key speaks first. What an element is used for stands before what it is built as.
KEYS = (
    "amenity", "shop", "healthcare", "tourism", "leisure", "office", "public_transport", "railway", "highway",
    "aeroway", "aerialway", "historic", "craft", "sport", "club", "emergency", "information", "man_made", "landuse",
    "building",
)  # fmt: skip

# category -> key -> values
PLACES: dict[str, dict[str, str]] = {
    "Education": {
        "amenity": "school kindergarten college university library archive childcare language_school music_school "
        "driving_school dancing_school cooking_school art_school prep_school toy_library training research_institute "
        "research_center",
        "office": "educational_institution university research",
        "building": "school kindergarten college university",
    },
    "Medical": {
        "amenity": "hospital clinic doctors dentist pharmacy veterinary health_post blood_donation",
        "shop": "medical_supply",
        "healthcare": "*",
        "office": "physician doctor therapist medical",
        "emergency": "ambulance_station",
        "building": "hospital clinic",
    },
    "Public": {
        "amenity": "townhall courthouse parliament police fire_station post_office embassy community_centre "
        "social_centre social_facility nursing_home place_of_worship monastery grave_yard crematorium funeral_hall "
        "public_building public_bath prison ranger_station customs refugee_site toilets",
        "office": "government administrative diplomatic public_administration",
        "emergency": "fire_station mountain_rescue water_rescue coast_guard lifeguard_base",
        "information": "office visitor_centre",
        "landuse": "cemetery",
        "building": "public public_building civic government fire_station church chapel cathedral basilica mosque "
        "synagogue temple monastery convent",
    },
    "Entertainment": {
        "amenity": "cinema theatre planetarium arts_centre music_venue events_venue exhibition_centre nightclub "
        "stripclub brothel love_hotel swingerclub casino gambling karaoke_box internet_cafe club social_club gym dojo "
        "dive_centre boat_rental swimming_pool scout_hut scout_camp",
        "tourism": "*",
        "leisure": "*",
        "historic": "castle manor palace monument archaeological_site ruins fort city_gate monastery church tower "
        "battlefield ship aircraft locomotive windmill",
        "sport": "*",
        "club": "*",
        "building": "museum stadium sports_centre sports_hall theatre cinema",
    },
    "Traffic": {
        "amenity": "parking fuel charging_station car_wash car_rental car_sharing car_pooling motorcycle_rental "
        "bicycle_rental taxi taxi_rank bus_station ferry_terminal vehicle_inspection",
        "public_transport": "station platform stop_position",
        "railway": "station halt tram_stop platform",
        "highway": "bus_stop services rest_area",
        "aeroway": "aerodrome terminal heliport helipad gate",
        "aerialway": "station",
        "building": "train_station transportation",
    },
    "Food": {
        "amenity": "restaurant cafe fast_food bar pub biergarten food_court canteen ice_cream hookah_lounge",
        "building": "restaurant",
    },
    "Shop": {
        "amenity": "marketplace bookshop shop",
        "shop": "*",
        "building": "retail supermarket mall kiosk",
    },
    "Others": {
        "amenity": "* bank bureau_de_change money_transfer conference_centre studio coworking_space dormitory",
        "tourism": "hotel hostel guest_house motel apartment chalet camp_site caravan_site alpine_hut wilderness_hut",
        "office": "*",
        "craft": "*",
        "man_made": "works",
        "building": "hotel office commercial industrial",
    },
}  # fmt: skip

# Furniture, machines, entrances, lines and areas: mapped by the thousand where mappers are keen, absent elsewhere.
NOT_PLACES: dict[str, str] = {
    "amenity": "bench lounger table waste_basket waste_disposal recycling sanitary_dump_station grit_bin ashtray "
    "smoking_area vending_machine atm payment_terminal ticket_validator tickets photo_booth parking_space "
    "parking_entrance parking_exit disused_parking parking_meter bicycle_parking motorcycle_parking "
    "bicycle_repair_station bicycle_wash compressed_air vacuum_cleaner device_charging_station weighbridge "
    "loading_dock trolley_bay elevator maxheight_warning_beam post_box letter_box parcel_locker luggage_locker "
    "telephone emergency_phone wifi clock drinking_water water_point watering_place fountain lavoir shower "
    "kneipp_water_cure bbq baking_oven shelter hunting_stand feeding_place game_feeding animal_trough dog_toilet "
    "public_bookcase give_box binoculars artwork piano stage bandstand life_ring life_buoy life_boat person_weighing "
    "greenhouse no vacant",
    "shop": "no vacant",
    "healthcare": "no",
    "tourism": "information artwork camp_pitch no",
    "leisure": "swimming_pool garden nature_reserve slipway picnic_table outdoor_seating firepit bbq bleachers "
    "bandstand bird_hide bathing_place schoolyard meadow scrub no",
    "office": "no vacant",
    "public_transport": "stop_area stop_area_group shelter entrance network",
    "railway": "rail tram subway light_rail narrow_gauge funicular monorail miniature spur yard switch buffer_stop "
    "railway_crossing level_crossing crossing tram_crossing tram_level_crossing signal signal_box stop turntable "
    "subway_entrance train_station_entrance milestone derail construction proposed disused abandoned dismantled razed "
    "platform_edge",
    "highway": "*",
    "aeroway": "runway taxiway apron parking_position holding_position hangar windsock tower navigationaid",
    "aerialway": "*",
    "historic": "*",
    "craft": "no",
    "sport": "swimming no",  # the basin: its place carries leisure=sports_centre or water_park
    "club": "no",
    "emergency": "*",
    "information": "*",
    "man_made": "*",
    "landuse": "*",
    "building": "*",
}  # fmt: skip

# One place is often mapped twice, as two elements: a bus stop as platform and as the spot where the bus stands, a
# school as its grounds and as its house. These tags count only where no other POI of their category lies within so
# many metres.
ECHO_M: dict[tuple[str, str], float] = {("public_transport", "stop_position"): 50.0, ("building", "*"): 100.0}

# The literal table: (key, value or "*") -> category.
OSM: dict[tuple[str, str], str] = {
    (key, value): category
    for category, keys in PLACES.items()
    for key, values in keys.items()
    for value in values.split()
}
IGNORED = frozenset((key, value) for key, values in NOT_PLACES.items() for value in values.split())

# The 23 top-level classes of AMap as `uomo_*.npz` names them. Every class is counted, so that totals are kept.
AMAP_CATEGORIES: dict[str, str] = {
    "science_education": "Education",
    "medical": "Medical",
    "government_org": "Public",
    "public_facility": "Public",  # toilets, news-stands, shelters
    "sports_recreation": "Entertainment",
    "tourist_attraction": "Entertainment",
    "events": "Entertainment",
    "transport_facility": "Traffic",  # stations, stops, car parks
    "auto_service": "Traffic",  # fuel, charging, washing, rental
    "road_furniture": "Traffic",  # toll gates, service areas
    "pass_facility": "Traffic",  # gates and entrances
    "food_beverage": "Food",
    "shopping": "Shop",
    "daily_life": "Shop",  # hairdressers, laundries, travel agents: shop=* in OpenStreetMap
    "auto_dealer": "Shop",
    "auto_repair": "Shop",
    "motorcycle": "Shop",
    "enterprise": "Others",
    "finance_insurance": "Others",
    "accommodation": "Others",
    "commercial_residential": "Others",
    "place_address": "Others",
    "indoor_facility": "Others",
}


def category_of(key: str, value: str) -> str | None:
    """Category of one tag, or None where it names no place. Of a list "a;b" the first part that is a place decides."""
    if key not in KEYS:
        return None
    parts = [value, *(part.strip() for part in value.split(";"))]
    for part in parts:
        if (key, part) in OSM:
            return OSM[key, part]
    return None if any((key, part) in IGNORED for part in parts) else OSM.get((key, "*"))


def categorise(tags: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Category, key and value of the tag that makes an element a point of interest; None for anything else."""
    for key in KEYS:
        value = tags.get(key)
        if value and (category := category_of(key, value)):
            return category, key, value
    return None


def categorise_table(key: Sequence[str], value: Sequence[str]) -> npt.NDArray[np.int64]:
    """Index into CATEGORIES for each pair of a table, (n,); -1 where the pair names no place.

    Each distinct pair is looked up once, so that the cost of ten million rows is that of sorting them."""
    import pandas as pd  # here, because the command line reads CATEGORIES before it knows what it is asked

    if len(key) != len(value):
        raise ValueError(f"key has {len(key)} rows and value {len(value)}: they must be as many")
    key_row, keys = pd.factorize(np.asarray(key, dtype=object))
    value_row, values = pd.factorize(np.asarray(value, dtype=object))
    pairs, row = np.unique(key_row.astype(np.int64) * max(len(values), 1) + value_row, return_inverse=True)
    codes = np.full(len(pairs), -1, dtype=np.int64)
    for i, pair in enumerate(pairs):
        category = category_of(str(keys[pair // len(values)]), str(values[pair % len(values)]))
        if category is not None:
            codes[i] = CATEGORIES.index(category)
    return codes[row]


def osm_tags() -> dict[str, bool | list[str]]:
    """The table as osmnx and Overpass ask for tags: key -> True (any value) or the list of values."""
    tags: dict[str, bool | list[str]] = {}
    for key in KEYS:
        values = sorted(v for k, v in OSM if k == key)
        tags[key] = True if "*" in values else values
    return tags


def counts_from_amap(poi: npt.NDArray[np.number], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Counts per AMap class, poi (cells, classes) -> counts per category (cells, 8). Sums over a row are kept.

    Raises ValueError for a class that AMAP_CATEGORIES does not name."""
    poi = np.asarray(poi)
    if poi.ndim != 2 or poi.shape[1] != len(classes):
        raise ValueError(f"poi has shape {poi.shape}, expected (cells, {len(classes)}): one column per class")
    unknown = sorted({str(c) for c in classes} - AMAP_CATEGORIES.keys())
    if unknown:
        raise ValueError(f"unknown AMap class {', '.join(unknown)}: known are {', '.join(AMAP_CATEGORIES)}")
    onto = np.zeros((len(classes), len(CATEGORIES)), dtype=np.int64)
    for i, name in enumerate(classes):
        onto[i, CATEGORIES.index(AMAP_CATEGORIES[str(name)])] = 1
    return poi.astype(np.int64) @ onto
