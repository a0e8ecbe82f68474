"""What a traffic file and a context file hold: schema, calendar, units, geometry, splits, summaries."""
