"""The screen of `stig watch`: documents of a feed brought up to date, keys that steer.

It decides nothing about the swarm: what it shows is the document, what a key does is a verb of
`Hands`. Verbs run in a thread of their own, for a board may be busy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from typing import ClassVar, Final, cast

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.css.query import NoMatches
from textual.notifications import SeverityLevel
from textual.widget import Widget
from textual.widgets import Footer, Input, RichLog, Static

from stigmergy.board import JsonObject
from stigmergy.cli.console import clean, clock_time, plural, short_agent
from stigmergy.cli.watch import picture
from stigmergy.cli.watch.asking import Confirm, Question
from stigmergy.cli.watch.feeds import Feed
from stigmergy.cli.watch.hands import Hands
from stigmergy.cli.watch.picture import Cell, Row
from stigmergy.cli.watch.table import RowTable
from stigmergy.errors import StigmergyError
from stigmergy.monitor import apply

__all__ = ["WatchApp"]

_IN_A_ROW_S: Final = 3.0
_FRAME_S: Final = 0.25
_PANES: Final = ("log", "landings", "alerts", "metrics")
_WIDE: Final = 120
_ROOMY: Final = 96
"""Columns of a table, from which on its own columns are wider."""
_LOW: Final = 20
_DEAD: Final = frozenset({"failed", "cancelled"})
_FINAL: Final = _DEAD | {"completed"}


class WatchApp(App[None]):
    """Watches one swarm.

    Args:
        feed: tells what there is to show; open while the app runs.
        hands: do what keys ask for.
        title: what is watched, until the first document says more.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 2; padding: 0 1; }
    #body { height: 1fr; }
    #tables { width: 1fr; height: 2fr; }
    #body.wide { layout: horizontal; }
    #agents, #work { height: 1fr; border: round $panel; border-title-color: $accent; }
    #pane { height: 1fr; border: round $panel; border-title-color: $accent; }
    #agents, #work { scrollbar-size-horizontal: 0; }
    .low #pane { display: none; }
    #agents:focus, #work:focus, #pane:focus { border: round $accent; }
    #filter { display: none; height: 3; }
    #filter.open { display: block; }
    .wide #pane { width: 2fr; height: 100%; }
    .wide #tables { width: 3fr; height: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause"),
        Binding("plus,equals_sign", "agents(1)", "Agents", key_display="+-"),
        Binding("minus", "agents(-1)", "One agent less", show=False),
        Binding("r", "retry", "Retry"),
        Binding("c", "cancel", "Cancel"),
        Binding("a", "approve", "Yes"),
        Binding("x", "refuse", "No"),
        Binding("i", "items", "Tasks"),
        Binding("v", "pane", "View"),
        Binding("slash", "filter", "Find", key_display="/"),
        Binding("q", "quit", "Quit"),
        Binding("escape", "clear_filter", "All", show=False),
    ]

    def __init__(self, feed: Feed, hands: Hands, *, title: str) -> None:
        super().__init__()
        self._feed = feed
        self._hands = hands
        self._watched = title
        self.document: JsonObject | None = None
        self.changed_cells = 0
        """Cells that were drawn anew since the start, for whoever measures."""
        self._wished = (0, -math.inf)
        self._trouble = ""
        self._pane = 0
        self._shows_items: bool | None = None
        """None until somebody has chosen: items where there are any."""
        self._wanted = ""
        """Rows without this text are not shown."""
        self._shown_pane: tuple[str, list[Cell]] | None = None
        self._shown_head: list[str] = []
        self._titles: dict[str, tuple[str, str]] = {}

    def compose(self) -> ComposeResult:
        """A heading, two tables, a pane of text, a line of keys."""
        yield Static(Text(f"{self._watched}: reading the journal …", style="dim"), id="head")
        with Vertical(id="body"):
            with Vertical(id="tables"):
                yield RowTable(picture.AGENT_HEADINGS, id="agents")
                yield RowTable(picture.TASK_HEADINGS, id="work")
            yield RichLog(id="pane", wrap=True, min_width=10, max_lines=2000)
        yield Input(placeholder="show only rows with this text; escape shows all", id="filter")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Begin to follow."""
        self._fit()
        self._table("work").focus()
        self.set_interval(_FRAME_S, self.refresh_document)

    def on_resize(self) -> None:
        """A wide terminal has the pane beside the tables; a low one goes without."""
        self._fit()
        self._shown_pane = None  # its lines are wrapped anew

    def _fit(self) -> None:
        is_wide = self.size.width >= _WIDE
        body = self.query_one("#body")
        body.set_class(is_wide, "wide")
        body.set_class(self.size.height < _LOW and not is_wide, "low")

    # Showing ----------------------------------------------------------------------------------

    def refresh_document(self) -> None:
        """Take in what the feed has told, and draw what is different."""
        while True:
            try:
                update = self._feed.updates.get_nowait()
            except Empty:
                break
            if update.trouble is not None:
                self._trouble = clean(update.trouble)
            if update.snapshot is not None:
                self.document = update.snapshot
            elif update.delta is not None and self.document is not None:
                self.document = apply(self.document, update.delta)
        with suppress(NoMatches):  # the last tick of a screen that is being taken down
            self._draw(time.time())

    def _draw(self, now: float) -> None:
        document = self.document
        self._draw_head(document, now)
        if document is None:
            return
        agents = picture.agent_rows(document, now)
        count = picture.count_agents(document)
        self._fill("agents", picture.AGENT_HEADINGS, agents, plural(count, "agent"))
        if self._is_of_items(document):
            rows, headings, word = picture.item_rows(document, now), picture.ITEM_HEADINGS, "item"
        else:
            rows, headings, word = picture.task_rows(document, now), picture.TASK_HEADINGS, "task"
        total = len(rows) if word == "item" else int(document.get("tasks_total") or len(rows))
        self._fill("work", headings, rows, plural(total, word))
        self._draw_pane(document)

    def _is_of_items(self, document: JsonObject) -> bool:
        return bool(document.get("items")) if self._shows_items is None else self._shows_items

    def _fill(self, name: str, headings: tuple[str, ...], rows: list[Row], title: str) -> None:
        table = self._table(name)
        table.head(headings, is_roomy=table.size.width >= _ROOMY)
        found = [row for row in rows if row.has(self._wanted)] if self._wanted else rows
        self.changed_cells += table.show(found)
        shown = min(len(found), picture.MOST_ROWS)
        more = f"{shown:,} of {len(found):,} shown" if shown < len(found) else ""
        with_text = f"with {self._wanted!r}" if self._wanted else ""
        self._entitle(table, title, ", ".join(filter(None, (more, with_text))))

    def _entitle(self, widget: Widget, title: str, subtitle: str = "") -> None:
        """Set what stands in a widget's border, if it is something else: that draws all of it."""
        if self._titles.get(widget.id or "") == (title, subtitle):
            return
        self._titles[widget.id or ""] = title, subtitle
        # What somebody typed, or an agent's name, is no markup: not even after `escape`, from which
        # a text with brackets in it can still come out as a tag.
        widget.border_title, widget.border_subtitle = Text(title), Text(subtitle)

    def _draw_head(self, document: JsonObject | None, now: float) -> None:
        if document is None:
            cells: list[list[Cell]] = [[(f"{self._watched}: reading the journal …", "dim")], []]
        else:
            cells = [picture.heading(document, now), picture.summary(document)]
        if self._trouble:
            cells[1] = [(self._trouble, "bold red")]
        elif document is not None and (alerts := picture.alert_lines(document)):
            cells[1] = [(f"! {alerts[0][0]}", alerts[0][1]), *cells[1]]
        lines = [_joined(line) for line in cells]
        said = [line.markup for line in lines]
        if said != self._shown_head:
            self._shown_head = said
            self.query_one("#head", Static).update(Text("\n").join(lines))

    def _draw_pane(self, document: JsonObject) -> None:
        name = _PANES[self._pane]
        match name:
            case "landings":
                lines = picture.landing_lines(document)
            case "alerts":
                lines = picture.alert_lines(document) or [("no alerts", "dim")]
            case "metrics":
                lines = picture.metric_lines(document)
            case _:
                lines = self._log_lines(document)
        pane = self.query_one("#pane", RichLog)
        if self._shown_pane is not None and self._shown_pane == (name, lines):
            return
        before = self._shown_pane
        self._shown_pane = (name, lines)
        self._entitle(pane, self._pane_title(name))
        # What is only longer than before is added to, so that who reads above is left alone.
        if before and before[0] == name and lines[: len(before[1])] == before[1]:
            fresh = lines[len(before[1]) :]
        else:
            pane.clear()
            fresh = lines
        for text, style in fresh:
            pane.write(Text(text, style=style))

    def _pane_title(self, name: str) -> str:
        agent = self._table("agents").selected
        is_log = name == "log" and self._agent_is_chosen and agent is not None
        return f"log of {short_agent(agent or '')}" if is_log else name

    @property
    def _agent_is_chosen(self) -> bool:
        return self.focused is not None and self.focused.id == "agents"

    def _log_lines(self, document: JsonObject) -> list[Cell]:
        """What the agent under the cursor did, or while the work is looked at what happened."""
        agent = self._table("agents").selected
        activity = cast("list[JsonObject]", document.get("activity") or [])
        if not self._agent_is_chosen or agent is None:
            return [(f"{clock_time(row['at'])} {clean(str(row['text']))}", "") for row in activity]
        known = self._feed.log_of(agent)
        if known is None:
            known = [
                (row["at"], clean(str(row["text"])))
                for row in activity
                if row.get("agent_id") == agent
            ]
        return [(f"{clock_time(at)} {line}", "") for at, line in known]

    def _table(self, name: str) -> RowTable:
        return self.query_one(f"#{name}", RowTable)

    # Steering ---------------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Pause all, or let it go on."""
        if self.document is None:
            return
        if "*" in cast("list[str]", self.document.get("paused") or []):
            self._do(self._hands.resume, "it goes on")
        else:
            self._do(self._hands.pause, "paused: what agents hold they finish")

    def action_agents(self, more: int) -> None:
        """Wish for one agent more or less."""
        run = cast("JsonObject", (self.document or {}).get("run") or {})
        wanted = run.get("agents_wanted")
        if not isinstance(wanted, int):
            self.notify(
                "how many agents work here is not for this board to say", severity="warning"
            )
            return
        # Several presses in a row add up, though the view may tell of the first ones only later.
        latest, at = self._wished
        if time.monotonic() - at < _IN_A_ROW_S:
            wanted = latest
        count = max(1, wanted + more)
        self._wished = (count, time.monotonic())
        self._do(lambda: self._hands.want_agents(count), f"agents wanted: {count}")

    def action_retry(self) -> None:
        """Begin the chosen task or item anew."""
        dead = [task for task in self._chosen_tasks() if task["status"] in _DEAD]
        roots = [t for t in dead if not str(t.get("error") or "").startswith("it depends on ")]
        names = [str(task["id"]) for task in roots or dead]
        if not names:
            self.notify("only what failed or was cancelled can be retried", severity="warning")
            return
        self._do(lambda: [self._hands.retry(name) for name in names], f"retried {names[0]}")

    def action_cancel(self) -> None:
        """Cancel the chosen task or item, if that is confirmed."""
        names = [str(t["id"]) for t in self._chosen_tasks() if t["status"] not in _FINAL]
        if not names:
            self.notify("it is finished already", severity="warning")
            return

        def confirmed(yes: bool | None) -> None:
            if yes:
                self._do(lambda: [self._hands.cancel(n) for n in names], f"cancelled {names[0]}")

        question = f"Cancel {', '.join(names)}?\nWhat depends on it fails."
        self.push_screen(Confirm(question), confirmed)

    def action_approve(self) -> None:
        """Say yes to what is chosen, or to what has waited longest."""
        if (vote := self._vote()) is None:
            self.notify("nothing waits for you")
            return
        name = str(vote["id"])
        question = f"Approve {name}?\n{clean(str(vote.get('title') or ''))}"

        def confirmed(yes: bool | None) -> None:
            if yes:
                self._do(lambda: self._hands.approve(name), f"approved {name}")

        self.push_screen(Confirm(question), confirmed)

    def action_refuse(self) -> None:
        """Say no to it, with a reason."""
        if (vote := self._vote()) is None:
            self.notify("nothing waits for you")
            return
        name = str(vote["id"])
        question = f"Refuse {name}: why?\n{clean(str(vote.get('title') or ''))}"

        def answered(reason: str | None) -> None:
            if reason is not None:
                self._do(lambda: self._hands.refuse(name, reason), f"refused {name}")

        self.push_screen(Question(question), answered)

    def _vote(self) -> JsonObject | None:
        """The approval that is chosen (or its item is), or else the one that has waited longest."""
        if self.document is None:
            return None
        votes = picture.waiting_votes(self.document)
        chosen = self._table("work").selected or ""
        fit = [
            vote for vote in votes if chosen in (vote["id"], vote["id"].rpartition(".approval")[0])
        ]
        return next(iter(fit or votes), None)

    def _chosen_tasks(self) -> list[JsonObject]:
        """The task under the cursor, or all those of the item."""
        document, chosen = self.document or {}, self._table("work").selected
        tasks = cast("dict[str, JsonObject]", document.get("tasks") or {})
        if chosen is None:
            return []
        if self._is_of_items(document):
            return [task for task in tasks.values() if task.get("key") == chosen]
        return [tasks[chosen]] if chosen in tasks else []

    def _do(self, verb: Callable[[], object], said: str) -> None:
        def work() -> None:
            try:
                verb()
            except StigmergyError as error:
                self.call_from_thread(self._tell, str(error), "error")
            else:
                self.call_from_thread(self._tell, said, "information")

        self.run_worker(work, thread=True, group="verbs")

    def _tell(self, text: str, severity: SeverityLevel) -> None:
        self.notify(clean(text), severity=severity, markup=False)

    # Looking ----------------------------------------------------------------------------------

    def action_items(self) -> None:
        """Show the items of a run, or the tasks that they are made of."""
        if self.document is not None:
            self._shows_items = not self._is_of_items(self.document)
            self._draw(time.time())

    def action_pane(self) -> None:
        """Show the next of the log, landings, alerts, metrics."""
        self._pane = (self._pane + 1) % len(_PANES)
        self._draw(time.time())

    def action_filter(self) -> None:
        """Ask for a text."""
        field = self.query_one("#filter", Input)
        field.add_class("open")
        field.focus()

    def action_clear_filter(self) -> None:
        """Show all rows."""
        field = self.query_one("#filter", Input)
        field.value = ""
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as it is typed."""
        self._wanted = event.value.strip()
        self._draw(time.time())

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        """Keep the filter, and go back to the rows."""
        self._close_filter()

    def _close_filter(self) -> None:
        field = self.query_one("#filter", Input)
        if field.has_class("open"):
            field.remove_class("open")
            self._table("work").focus()


def _joined(cells: list[Cell]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for place, (text, style) in enumerate(cells):
        line.append("  " if place else "")
        line.append(text, style)
    return line
