"""Traffic as a data package that machines can catalogue: Frictionless (Data Package v1) and Croissant (MLCommons 1.0).

Both hold the same two tables: cells.csv, a row per cell, and traffic.csv, a row per ([member,] cell, time).
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gentraffic.dataset.amounts import is_amount
from gentraffic.dataset.fingerprint import has_positions
from gentraffic.dataset.geometry import cell_shapes, footprint_text
from gentraffic.dataset.schema import services
from gentraffic.io.export.columns import own_columns
from gentraffic.io.export.folder import folder
from gentraffic.io.export.gis import _blocks as long_blocks
from gentraffic.io.tables import ten_digits

if TYPE_CHECKING:
    import xarray as xr

LICENSES = {
    "ODbL-1.0": "https://opendatacommons.org/licenses/odbl/1-0/",
    "MIT": "https://opensource.org/license/mit",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
}


def write_frictionless(ds: xr.Dataset, path: str | Path) -> dict[str, Any]:
    """Write a folder with datapackage.json (Data Package v1: schema, keys, bytes and SHA-256 of each table)."""
    with folder(path, ds, "frictionless") as temporary:
        tables = _tables(ds, temporary)
        package: dict[str, Any] = {
            "profile": "tabular-data-package",
            "name": _slug(str(ds.attrs.get("title", "traffic"))),
            "title": str(ds.attrs.get("title", "Cellular traffic")),
            "description": _description(ds),
            "licenses": [_license(ds)] if ds.attrs.get("license") else [],
            "sources": [{"title": part.strip()} for part in _credits(ds) if part.strip()],
            "custom": {"gentraffic": {str(k): str(v) for k, v in ds.attrs.items() if k != "crs_wkt"}},
            "resources": [
                {
                    "name": table.removesuffix(".csv"),
                    "path": table,
                    "profile": "tabular-data-resource",
                    "format": "csv",
                    "mediatype": "text/csv",
                    "encoding": "utf-8",
                    "bytes": (temporary / table).stat().st_size,
                    "hash": f"sha256:{_sha256(temporary / table)}",
                    "schema": _schema(table, fields),
                }
                for table, fields in tables.items()
            ],
        }
        _write(temporary / "datapackage.json", {key: value for key, value in package.items() if value != []})
        return {"files": ["datapackage.json", *tables]}


def write_croissant(ds: xr.Dataset, path: str | Path) -> dict[str, Any]:
    """Write a folder with croissant.json: JSON-LD that ML tools read the two tables through."""
    with folder(path, ds, "croissant") as temporary:
        tables = _tables(ds, temporary)
        card: dict[str, Any] = {
            "@context": _CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "name": _slug(str(ds.attrs.get("title", "traffic"))),
            "description": _description(ds),
            "license": _license(ds)["path"] if ds.attrs.get("license") else "not stated",
            "creditText": str(ds.attrs.get("attribution", "")),
            "citeAs": str(ds.attrs.get("attribution", "")),
            "version": "1.0.0",
            "datePublished": datetime.now(UTC).date().isoformat(),
            "distribution": [
                {
                    "@type": "cr:FileObject",
                    "@id": table,
                    "name": table,
                    "contentUrl": table,
                    "encodingFormat": "text/csv",
                    "contentSize": f"{(temporary / table).stat().st_size} B",
                    "sha256": _sha256(temporary / table),
                }
                for table in tables
            ],
            "recordSet": [_records(table, fields) for table, fields in tables.items()],
        }
        _write(temporary / "croissant.json", card)
        return {"files": ["croissant.json", *tables]}


Fields = dict[str, tuple[str, str]]  # column -> (Frictionless type, description)


def _tables(ds: xr.Dataset, where: Path) -> dict[str, Fields]:
    """Write cells.csv and traffic.csv; return their fields."""
    whole = ds["cell_id"].dtype.kind in "iu"
    cell = ("integer" if whole else "string", "identifier of the cell or station")
    made_up = "" if has_positions(ds) else "; made up, not where the cell is"
    cells: Fields = {
        "cell_id": cell, "lon": ("number", f"longitude of the centre, degrees{made_up}"),
        "lat": ("number", f"latitude of the centre, degrees{made_up}"),
        "geometry": ("string", "outline in longitude and latitude, WKT"),
    }  # fmt: skip
    own = own_columns(ds, cells)
    kinds = {name: "string" if v.dtype.kind not in "iuf" else "number" for name, v in own.items()}
    cells |= {name: (kinds[name], str(ds[name.removeprefix("cell_") if name not in ds.coords else name].attrs.get(
              "long_name", "as the table of the cells says it"))) for name in own}  # fmt: skip
    outlines = footprint_text(cell_shapes(ds))
    with (where / "cells.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(cells)
        columns = (ds[name].values.tolist() for name in ("cell_id", "lon", "lat"))
        told = [["" if value != value else value for value in values.tolist()] for values in own.values()]
        rows = zip(*columns, outlines, *told, strict=True)
        table.writerows([a, repr(b), repr(c), d, *more] for a, b, c, d, *more in rows)
    fields: Fields = {"member": ("integer", "member of the ensemble")} if "member" in ds.dims else {}
    fields |= {"cell_id": cell, "time_utc": ("datetime", "start of the step, UTC")}
    fields |= {"time_local": ("string", f"the same moment in {ds.attrs['timezone']}, with its offset")}
    fields |= {name: ("number", f"{name}, {_units(ds, name)}") for name in services(ds)}
    import pyarrow as pa
    import pyarrow.csv as pc

    writer = None
    try:
        for block in long_blocks(ds):
            for name in (name for name in services(ds) if ds[name].dtype == np.float32):
                block[name] = ten_digits(block[name].to_numpy())
            of_block = pa.Table.from_pandas(block[list(fields)], preserve_index=False)
            if writer is None:
                options = pc.WriteOptions(quoting_style="needed")
                writer = pc.CSVWriter(where / "traffic.csv", of_block.schema, write_options=options)
            writer.write_table(of_block)
    finally:
        if writer is not None:
            writer.close()
    return {"cells.csv": cells, "traffic.csv": fields}


def _schema(table: str, fields: Fields) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "fields": [
            {"name": name, "type": kind, "description": about, **({"format": "default"} if kind == "datetime" else {})}
            for name, (kind, about) in fields.items()
        ]
    }
    if table == "cells.csv":
        schema["primaryKey"] = ["cell_id"]
    else:
        schema["primaryKey"] = [name for name in ("member", "cell_id", "time_utc") if name in fields]
        schema["foreignKeys"] = [{"fields": ["cell_id"], "reference": {"resource": "cells", "fields": ["cell_id"]}}]
    return schema


_TYPES = {"integer": "sc:Integer", "number": "sc:Float", "string": "sc:Text", "datetime": "sc:DateTime"}


def _records(table: str, fields: Fields) -> dict[str, Any]:
    name = table.removesuffix(".csv")
    records: dict[str, Any] = {"@type": "cr:RecordSet", "@id": name, "name": name}
    if name == "cells":
        records["key"] = {"@id": "cells/cell_id"}
    records["field"] = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": f"{name}/{column}",
            "description": about,
            "dataType": _TYPES[kind],
            "source": {"fileObject": {"@id": table}, "extract": {"column": column}},
            **({"references": {"field": {"@id": "cells/cell_id"}}} if (name, column) == ("traffic", "cell_id") else {}),
        }
        for column, (kind, about) in fields.items()
    ]
    return records


def _units(ds: xr.Dataset, name: str) -> str:
    units = str(ds[name].attrs["units"])
    if units == "1":
        return "relative: 1 is the mean cell in a mean hour"
    return f"{units} per step" if is_amount(units) else units


def _description(ds: xr.Dataset) -> str:
    first, last = (np.datetime_as_string(ds["time"].values[i], unit="m") for i in (0, -1))
    where = f"{ds.sizes['cell']} cells of {ds.attrs.get('place', 'a place')}"
    what = f"{ds.attrs.get('source', 'cellular traffic')}; {where}"
    when = f"{first}Z to {last}Z, time zone {ds.attrs['timezone']}"
    return f"{what[0].upper()}{what[1:]}, {when}; written by gentraffic."


def _credits(ds: xr.Dataset) -> list[str]:
    return str(ds.attrs.get("attribution", "")).split(";")


def _license(ds: xr.Dataset) -> dict[str, str]:
    name = str(ds.attrs["license"])
    return {"name": name, "path": LICENSES.get(name, name)}


def _slug(text: str) -> str:
    import unicodedata

    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "traffic"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
