"""Files in and out: NetCDF, Zarr, Parquet, CSV, GeoTIFF; atomic writes, checksums, and the cells that a user brings."""
