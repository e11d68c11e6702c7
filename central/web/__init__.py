"""Pages, JSON and playlists of the centre."""
