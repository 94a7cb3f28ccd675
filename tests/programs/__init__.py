"""kmetad-reload with real programs, as its cookbook has them."""
