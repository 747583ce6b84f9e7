//! Hearing at once of what others have done: LISTEN, where the server's connections are one's own. Behind a pooler that hands them out
//! by the transaction nothing is heard.

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use std::time::Duration;
use tokio::sync::watch;

/// What the functions of the schema notify.
const CHANNEL: &str = "flow_runs";

/// The wait after a connection that could not be had.
const AGAIN: Duration = Duration::from_secs(5);

/// Listens until nobody hears any more, on a connection of its own.
pub(super) fn listen(options: PgConnectOptions) -> watch::Receiver<()> {
    let (sender, receiver) = watch::channel(());
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = pass_on(options, &sender) => {}
        }
    });
    receiver
}

async fn pass_on(options: PgConnectOptions, sender: &watch::Sender<()>) {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    loop {
        // What is missed meanwhile is found by whoever looks for himself: an error needs no words.
        if let Ok(mut listener) = PgListener::connect_with(&pool).await
            && listener.listen(CHANNEL).await.is_ok()
        {
            while listener.recv().await.is_ok() {
                sender.send_replace(());
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
