"""From pictures and videos to the expressions of the faces in them."""
