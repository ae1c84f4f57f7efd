"""The report: everything that is known of a run, as one HTML file that a person likes to read."""
