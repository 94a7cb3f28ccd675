"""The bundle and the image, in real containers: what container/ builds, and docs/container.md says."""
