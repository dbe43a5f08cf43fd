"""Words and bars on a terminal."""
