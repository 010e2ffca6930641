"""A thousand agents and two hundred events a second leave the page smooth and up to date.

The short form of `benchmarks/bench_dashboard.py`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from stigmergy.testing.bustle import bustling

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from bench_dashboard import KNOWN, LIMIT_MS, measure, percentile

pytestmark = pytest.mark.needs_chromium


def test_frames_stay_short_while_a_big_swarm_is_at_work(visit, live_site) -> None:
    page = visit(live_site.server)
    with bustling(live_site.board, agents=1000, events_per_s=200) as bustle:
        expect(page.get_by_role("button", name="1,000 in all")).to_be_visible()
        began = bustle.events

        frames = measure(page, 3.0)["frames"]

        assert percentile(frames, 0.95) < LIMIT_MS
        assert bustle.events - began > 300
        known, at = page.evaluate(KNOWN)
        assert known == 1000
        assert time.time() - at < 2.0
        # Only what is in sight is in the document.
        assert page.locator(".tile").count() < 60
