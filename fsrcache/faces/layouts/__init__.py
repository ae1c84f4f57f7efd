"""The layouts in which people keep labelled faces, one a file.

A layout is a module with ``NAME`` (a value of ``--format``), ``TITLE`` (its name in sentences),
``recognises(path) -> bool`` and ``read(path, *, votes) -> Listing``. A new one is a file here and a line in
``fsrcache.faces.index``.
"""
