"""The style sheet, the script and the logos."""

from typing import Any

from tornado import web

from .base import BaseHandler


class AssetHandler(BaseHandler, web.StaticFileHandler):
    def prepare(self) -> Any:
        super().prepare()
        self.clear_header("Cache-Control")

    def get_cache_time(self, path: str, modified: object, mime_type: str) -> int:
        """Pages name assets with a version, which changes with the content; then they may be kept."""
        return 86400 * 365 if "v" in self.request.arguments else 300
