"""The statistics around a network: features, levels, scaling, weekly profiles, history, random streams."""
