"""Networks that enlarge pictures: the rivals of feature super-resolution."""
