"""The forms of generators, one a file, and what joins them."""
