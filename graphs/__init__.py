"""When and who is near: the temporal graph, the station graph, GraphMAE."""
