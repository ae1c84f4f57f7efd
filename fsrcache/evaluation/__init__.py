"""From predictions to a table a researcher would trust: measures, twins, re-fitted heads, tables and the figure."""
