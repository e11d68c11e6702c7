"""The Simpang centre: it collects every agent into one command centre."""
