"""What a planner does with traffic: load, sleep, resource blocks, new sites."""
