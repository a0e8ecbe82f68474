"""Results -> pages, text, maps and pictures."""
