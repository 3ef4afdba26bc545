"""The style sheet, the script and the logos."""

from tornado import web


class AssetHandler(web.StaticFileHandler):
    def set_default_headers(self) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.clear_header("Server")

    def get_cache_time(self, path: str, modified: object, mime_type: str) -> int:
        """Pages name assets with a version, which changes with the content; then they may be kept."""
        return 86400 * 365 if "v" in self.request.arguments else 300
