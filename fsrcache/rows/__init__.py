"""The rows of the table, one a file.

A row is a module with what ``fsrcache.rows.row.Row`` says. A new one is a file here and a line in
``fsrcache.rows.index``.
"""
