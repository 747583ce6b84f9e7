//! What every [`MetadataStore`] must do, as tests that any store can run:
//!
//! ```ignore
//! // An empty store, and what must outlive it (a folder, a server); `None` where it cannot be had.
//! async fn fresh() -> Option<(MyStore, impl Sized)> { .. }
//! flow_runtime::store_conformance!(my_store, fresh());
//! ```
//!
//! Each behaviour is a public function here and becomes one `#[tokio::test]`. They panic when a store misbehaves.

mod assets;
mod backfills;
mod cache;
mod commits;
mod concurrent;
mod leases;
mod moves;
mod owed;
mod runs;
mod slots;

pub use assets::*;
pub use backfills::*;
pub use cache::*;
pub use commits::*;
pub use concurrent::*;
pub use leases::*;
pub use moves::*;
pub use owed::*;
pub use runs::*;
pub use slots::*;

use super::{
    Cause, CauseKind, Epoch, InstanceRow, InstanceWrite, MetadataStore, RETURN_VALUE, RunCommit, RunPk, XComValue,
    XComWrite,
};
use chrono::{DateTime, Utc};
use flow_core::event::Length;
use flow_core::{Dag, DagRun, Report, RunStatus, RunType, TaskDef, TaskState};
use std::sync::Arc;

/// Makes a module `$name` with one test for each behaviour. `$make` is evaluated anew for each: a future of an empty
/// store and of a value that is dropped after the test, as `Some((store, value))`; or of `None`, and the test is skipped, where
/// it cannot be had. The calling crate needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $make:expr) => {
        mod $name {
            use super::*;
            $crate::store_conformance! { @tests $make;
                a_dag_is_kept_once
                an_unknown_dag_version_is_an_error
                every_field_of_a_backfill_comes_back
                a_backfill_changes_its_state_once
                a_backfill_has_one_owner_at_a_time
                a_run_is_made_for_a_backfill_by_its_owner_alone
                builds_of_a_version_are_kept_since_they_were_first_seen
                every_field_of_a_run_comes_back
                dates_of_any_century_come_back
                what_is_finer_than_a_microsecond_is_cut
                a_run_id_is_unique_in_its_dag
                a_logical_date_is_unique_in_its_dag
                a_run_needs_its_dag
                runs_come_newest_first
                runs_are_filtered
                the_run_before_is_the_one_about_the_latest_earlier_instant
                a_dag_is_paused_and_goes_on
                a_dag_that_keeps_failing_is_paused_by_the_last_failure
                a_run_is_deleted_with_all_of_it
                an_unknown_run_is_empty
                a_takeover_raises_the_epoch
                every_field_of_an_instance_comes_back
                every_state_comes_back
                instances_are_sorted
                the_status_moves_the_dates
                how_a_run_is_ended_is_kept_with_its_state
                no_instance_moves_where_it_cannot_come_by_itself
                no_run_moves_where_it_cannot_come_by_itself
                an_illegal_move_refuses_all_of_its_call_and_nothing_else
                an_old_epoch_changes_nothing
                one_old_epoch_refuses_all_runs
                one_unknown_run_refuses_all_runs
                a_try_is_archived
                a_try_is_archived_once
                tries_are_sorted
                xcoms_come_back_and_are_replaced
                commits_of_one_run_are_applied_in_order
                an_empty_commit_is_nothing
                a_step_is_kept_once_and_only_of_a_try_that_runs
                steps_are_forgotten
                an_event_happens_once
                an_asset_event_is_kept_once_and_outlives_its_run
                a_callback_is_owed_once
                a_callback_is_taken_by_one_and_settled_once
                what_comes_is_pending_for_whoever_waits
                a_run_that_is_made_again_tells_of_its_assets_again
                a_run_takes_all_that_is_pending
                many_take_what_is_pending_and_one_gets_it
                a_run_for_assets_is_made_on_the_other_terms_as_well
                the_latest_events_of_assets
                old_asset_events_that_nobody_needs_are_forgotten
                an_order_stays_until_it_is_settled
                an_output_is_kept_for_later_runs
                of_one_key_the_last_output_counts
                old_outputs_are_forgotten
                ten_thousand_rows_at_once
                eight_tasks_commit_at_the_same_time
                a_fenced_commit_does_not_spoil_the_others
                takeovers_at_the_same_time_differ
                a_dropped_commit_is_whole_or_nothing
                a_reader_never_sees_half_a_commit
                a_held_run_is_refused_and_a_released_one_is_free
                a_lease_that_has_ended_is_anybodys
                leases_are_renewed_together
                a_stale_holder_changes_nothing
                of_many_takers_one_wins
                a_run_is_born_held_or_free
                a_dag_has_no_more_unfinished_runs_than_it_may
                of_many_makers_no_more_than_may_be
                a_run_follows_the_latest_that_was_read
                a_limit_is_shared_by_all_processes
                who_was_refused_before_is_first
                backfills_wait_behind_live_runs
                starts_in_a_span_are_counted_for_all
                a_clock_that_is_set_back_delays_no_start_longer_than_its_span
                of_many_claims_no_more_start_than_may
                of_many_claims_no_more_go_than_may
            }
        }
    };
    (@tests $make:expr; $($behaviour:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let Some((store, _guard)) = $make.await else { return };
                $crate::store::conformance::$behaviour(::std::sync::Arc::new(store)).await;
            }
        )*
    };
}

