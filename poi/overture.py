"""Places of Overture Maps -> the eight categories. Touches no file; `poi.osm` reads the GeoParquet.

Overture names what a place is by one word of some two thousand, and since December 2025 also by the way to it from one
of thirteen roots (`taxonomy.hierarchy`). The root decides where it is known and says one thing; else the words within
the name do, in the order of WORDS ("school_bus_service" has "bus" first); what no word tells is a place all the same
and counts as Others. Unlike OpenStreetMap, Overture holds mostly businesses: few stops, car parks or playgrounds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from poi.categories import CATEGORIES

# Roots of the taxonomy, old and new, that name one category.
ROOTS = {
    "education": "Education",
    "health_care": "Medical",
    "health_and_medical": "Medical",
    "food_and_drink": "Food",
    "eat_and_drink": "Food",
    "shopping": "Shop",
    "retail": "Shop",
    "beauty_and_spa": "Shop",
    "lifestyle_services": "Shop",
    "arts_and_entertainment": "Entertainment",
    "attractions_and_activities": "Entertainment",
    "sports_and_recreation": "Entertainment",
    "active_life": "Entertainment",
    "religious_organization": "Public",
    "public_service_and_government": "Public",
    "community_and_government": "Public",
    "lodging": "Others",
    "accommodation": "Others",
    "financial_service": "Others",
}
# Words within a name, most telling first.
WORDS = (
    ("Traffic", "airport station parking bus train taxi metro ferry gas fuel charging transport transportation rental"),
    ("Food", "restaurant cafe bar pub coffee bakery diner bistro brewery winery pizza tea steakhouse buffet food eat"),
    ("Education", "school college university kindergarten preschool library education tutoring daycare"),
    ("Medical", "hospital clinic doctor dentist pharmacy medical health physician therapist veterinarian"
     " dental surgeon"),
    ("Public", "church mosque temple synagogue religious government police fire court courthouse post embassy community"
     " cemetery hall"),
    ("Entertainment", "museum park cinema theater theatre gym sports stadium club zoo casino gallery attraction pool"
     " arena golf playground beach monument"),
    ("Shop", "store shop supermarket market mall boutique salon barber laundry dealer florist grocery spa repair"),
)  # fmt: skip
_OF_WORD = {word: (rank, name) for rank, (name, words) in enumerate(WORDS) for word in words.split()}
CLOSED = ("permanently_closed", "temporarily_closed")


def is_overture(names: Sequence[str]) -> bool:
    """Whether a table with these columns is of Overture's theme places."""
    return "geometry" in names and bool({"categories", "taxonomy", "basic_category"} & set(names))


def category_of_place(name: str | None, hierarchy: Sequence[str] | None = None) -> str:
    """The category of a place called `name`, whose way from the root is `hierarchy`, where that is known."""
    for step in (*(hierarchy or ())[:1], name):
        if step in ROOTS:
            return ROOTS[step]
    words = " ".join([*(hierarchy or ()), name or ""]).replace("_", " ").split()
    ranked = [_OF_WORD[word] for word in words if word in _OF_WORD]
    return min(ranked)[1] if ranked else "Others"


def classify(rows: Sequence[dict[str, Any]]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Name, and index into CATEGORIES, of each row with `categories`, `taxonomy` or `basic_category`; -1 for one that
    says that it is closed."""
    names: list[str] = []
    index = np.empty(len(rows), dtype=np.int64)
    for i, row in enumerate(rows):
        taxonomy, old = row.get("taxonomy") or {}, row.get("categories") or {}
        name = taxonomy.get("primary") or old.get("primary") or row.get("basic_category")
        closed = row.get("operating_status") in CLOSED
        names.append(str(name or ""))
        index[i] = -1 if closed else CATEGORIES.index(category_of_place(name, taxonomy.get("hierarchy")))
    return names, index
