"""kmetad as a bundle that needs nothing of the image around it, and as an image of its own: docs/container.md."""
