//! Who looks on while a run goes: JSON lines for a program, plain lines for a pipe, the live view for a person.

use super::live::Live;
use super::output::Output;
use super::plain::Plain;
use super::view::RunView;
use crate::run_event::{Observer, RunEvent};
use crate::store::InstanceRow;
use flow_core::Dag;
use std::sync::Arc;

/// One of the three.
pub enum Watch {
    /// One JSON object a line.
    Json(Arc<Output>),
    /// One line an event.
    Plain(Plain, Arc<Output>),
    /// The tree.
    Live(Live),
}

impl Watch {
    /// The one that fits the output; `known` is what a run that goes on has done so far.
    pub fn start(dag: &Dag, out: &Arc<Output>, known: &[InstanceRow]) -> Arc<Watch> {
        Arc::new(if out.json {
            Watch::Json(out.clone())
        } else if out.live {
            let mut view = RunView::new(dag);
            view.seed(known);
            Watch::Live(Live::start(view, out.terminal(), out.paint_err))
        } else {
            Watch::Plain(Plain::new(dag, out.paint), out.clone())
        })
    }

    /// What the engine calls.
    pub fn observer(self: &Arc<Watch>) -> Observer {
        let watch = self.clone();
        Arc::new(move |event: &RunEvent| watch.observe(event))
    }

    fn observe(&self, event: &RunEvent) {
        match self {
            Watch::Json(out) => out.json_line(event),
            Watch::Plain(plain, out) => plain.line(event).into_iter().for_each(|line| out.line(line)),
            Watch::Live(live) => live.observe(event),
        }
    }

    /// Somebody asked the run to stop.
    pub fn stopping(&self) {
        if let Watch::Live(live) = self {
            live.stopping();
        }
    }

    /// A remark that the run itself does not make.
    pub fn say(&self, text: &str) {
        match self {
            Watch::Json(_) => {}
            Watch::Plain(_, out) => out.note(text),
            Watch::Live(live) => live.say(text),
        }
    }
}
