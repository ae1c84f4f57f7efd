"""What trainings are made of."""
