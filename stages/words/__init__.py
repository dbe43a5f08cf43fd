"""Words: vocabularies, their features, and what heads read of them."""
