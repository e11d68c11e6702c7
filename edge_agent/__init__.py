"""The Simpang agent: it records, keeps, ships and reports one crossing."""
