//! The live view on a terminal: the tree at the bottom, redrawn ten times a second; what tasks log scrolls above it.

use super::plain;
use super::style::Paint;
use super::view::RunView;
use crate::run_event::RunEvent;
use crate::telemetry::PROGRESS;
use chrono::{DateTime, Utc};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two drawings.
const TICK: Duration = Duration::from_millis(100);

/// A view that is drawn until it is dropped.
pub struct Live {
    shared: Arc<Shared>,
    painter: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    woken: Condvar,
    area: ProgressBar,
    terminal: Term,
    paint: Paint,
}

struct State {
    view: RunView,
    /// The first event's time and when it came: so the view needs no wall clock.
    origin: Option<(DateTime<Utc>, Instant)>,
    over: bool,
}

impl State {
    fn now(&self) -> Option<DateTime<Utc>> {
        self.origin.map(|(at, came)| at + came.elapsed())
    }
}

impl Live {
    /// Starts drawing on this terminal.
    pub fn start(view: RunView, terminal: Term, paint: Paint) -> Live {
        let area = ProgressBar::with_draw_target(None, ProgressDrawTarget::term(terminal.clone(), 20));
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            area.set_style(style);
        }
        let state = Mutex::new(State { view, origin: None, over: false });
        let shared = Arc::new(Shared { state, woken: Condvar::new(), area, terminal, paint });
        let painter = shared.clone();
        let painter = std::thread::Builder::new().name("flow-view".into()).spawn(move || painter.draw_until_over());
        // Without the thread there is no view, and the run goes on all the same.
        Live { shared, painter: painter.ok() }
    }

    /// Takes an event in.
    pub fn observe(&self, event: &RunEvent) {
        if matches!(event, RunEvent::Log { logger, .. } if logger == PROGRESS) {
            // The tree has it.
            return;
        }
        if let Some(line) = plain::log(event, 0, self.shared.paint) {
            let (_, columns) = self.shared.terminal.size();
            self.shared.area.println(console::truncate_str(&line, usize::from(columns), "…"));
            return;
        }
        let mut state = self.shared.state.lock();
        if let (None, RunEvent::RunStarted { timestamp, .. }) = (state.origin, event) {
            state.origin = Some((*timestamp, Instant::now()));
        }
        if let Some(now) = state.now() {
            state.view.apply(event, now);
        }
    }

    /// Somebody asked the run to stop.
    pub fn stopping(&self) {
        self.shared.state.lock().view.stop();
    }

    /// A line above the view.
    pub fn say(&self, text: &str) {
        self.shared.area.println(text);
    }
}

impl Shared {
    fn draw_until_over(&self) {
        let mut state = self.state.lock();
        while !state.over {
            if let Some(now) = state.now() {
                let (rows, columns) = self.terminal.size();
                // The last column stays free: some terminals wrap when it is written.
                let lines = state.view.draw(
                    now,
                    usize::from(columns).saturating_sub(1).max(20),
                    usize::from(rows).max(4),
                    self.paint,
                );
                parking_lot::MutexGuard::unlocked(&mut state, || self.area.set_message(lines.join("\n")));
            }
            self.woken.wait_for(&mut state, TICK);
        }
    }
}

impl Drop for Live {
    /// Leaves the terminal as it was; the summary says the rest.
    fn drop(&mut self) {
        self.shared.state.lock().over = true;
        self.shared.woken.notify_all();
        if let Some(painter) = self.painter.take() {
            drop(painter.join());
        }
        self.shared.area.finish_and_clear();
    }
}
