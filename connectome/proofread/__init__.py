"""Edit neurites and synapses."""
