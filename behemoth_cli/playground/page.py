"""The page: what a person does, each answered by a function of the other rooms. The only one that knows gradio."""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from behemoth_cli.cores import set_threads
from behemoth_cli.playground import panels, telling
from behemoth_cli.playground.attacking import attack_of, attempt
from behemoth_cli.playground.jobs import Job, Result
from behemoth_cli.playground.making import MOST_COUNT, NUMBERS_OF_EDITS, Step, Stopped, Wish, make, method_of
from behemoth_cli.playground.outcomes import STATUSES
from behemoth_cli.playground.panels import Looked, looked_at
from behemoth_cli.playground.sessions import Session, Sessions
from behemoth_cli.playground.shelf import TAUGHT, Shelf, bits_per_parameter
from behemoth_cli.playground.telling import State
from behemoth_cli.playground.words import MOST_LETTERS
from behemoth_cli.sections import ATTACK_SECTIONS, METHOD_SECTIONS
from behemoth_data.forms import SURFACES
from behemoth_data.world import Edge
from behemoth_editing import METHODS
from behemoth_editing.attacks import ATTACKS
from behemoth_editing.attacks.contract import Refused
from behemoth_editing.sweep.identity import last_part

HERE = Path(__file__).resolve().parent
TITLE = "Behemoth playground"
# Of the machine: no page of ours asks another one for a font.
FONTS = ("system-ui", "-apple-system", "Segoe UI", "sans-serif")
MONO_FONTS = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace")
_POLL = 0.2  # seconds between two looks at an edit
_BAR = gr.Progress(track_tqdm=True)  # shows the bars of training
_MOST_WAITING = 200  # requests that may wait for their turn
_MOST_EDITING = 40  # pages whose edits have begun, of which all but one wait where they can be stopped
MOST_SECONDS = 600  # that an edit may take, unless told otherwise
Updates = dict[Any, Any]
_UNTOUCHED: Mapping[str, int] = {"edge": 0, "head": 0}


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _html(name: str, template: str = "${value}", script: str | None = None) -> gr.HTML:
    """A place on the page with our own style alone."""
    return gr.HTML("", elem_id=name, apply_default_css=False, html_template=template, js_on_load=script)


def stylesheet() -> str:
    """The page's own style, with a colour for each status on light and on dark."""
    rules = []
    for name, status in STATUSES.items():
        for place, colour in zip(("", ".dark "), status.colours, strict=True):
            filled = "none" if status.shape in ("ring", "cross") else colour
            line = 2.2 if status.shape == "cross" else 1.2
            rules.append(f"{place}.s-{name} {{ fill: {filled}; stroke: {colour}; stroke-width: {line}; }}")
    return _file("page.css") + "\n".join(rules) + "\n"


