"""The style sheet, the script and the logos."""

from typing import Any

from tornado import web

from .base import BaseHandler


class AssetHandler(BaseHandler, web.StaticFileHandler):
    def prepare(self) -> Any:
        super().prepare()
        self.clear_header("Cache-Control")

    def parse_url_path(self, url_path: str) -> str:
        # Tornado serves this name from the same folder; browsers ask for it unprompted, and take an SVG.
        return "logo.svg" if url_path == "favicon.ico" else super().parse_url_path(url_path)

    def get_cache_time(self, path: str, modified: object, mime_type: str) -> int:
        """Pages name assets with a version, which changes with the content; then they may be kept."""
        return 86400 * 365 if "v" in self.request.arguments else 300
