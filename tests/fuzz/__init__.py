"""Input that nobody would send, to everything that takes some: in `make test` for a moment, in `make fuzz` for long."""