/// What the behaviours take.
type Store = Arc<dyn MetadataStore>;

/// An instant so many microseconds after 2026-01-31 09:30:00 UTC.
fn at(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_769_851_800_000_000 + micros).expect("in range")
}

fn dag(dag_id: &str) -> Dag {
    let mut dag = Dag::new(dag_id);
    dag.doc = Some("Lädt die Daten. 読み込む 🚕\nsecond \"line\"".into());
    dag.tasks.push(TaskDef::new("download", "dags::taxi::download"));
    dag
}

fn dag_run(dag_id: &str, run_id: &str) -> DagRun {
    DagRun {
        dag_id: dag_id.into(),
        run_id: run_id.into(),
        run_type: RunType::Manual,
        state: RunStatus::Queued,
        logical_date: None,
        data_interval: None,
        run_after: at(0),
        start_date: None,
        end_date: None,
        conf: serde_json::Map::new(),
    }
}

/// A new run of the DAG `taxi`.
async fn begin(store: &Store, run_id: &str) -> (RunPk, Epoch) {
    let version = store.put_dag(&dag("taxi")).await.expect("put_dag");
    store.create_run(&dag_run("taxi", run_id), &version, "me").await.expect("create_run")
}

/// A row with nothing but its name, state and try number.
fn plain(task_id: &str, map_index: i32, state: TaskState, try_number: u32) -> InstanceRow {
    InstanceRow {
        task_id: task_id.into(),
        map_index,
        state,
        try_number,
        max_tries: 0,
        due: None,
        start_date: None,
        end_date: None,
        cause: None,
        report: Report::default(),
        label: None,
        event: None,
    }
}

/// A row with something in every field.
fn full(task_id: &str, map_index: i32, try_number: u32) -> InstanceRow {
    InstanceRow {
        max_tries: u32::MAX,
        due: Some(at(1)),
        start_date: Some(at(-86_400_000_001)),
        end_date: Some(at(999_999)),
        cause: Some(Cause {
            kind: CauseKind::Panic,
            message: "Größe \"7\" \\ \u{1F4A5}\r\n\tat 'x'; DROP TABLE xcom; -- \u{7f}".into(),
            place: Some("src/ä.rs:7".into()),
        }),
        label: Some("monat=\"März\" 🚕".into()),
        event: Some("bestätigt 🚕 \"1\"".into()),
        report: Report {
            lengths: vec![Length { field: None, len: u32::MAX }, Length { field: Some(3), len: 0 }],
            declined: vec![0, u32::MAX],
        },
        ..plain(task_id, map_index, TaskState::Failed, try_number)
    }
}

fn write(row: InstanceRow) -> InstanceWrite {
    InstanceWrite { row, archive: false }
}

fn archive(row: InstanceRow) -> InstanceWrite {
    InstanceWrite { row, archive: true }
}

fn xcom(task_id: &str, map_index: i32, json: &str) -> XComWrite {
    XComWrite {
        task_id: task_id.into(),
        map_index,
        key: RETURN_VALUE.into(),
        value: XComValue {
            type_name: "Vec<String>".into(),
            size: json.len() as u64,
            sha256: "0f".into(),
            inline: Some(json.into()),
        },
        timestamp: at(5),
    }
}

/// A commit that changes nothing yet.
fn commit((run, epoch): (RunPk, Epoch)) -> RunCommit {
    RunCommit::new(run, epoch)
}

/// The same commit, as a person's order.
fn ordered(commit: RunCommit) -> RunCommit {
    RunCommit { is_order: true, ..commit }
}

/// A commit of these rows.
fn rows(held: (RunPk, Epoch), instances: impl IntoIterator<Item = InstanceWrite>) -> RunCommit {
    RunCommit { instances: instances.into_iter().collect(), ..commit(held) }
}
