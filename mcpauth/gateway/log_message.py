"""Log messages of several backends in one stream."""

from . import frames
from .frames import Frame

METHOD = "notifications/message"

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def named(backend: str, frame: Frame) -> Frame:
    """A log message that names its backend as the logger, or before that; any other frame as it is."""
    if frames.text(frame.get("method")) != METHOD:
        return frame
    params = frames.members(frame.get("params"))
    logger = frames.text(params.get("logger"))
    return {**frame, "params": frames.raw({**params, "logger": f"{backend}/{logger}" if logger else backend})}
