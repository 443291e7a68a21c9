"""All that knows a run: what is fetched, in which order, and the state behind what is emitted."""
