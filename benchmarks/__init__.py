"""The measurements of ``fsrcache bench``: the harness, and the cases of each subject."""
