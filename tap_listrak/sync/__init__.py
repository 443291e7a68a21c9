"""Run a sync: what to fetch, in which order, and the state."""
