"""Training networks that enlarge pictures, and what their pictures are worth."""
