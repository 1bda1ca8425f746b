"""Write the report: the results of a run on one page that opens offline."""

from connectome.report.build import write_report

__all__ = ["write_report"]
