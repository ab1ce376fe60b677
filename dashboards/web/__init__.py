"""The built-in web pages: server-rendered, without a build step, working without scripts."""

from dashboards.web.pages import create_pages
from dashboards.web.reports import CommandNotSent, Reports

__all__ = ["CommandNotSent", "Reports", "create_pages"]
