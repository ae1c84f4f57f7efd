"""The page: a report's answer and sections as one HTML file that loads nothing."""

from jinja2 import Environment, PackageLoader, StrictUndefined

import fsrcache
from fsrcache.reports.answer import answer
from fsrcache.reports.data import ReportData
from fsrcache.reports.sections import Section


def page(data: ReportData, sections: list[Section]) -> str:
    """Return the HTML of a report; every text is escaped.

    Parameters
    ----------
    data
        What the report is made from.
    sections
        Its sections.
    """
    environment = Environment(
        loader=PackageLoader("fsrcache.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html")
    return template.render(
        answer=answer(data.table, data.row), table=data.table, sections=sections, version=fsrcache.__version__
    )
