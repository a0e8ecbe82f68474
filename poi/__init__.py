"""Where: grid cells, points of interest, their categories and counts."""