class OnlyThePage:
    """What gradio would do beside the page is refused, whatever asks: the page has no use for any of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 in place of taking a file, making one, or fetching one from elsewhere."""
        if scope["type"] == "http" and refused(scope["path"]):
            await PlainTextResponse("this is off", status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def refused(path: str) -> bool:
    """Whether the path of a request is of an upload, a recording, or another server's file."""
    place = path.rstrip("/")
    far = place.partition("/file=")[2].lower().startswith(("http:", "https:"))
    return far or "/proxy=" in place or place.endswith(("/upload", "/process_recording"))


def _safely(handler: Callable[..., Updates]) -> Callable[..., Updates]:
    """What a user can mend is told on the page, and what was there stays."""

    @functools.wraps(handler)
    def answered(self: Playground, *values: Any) -> Updates:
        try:
            return {self.status: "", **handler(self, *values)}
        except (ValueError, OSError, FloatingPointError) as error:
            return {self.status: panels.said_html(" ".join(str(error).split()), bad=True)}

    return answered


def _why_not(error: Exception, what: str) -> str:
    """Why there is no edit or attack."""
    if isinstance(error, Stopped):
        return panels.said_html(f"The {what} was stopped; everything is as it was.")
    if isinstance(error, Refused):
        return panels.said_html(f"This cannot be tried here: {error}")
    return panels.said_html(" ".join(str(error).split()) or type(error).__name__, bad=True)


class Playground:
    """The page over a shelf of models, with a session for each browser tab."""

    def __init__(
        self, shelf: Shelf, methods: Sequence[str] = tuple(METHODS), most_seconds: float = MOST_SECONDS
    ) -> None:
        self.shelf, self.methods, self.most_seconds = shelf, tuple(methods), most_seconds
        self.sessions = Sessions()
        self.ends = [last_part(name) for name in shelf.given]

    # What is on the page

    def blocks(self) -> gr.Blocks:
        """The page, ready to be launched."""
        page: gr.Blocks = gr.Blocks(analytics_enabled=False, title=TITLE, fill_width=True)
        with page:
            self._build()
            self._wire(page)
        page.queue(max_size=_MOST_WAITING, default_concurrency_limit=8)
        return page

    def _build(self) -> None:
        gr.Markdown(
            f"# {TITLE}\nA small model that knows an invented world. Pick a fact, change it, and see what else moves: "
            "the world says what ought to."
        )
        self.pick = gr.State(dict(_UNTOUCHED))
        self.settings = gr.State({})
        self.is_asked = gr.State(False)  # an edit, by the link
        self.opened = gr.State(0)  # when a link was followed, whatever it changed
        self.status = _html("status")
        with gr.Row(elem_classes="bm-main"):
            with gr.Column(scale=5, min_width=320):
                self._build_world()
                self.graph = _html("graph", _file("graph.html"), _file("graph.js"))
            with gr.Column(scale=4, min_width=320):
                self._build_asking()
                self._build_edit()
        with gr.Row(elem_classes="bm-main"):
            with gr.Column(scale=5, min_width=320):
                gr.Markdown("## 4 · Before and after")
                self.shown = gr.Radio([("before any edit", 0)], value=0, label="What the page shows", elem_id="shown")
                with gr.Row():
                    self.undo = gr.Button("Undo the last edit", elem_id="undo")
                    self.again = gr.Button("The same edits by this method", elem_id="again")
                self.history = _html("history")
                self.outcome = _html("outcome")
                self._build_attack()
            with gr.Column(scale=4, min_width=320):
                gr.Markdown("### Broken facts")
                self.broken = _html("broken", _file("broken.html"), _file("broken.js"))
                gr.Markdown("## 6 · The code for this")
                self.link = _html("link")
                self.python = gr.Code(label="Python", language="python", interactive=False, elem_id="python")
                self.command = gr.Code(label="Command", language="shell", interactive=False, elem_id="command")
                with gr.Accordion("The result row as JSON", open=False):
                    self.row = gr.Code(language="json", interactive=False, elem_id="row", max_lines=30)

    def _build_world(self) -> None:
        gr.Markdown("## 1 · A world and a fact")
        names = [(self._label(name), name) for name in self.shelf.names]
        self.model = gr.Dropdown(names, value=names[0][1], label="Model", elem_id="model", visible=len(names) > 1)
        self.step = gr.Slider(0, 1, value=1, step=1, label="Training", visible=False, elem_id="step")
        self.load = gr.Slider(0, 1, value=0, step=1, label="Load", visible=False, elem_id="load")
        self.surface = gr.Radio(list(SURFACES), label="Words", elem_id="surface")
        self.relation = gr.Radio([], label="Relation", elem_id="relation")
        with gr.Row():
            self.find = gr.Textbox(
                label="Find a subject by part of its name", max_length=60, elem_id="find", scale=1, min_width=140
            )
            self.found = gr.Dropdown([], label="Subjects found", elem_id="found", scale=1, min_width=140)

    def _label(self, name: str) -> str:
        if name in self.shelf.given:
            return name if self.ends.count(last_part(name)) > 1 else last_part(name)
        return f"{name}: {TAUGHT[name].text}" + ("" if self.shelf.is_ready(name) else " (taught first: two minutes)")

    def _build_asking(self) -> None:
        gr.Markdown("## 2 · What the model says")
        self.says = _html("says")
        with gr.Row():
            self.prompt = gr.Textbox(
                label="A prompt of your own, in its words", max_length=MOST_LETTERS, elem_id="prompt", scale=3
            )
            self.ask = gr.Button("Ask", elem_id="ask", scale=1, min_width=80)
        self.asked = _html("asked")

    def _build_edit(self) -> None:
        gr.Markdown("## 3 · Change the fact")
        self.new_tail = gr.Dropdown([], label="New object", elem_id="new_tail")
        with gr.Row():
            self.num_edits = gr.Radio(
                list(NUMBERS_OF_EDITS),
                value=1,
                label="Edits: this fact, and others of the relation",
                elem_id="num_edits",
            )
            self.seed = gr.Number(0, label="Seed of the others", precision=0, elem_id="seed", min_width=100)
        methods = [(f"{name}: {METHOD_SECTIONS[name].help}", name) for name in self.methods]
        first = "rome" if "rome" in self.methods else self.methods[0]
        self.method = gr.Dropdown(methods, value=first, label="Method", elem_id="method")
        with gr.Accordion("Settings of the method", open=False, elem_id="settings"):
            self._build_settings()
        with gr.Row():
            self.edit = gr.Button("Edit", variant="primary", elem_id="edit")
            self.stop = gr.Button("Stop", elem_id="stop", min_width=80)
        self.progress = _html("progress")

    def _build_attack(self) -> None:
        gr.Markdown("## 5 · Is the old answer gone?")
        attacks = [(f"{name}: {ATTACK_SECTIONS[name].help}", name) for name in ATTACKS]
        self.attack = gr.Dropdown(attacks, value="relearn", label="Attack on the edit that is shown", elem_id="attack")
        with gr.Row():
            self.attempt = gr.Button("Attack", elem_id="attempt")
            self.stop_attack = gr.Button("Stop", elem_id="stop_attack", min_width=80)
        self.attack_progress = _html("attack_progress")
        self.attacked = _html("attacked")

    def _build_settings(self) -> None:
        """A box for each field of the chosen method, with its help; what differs from the default is kept."""

        def boxes(method: str, settings: dict[str, dict[str, str]]) -> None:
            if method not in self.methods:  # before the page is filled in
                return
            for field in dataclasses.fields(METHODS[method]):  # type: ignore[arg-type]
                default = telling.text_of(field.default)
                box = gr.Textbox(
                    settings.get(method, {}).get(field.name, default),
                    label=field.name,
                    info=field.metadata.get("help"),
                    max_length=80,
                    elem_id=f"setting-{field.name}",
                )
                keep = functools.partial(telling.with_setting, method=method, field=field.name, default=default)
                box.change(keep, [self.settings, box], self.settings, show_progress="hidden", api_visibility="private")

        gr.render(inputs=[self.method, self.settings], triggers=[self.method.change, self.opened.change])(boxes)

    # What happens when

    def _wire(self, page: gr.Blocks) -> None:
        self.everything = [
            *(self.status, self.graph, self.model, self.step, self.load, self.surface, self.relation, self.found),
            *(self.pick, self.says, self.asked, self.new_tail, self.num_edits, self.seed, self.method, self.settings),
            *(self.shown, self.history, self.outcome, self.broken, self.link, self.python, self.command, self.row),
            *(self.progress, self.attack_progress, self.attacked, self.is_asked, self.opened),
        ]
        where = [self.model, self.step, self.surface, self.relation, self.pick, self.shown]
        wish = [self.new_tail, self.num_edits, self.seed, self.method, self.settings]
        every = [*where, *wish]
        quiet: dict[str, Any] = {"outputs": self.everything, "show_progress": "hidden"}
        loading = page.load(self.on_load, None, show_progress="full", outputs=self.everything, api_name="open")
        loading.then(
            self.on_linked_edit,
            [*every, self.is_asked],
            api_visibility="private",
            concurrency_limit=_MOST_EDITING,
            **quiet,
        )
        self.model.input(self.on_model, every, outputs=self.everything, show_progress="full", api_name="choose_model")
        self.step.release(self.on_look, every, api_name="step", **quiet)
        self.load.release(self.on_load_level, [*every, self.load], api_name="load_level", **quiet)
        for part in (self.surface, self.relation, self.shown):
            part.input(self.on_look, every, api_visibility="private", **quiet)
        self.graph.click(self.on_click, every, api_visibility="private", **quiet)
        self.broken.click(self.on_click, every, api_visibility="private", **quiet)
        self.find.input(self.on_find, [*every, self.find], api_visibility="private", **quiet)
        self.found.input(self.on_found, [*every, self.found], api_visibility="private", **quiet)
        self.new_tail.input(self.on_code, every, api_visibility="private", **quiet)
        for ask in (self.ask.click, self.prompt.submit):
            ask(self.on_ask, [*every, self.prompt], api_name="ask", **quiet)
        editing: dict[str, Any] = {"concurrency_limit": _MOST_EDITING, "concurrency_id": "edits", **quiet}
        self.edit.click(self.on_edit, every, api_name="edit", **editing)
        self.again.click(self.on_again, every, api_name="again", **editing)
        self.attempt.click(self.on_attack, [*every, self.attack], api_name="attack", **editing)
        for stop, name in ((self.stop, "stop"), (self.stop_attack, "stop_attack")):
            stop.click(self.on_stop, None, outputs=[self.status], queue=False, show_progress="hidden", api_name=name)
        self.undo.click(self.on_undo, every, api_name="undo", **quiet)
        page.unload(self.on_unload)

    def _session(self, request: gr.Request) -> Session:
        return self.sessions.get(request.session_hash)

    def _looked(self, session: Session, where: Sequence[Any]) -> Looked:
        model, step, surface, relation, pick, shown = where
        return looked_at(
            self.shelf, session, model, self._step(model, step), surface, relation, pick or _UNTOUCHED, int(shown or 0)
        )

    def _step(self, model: str, place: float | None) -> int | None:
        """The step of training at a place of the slider; none at its end, which is the trained model."""
        steps = self.shelf.steps(model)
        at = len(steps) if place is None else int(place)
        return steps[at] if 0 <= at < len(steps) else None

    @_safely
    def on_load(self, request: gr.Request) -> Updates:
        """The page as its link says, or as it is without one, and why."""
        parts = {name: text for name, text in dict(request.query_params).items() if not name.startswith("__")}
        try:
            return self._opened(self._session(request), panels.linked(self.shelf, self.methods, parts), parts)
        except (ValueError, OSError) as error:
            plain = panels.linked(self.shelf, self.methods, {})
            told = f"This page's link cannot be followed: {' '.join(str(error).split())}"
            return {
                **self._opened(self._session(request), plain, {}),
                self.status: panels.said_html(told, bad=True),
            }

    def _opened(self, session: Session, state: State, parts: Mapping[str, str]) -> Updates:
        model, wish, steps = state.model, state.wish, self.shelf.steps(state.model)
        place = len(steps) if state.step is None else steps.index(state.step)
        pick = {"edge": int(Edge.from_label(wish.edge)), "head": wish.head}
        surface = state.surface if "surface" in parts else None
        looked = self._looked(session, (model, place, surface, wish.relation, pick, 0))
        updates = self._all(session, looked, wish.new_tail if "new_tail" in parts else None, 0)
        updates |= {
            self.model: model,
            self.step: self._step_slider(model, place),
            self.load: self._load_slider(model),
            self.num_edits: gr.update(
                choices=sorted({*NUMBERS_OF_EDITS, wish.num_edits}),  # which may be any number in a link
                value=wish.num_edits,
            ),
            self.seed: wish.edit_seed,
            self.method: wish.method,
            self.settings: {wish.method: dict(state.settings)},
            self.is_asked: state.made,
            self.opened: time.monotonic_ns(),
        }
        if state.made:
            updates[self.progress] = panels.progress_html(0, "the edit of this link is made", 0)
        return updates

    def on_linked_edit(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """The edit of the link that the page was opened with, if it asks for one and could be followed."""
        if not values[-1] or self._session(request).made:
            yield {self.progress: ""}
        else:
            yield from self._edited(request, values[:-1], again=False)

    @_safely
    def on_model(self, request: gr.Request, progress: gr.Progress = _BAR, *values: Any) -> Updates:
        """Another model, which is taught first if it has to be."""
        model, _, surface, *_ = values
        session, place = self._session(request), len(self.shelf.steps(model))
        looked = self._looked(session, (model, place, surface, 0, _UNTOUCHED, 0))
        names = [(self._label(name), name) for name in self.shelf.names]
        return {
            **self._all(session, looked, None, 0),
            self.model: gr.update(choices=names),
            self.step: self._step_slider(model, len(self.shelf.steps(model))),
            self.load: self._load_slider(model),
        }

    @_safely
    def on_load_level(self, request: gr.Request, *values: Any) -> Updates:
        """Another given model of the same structure, which carries more or less."""
        model, *_, place = values
        levels = self.shelf.by_load(model)
        chosen = levels[min(max(0, int(place)), len(levels) - 1)]
        session = self._session(request)
        looked = self._looked(session, (chosen, None, *values[2:5], 0))
        return {
            **self._all(session, looked, None, 0),
            self.model: chosen,
            self.step: self._step_slider(chosen, len(self.shelf.steps(chosen))),
            self.load: self._load_slider(chosen),
        }

    def _step_slider(self, model: str, place: int) -> Any:
        steps = self.shelf.steps(model)
        at = "the end" if place >= len(steps) else f"step {steps[place]}"
        return gr.update(
            visible=bool(steps),
            maximum=max(1, len(steps)),
            value=place,
            label=f"Training: {at}",
            info=f"kept steps: {', '.join(map(str, steps))}, then the end",
        )

    def _load_slider(self, model: str) -> Any:
        levels = self.shelf.by_load(model)
        bits = bits_per_parameter(self.shelf.get(model).checkpoint)
        return gr.update(
            visible=len(levels) > 1,
            maximum=max(1, len(levels) - 1),
            value=levels.index(model),
            label=f"Load: {bits:.3g} bits per parameter",
            info="given models of this structure, from the least to the most",
        )

    @_safely
    def on_look(self, request: gr.Request, *values: Any) -> Updates:
        """The same in other words, of another relation or step, or after another edit."""
        model, place, _, relation, pick, shown, *_ = values
        session = self._session(request)
        before = session.model
        pick = pick if pick.get("relation", relation) == relation else {"edge": 0, "head": pick["head"]}
        looked = self._looked(session, (*values[:4], pick, shown))
        shown = 0 if session.model != before else shown
        updates = self._all(session, looked, values[6], int(shown or 0))
        end = len(self.shelf.steps(model))
        return {**updates, self.step: self._step_slider(model, end if place is None else int(place))}

    @_safely
    def on_click(self, request: gr.Request, event: gr.EventData, *values: Any) -> Updates:
        """Another fact, picked in the picture or in a list."""
        told = event._data or {}
        relation = int(told.get("relation", values[3] or 0))
        pick = {"edge": int(told.get("edge", 0)), "head": int(told.get("head", 0))}
        session = self._session(request)
        looked = self._looked(session, (*values[:3], relation, pick, values[5]))
        return self._all(session, looked, values[6], values[5])

    @_safely
    def on_find(self, request: gr.Request, *values: Any) -> Updates:
        """The subjects whose names hold what is typed."""
        looked = self._looked(self._session(request), values[:6])
        words = looked.words.heads(Edge.SUBJECT_OBJECT, 0)
        heads = looked.words.found(Edge.SUBJECT_OBJECT, 0, str(values[-1])[:60])
        label = f"Subjects found: {len(heads)}" if len(heads) < 50 else "Subjects found: the first 50"
        return {self.found: gr.update(choices=[(words[head], head) for head in heads], value=None, label=label)}

    @_safely
    def on_found(self, request: gr.Request, *values: Any) -> Updates:
        """One of them, picked."""
        session = self._session(request)
        pick = {"edge": 0, "head": int(values[-1] or 0)}
        looked = self._looked(session, (*values[:4], pick, values[5]))
        return self._all(session, looked, values[6], values[5])

    @_safely
    def on_ask(self, request: gr.Request, *values: Any) -> Updates:
        """What the model says after a prompt that was typed."""
        looked = self._looked(self._session(request), values[:6])
        return {self.asked: panels.asked_html(looked, str(values[-1] or ""))}

    @_safely
    def on_undo(self, request: gr.Request, *values: Any) -> Updates:
        """The last edit is gone."""
        session = self._session(request)
        session.undo()
        shown = len(session.made)
        return self._all(session, self._looked(session, (*values[:5], shown)), values[6], shown)

    @_safely
    def on_code(self, request: gr.Request, *values: Any) -> Updates:
        """The link with what is chosen now."""
        session = self._session(request)
        looked = self._looked(session, values[:6])
        return {self.link: self._link_html(self._state(looked, values))}

    def on_stop(self, request: gr.Request) -> Updates:
        """The edit that the session makes ends."""
        is_editing = self._session(request).stop()
        return {self.status: panels.said_html("Stopping." if is_editing else "No edit is being made.")}

    def on_unload(self, request: gr.Request) -> None:
        """The page was closed: its edits are gone."""
        self.sessions.drop(request.session_hash)

    def on_edit(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """The wished edit, with its progress."""
        yield from self._edited(request, values, again=False)

    def on_again(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """The edits that are shown, by the method that is chosen now."""
        yield from self._edited(request, values, again=True)

    def _edited(self, request: gr.Request, values: Sequence[Any], *, again: bool) -> Iterator[Updates]:
        session, told = self.sessions.keep(request.session_hash), ""
        try:
            with session.editing() as stop:
                looked = self._looked(session, values[:6])
                state = self._state(looked, values)
                if again and looked.made is None:
                    raise ValueError("shown must be an edit for the same edits to be made, got none")
                edit_set = looked.made.edit_set if again and looked.made is not None else None
                wish = state.wish
                if again and looked.made is not None:
                    wish = dataclasses.replace(looked.made.wish, method=wish.method)
                method = method_of(wish.method, state.settings, MOST_COUNT)
                shelved = looked.shelved
                made = yield from self._waited(
                    lambda step: make(
                        *(shelved.checkpoint, wish, method),
                        same=edit_set,
                        shared=shelved.shared,
                        step=step,
                        most_seconds=self.most_seconds,
                    ),
                    stop,
                    self.progress,
                )
            of = (looked.place, looked.step)
            if session.add(made, of):
                shown = len(session.made)
                updates = self._all(session, dataclasses.replace(looked, made=made), values[6], shown)
                if session.model == of:
                    yield {self.status: "", **updates, self.progress: ""}
                    return
            told = f"The edit of {self._label(looked.place)} was made, but another model is chosen now: it is gone."
            yield {self.status: panels.said_html(told), self.progress: ""}
            return
        except Exception as error:  # of somebody's settings: the page goes on, and says why
            yield {self.status: _why_not(error, "edit"), self.progress: ""}

    def on_attack(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """The attack on the edit that is shown, with its progress."""
        session = self.sessions.keep(request.session_hash)
        try:
            with session.editing() as stop:
                looked = self._looked(session, values[:6])
                made, attack = looked.made, attack_of(values[-1])
                if made is None:
                    raise ValueError("shown must be an edit for it to be attacked, got none")
                checkpoint = looked.shelved.checkpoint
                tried = yield from self._waited(
                    lambda step: attempt(checkpoint, made, attack, step=step, most_seconds=self.most_seconds),
                    stop,
                    self.attack_progress,
                )
            if session.add_tried(tried):
                yield {self.status: "", self.attack_progress: "", self.attacked: panels.attacks_html(session, looked)}
            else:
                told = "The edit that was attacked is gone by now."
                yield {self.status: panels.said_html(told), self.attack_progress: ""}
        except Exception as error:
            yield {self.status: _why_not(error, "attack"), self.attack_progress: ""}

    def _waited(
        self, work: Callable[[Step], Result], stop: threading.Event, place: gr.HTML
    ) -> Generator[Updates, None, Result]:
        """What the work gives; meanwhile the page says at this place how far it is. Raises: Stopped, and as it does."""
        job = Job(work, stop)
        try:
            while not job.ended.wait(_POLL):
                if stop.is_set():  # what it does now may take long: it is let go of
                    raise Stopped
                yield {self.status: "", place: panels.progress_html(*job.at)}
        finally:
            stop.set()  # nobody looks any more
        return job.result()

    def _state(self, looked: Looked, values: Sequence[Any]) -> State:
        new_tail, num_edits, seed, method, settings = values[6:11]
        fact = looked.fact
        wish = Wish(
            edge=fact.edge.label,
            head=fact.head,
            relation=fact.relation,
            new_tail=int(new_tail or 0),
            num_edits=int(num_edits or 1),
            edit_seed=int(seed or 0),
            method=method,
        )
        if method not in self.methods:
            raise ValueError(f"method must be one of {', '.join(self.methods)}, got {method!r}")
        texts = (settings or {}).get(method, {})
        return State(
            model=looked.place, step=looked.step, surface=looked.words.surface, wish=wish, settings=texts, made=False
        )

    def _all(self, session: Session, looked: Looked, new_tail: int | None, shown: int) -> Updates:
        """Everything that depends on what is looked at."""
        words, fact = looked.words, looked.fact
        world = looked.shelved.checkpoint.corpus.world
        tails = words.tails(fact.edge, fact.relation)
        others = [(word, tail) for tail, word in enumerate(tails) if tail != fact.tail]
        kept = {tail for _, tail in others}
        number_of = range(world.config.num_relations)
        choices = [("before any edit", 0)] + [
            (f"{number}: {made.method.name}, {panels.of_edits(made)}", number)
            for number, made in enumerate(session.made, 1)
        ]
        updates: Updates = {
            self.graph: panels.picture(looked),
            self.surface: gr.update(choices=list(looked.shelved.words), value=words.surface),
            self.relation: gr.update(
                choices=[(words.relation(Edge.SUBJECT_OBJECT, r), r) for r in number_of], value=fact.relation
            ),
            self.found: gr.update(
                choices=[(words.heads(fact.edge, fact.relation)[fact.head], fact.head)], value=fact.head
            )
            if fact.edge is not Edge.OBJECT_NESTED
            else gr.update(choices=[], value=None),
            self.pick: {"edge": int(fact.edge), "head": fact.head, "relation": fact.relation},
            self.says: panels.says_html(looked),
            self.asked: "",
            self.new_tail: gr.update(choices=others, value=new_tail if new_tail in kept else others[0][1]),
            self.shown: gr.update(choices=choices, value=shown if looked.made is not None else 0),
            self.history: panels.history_html(session),
            self.outcome: panels.outcome_html(looked),
            self.broken: panels.broken_json(looked),
            self.attacked: panels.attacks_html(session, looked),
        }
        made = looked.made
        if made is None:
            return (
                updates
                | dict.fromkeys((self.python, self.command, self.row), "")
                | {self.link: panels.said_html("Make an edit, and its code stands here.")}
            )
        place = looked.shelved.checkpoint.name
        state = State(
            model=looked.place,
            step=looked.step,
            surface=words.surface,
            wish=made.wish,
            settings=telling.settings_of(made),
            made=True,
        )
        return updates | {
            self.python: telling.code_of(place, made),
            self.command: telling.command_of(place, state),
            self.row: json.dumps(made.row, indent=1),
            self.link: self._link_html(state),
        }

    @staticmethod
    def _link_html(state: State) -> str:
        query = telling.query_of(state)
        what = "this edit" if state.made else "what is chosen now"
        return f'<div class="bm-html"><p><a href="?{escape(query)}">A link that brings back {what}</a></p></div>'


def launch(playground: Playground, host: str, port: int | None, *, inbrowser: bool = False) -> tuple[gr.Blocks, str]:
    """The page is served at the address that comes back. Nothing is sent elsewhere, and nothing can be uploaded.

    Unless OMP_NUM_THREADS is set, each thread computes by itself from then on: pages and edits come from several, and
    as soon as OpenMP has more helpers for these than there are cores, each step of an edit waits for them to wake.
    """
    set_threads(1)
    page = playground.blocks()
    theme = gr.themes.Default(font=list(FONTS), font_mono=list(MONO_FONTS))
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        inbrowser=inbrowser,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        max_threads=2 * _MOST_EDITING,
        run_history=False,
        max_file_size=1,
        footer_links=[],
        theme=theme,
        css=stylesheet(),
        app_kwargs={"middleware": [Middleware(OnlyThePage)]},
    )
    return page, address
