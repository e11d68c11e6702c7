"""Every figure that is asked for, measured beside its peer or its limit: `make bench [ONLY=name]`."""
