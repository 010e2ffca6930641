"""The live feed of a board: what the dashboard, the terminal and the widget are told.

One `Feed` for a board folds its journal once, and tells everyone who watches the same bytes.
"""

from stigmergy.server.live.feed import Feed, View
from stigmergy.server.live.playhead import Playhead, Position
from stigmergy.server.live.site import LiveSite, RunFiles
from stigmergy.server.live.sources import JournalSource, Moment, ReplaySource, Source
from stigmergy.server.live.subscription import Subscription

__all__ = [
    "Feed",
    "JournalSource",
    "LiveSite",
    "Moment",
    "Playhead",
    "Position",
    "ReplaySource",
    "RunFiles",
    "Source",
    "Subscription",
    "View",
]
