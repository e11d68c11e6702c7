"""How properties are tried here."""

from __future__ import annotations

from hypothesis import settings

# A machine that does something else as well is no reason to fail.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
