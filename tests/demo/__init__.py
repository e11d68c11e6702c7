"""The demonstration: three crossings, a centre, and a bad day in under two minutes."""
