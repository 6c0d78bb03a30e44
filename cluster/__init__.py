"""Ray clusters: the connection to Ray, placement, capacity, jobs, and dry runs."""
