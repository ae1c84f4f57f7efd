"""Studies of the repository: measurements of trainings, stores and machines; not part of the package."""
