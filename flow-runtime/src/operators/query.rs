//! SQL, as a task.

use crate::builder::{Arg, Input, Node, Param};
use crate::context::Context;
use crate::error::Result;
use crate::secret::Secret;
use crate::task;
use anyhow::bail;
use flow_data::Answer;
use serde::Deserialize;
use std::panic::Location;

/// Where a database is: `postgres://user:password@host/name`, `sqlite://path` (in the home folder unless absolute),
/// `bigquery://project/dataset`, or the name of a [connection](crate::connection): `conn:warehouse`. In a DAG a text serves for it, a param that is a
/// `String` or a `Secret<String>`, or a task that gives a text. It is never stored, logged or printed.
#[derive(Debug, Clone, Deserialize)]
pub struct Connection(Secret<String>);

impl Connection {
    /// To this database.
    pub fn new(url: impl Into<String>) -> Connection {
        Connection(Secret::new(url.into()))
    }

    /// The URL itself.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

macro_rules! serves {
    ($($given:ty => |$it:ident, $at:ident| $input:expr;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<How> Arg<Connection, How> for $given {
            fn input(self, $at: &'static Location<'static>) -> Input {
                let $it = self;
                $input
            }
        }
    )*};
}

serves! {
    &str => |text, _at| Input::literal(text);
    String => |text, _at| Input::literal(text);
    Param<String> => |param, at| Input::param(param, at);
    Param<Secret<String>> => |param, at| Input::param(param, at);
    Node<String> => |node, at| Input::node(node, false, at);
}

/// Runs one statement, or several with `;` between, in one transaction. The rows of the last one are the value; there may be
/// 10,000 of them, and 16 MiB.
///
/// A text that comes from elsewhere has no place inside a statement; write a task of your own, and bind it.
///
/// # Errors
/// The database refuses (no retry follows on what none would mend: wrong SQL, a broken constraint) or cannot be reached;
/// too many rows.
#[task]
pub async fn sql(ctx: &Context, connection: Connection, statement: String) -> Result<Answer> {
    let database = ctx.place(connection.expose())?.warehouse()?;
    tokio::select! {
        answer = database.execute(&statement) => Ok(answer?),
        () = ctx.cancel().cancelled() => bail!("the statement was told to end; what it did is taken back, but in BigQuery"),
    }
}
