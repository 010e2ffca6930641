// Everything that the page is made of.

import "./virtual-list.js";
import "./parts/activity.js";
import "./parts/agent-grid.js";
import "./parts/alerts.js";
import "./parts/charts.js";
import "./parts/commit-feed.js";
import "./parts/controls.js";
import "./parts/log-viewer.js";
import "./parts/memory.js";
import "./parts/metrics.js";
import "./parts/preview.js";
import "./parts/replay-bar.js";
import "./parts/run-head.js";
import "./parts/task-graph.js";
import "./parts/task-list.js";
import "./parts/votes.js";
import "./parts/dashboard.js";
