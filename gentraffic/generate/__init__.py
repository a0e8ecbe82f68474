"""A request -> traffic, in memory or written to Zarr as it is drawn, here or on Dask workers."""
