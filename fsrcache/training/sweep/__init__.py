"""Many trainings over the features of one store: the product of settings and seeds."""
