"""A name, a box or a file -> a Context: cells or stations with counts of what the map shows there."""
