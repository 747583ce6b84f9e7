//! Several processes on one Postgres, killed, stopped and continued: each tick once, each success once, no run twice at a time.

use crate::assets;
use crate::cluster;
use crate::program::{Place, Running};
use crate::rest_but;
use crate::ticks::{Scheduler, runs, soon, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A new database of the cluster; `None` where there is no server.
pub fn database() -> Option<String> {
    made_from("template1")
}

/// A new one that is as this one, which nobody may be working on.
pub fn copy_of(database: &str) -> String {
    made_from(database.rsplit('/').next().unwrap()).expect("there is a server")
}

fn made_from(template: &str) -> Option<String> {
    use sqlx::Connection as _;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut url = url::Url::parse(&cluster::url()?).unwrap();
    let name = format!("flow_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::PgConnection::connect(url.as_str()).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
    url.set_path(&name);
    Some(url.to_string())
}

/// A machine: a home folder of its own, and the common database.
pub fn machine(database: &str) -> Place {
    let place = Place::new().env("FLOW_DATABASE", database).env("FLOW_LEASE", "2s");
    place.write("flow.toml", "[pools]\napi = 2\n");
    place
}

/// Longer than a lease.
const TOO_LONG: Duration = Duration::from_millis(2600);

/// A number below this; another one each time.
pub fn chance(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

/// How many of these runs were active at the same time, at most.
pub fn most_at_once(runs: &[Value]) -> usize {
    let at = |run: &Value| text(run, "start_date").to_string();
    let active = |run: &Value, then: &str| text(run, "start_date") <= then && then < text(run, "end_date");
    runs.iter().map(|one| runs.iter().filter(|run| active(run, &at(one))).count()).max().unwrap_or(0)
}

/// Every task of the run has had one success.
#[track_caller]
fn won_once(place: &Place, dag: &str, run: &Value) {
    let tasks = place.json(&["tasks", text(run, "dag_run_id"), "--dag", dag]);
    for task in tasks.as_array().unwrap() {
        let tries = task["tries"].as_array().unwrap();
        let won = tries.iter().filter(|one| one["state"] == "success").count();
        assert_eq!(won, 1, "{run:#} {task:#}");
    }
}

#[test]
fn schedulers_that_are_killed_and_stopped_run_every_tick_once() {
    let Some(database) = database() else { return };
    let machines = [machine(&database), machine(&database)];
    let one = &machines[0];
    rest_but(one, &["twenty_seconds", "once"]);
    let mut schedulers = machines.each_ref().map(Scheduler::start);
    let mut done = Vec::new();
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(200 + chance(600)));
        let victim = usize::from(chance(2) == 0);
        if chance(2) == 0 {
            done.push(format!("{victim} killed"));
            let next = Scheduler::start(&machines[victim]);
            assert_eq!(std::mem::replace(&mut schedulers[victim], next).end("KILL").1, None);
        } else {
            let long = chance(2) == 0;
            done.push(format!("{victim} stopped, longer than a lease: {long}"));
            assert!(schedulers[victim].signal("STOP"));
            std::thread::sleep(if long { TOO_LONG } else { Duration::from_millis(chance(900)) });
            assert!(schedulers[victim].signal("CONT"));
        }
        let open = one.json(&["runs", "twenty_seconds", "--limit", "0", "--state", "running", "--state", "queued"]);
        assert!(open.as_array().unwrap().len() <= 3, "{done:?}: {open:#}");
    }
    let all = || runs(one, "twenty_seconds");
    soon(&format!("all ticks are run after {done:?}"), || {
        all().len() == 21 && all().iter().all(|run| run["state"] == "success")
    });
    soon("and the one run", || runs(one, "once").iter().all(|run| run["state"] == "success"));
    for scheduler in schedulers {
        let (events, code) = scheduler.end("INT");
        assert!(code == Some(0) && !format!("{events:?}").contains(cluster::PASSWORD), "{done:?}: {events:#?}");
    }
    let all = all();
    let dates: BTreeSet<&str> = all.iter().map(|run| text(run, "logical_date")).collect();
    assert_eq!((dates.len(), runs(one, "once").len()), (21, 1), "{done:?}");
    assert!(most_at_once(&all) <= 3, "{done:?}: {all:#?}");
    assert!(all.iter().all(|run| run["held_by"].is_null()), "what has ended is held by nobody");
    all.iter().for_each(|run| won_once(one, "twenty_seconds", run));
}

/// Number 13: it is stopped in the middle of its runs, the other one takes them over when its leases have ended, and it goes on.
#[test]
fn a_scheduler_that_is_stopped_too_long_ends_nothing_once_more() {
    let Some(database) = database() else { return };
    let machines = [machine(&database), machine(&database)];
    let [one, two] = &machines;
    rest_but(one, &["twenty_seconds"]);
    let stopped = Scheduler::start(one);
    let all = || runs(two, "twenty_seconds");
    let mut under_way: Vec<Value> = Vec::new();
    soon("it is stopped at work", || {
        assert!(stopped.signal("STOP"));
        under_way = all();
        let has_some = under_way.iter().any(|run| run["state"] == "success");
        under_way.retain(|run| run["state"] == "running");
        let is_at_work = has_some && !under_way.is_empty();
        is_at_work || !stopped.signal("CONT")
    });
    let other = Scheduler::start(two);
    soon("all ticks are run", || all().len() == 21 && all().iter().all(|run| run["state"] == "success"));
    let tasks = || all().iter().map(|run| two.json(&["tasks", text(run, "dag_run_id")])).collect::<Vec<_>>();
    let before = (all(), tasks());
    assert!(stopped.signal("CONT"));
    let (by_other, code) = other.end("INT");
    assert_eq!(code, Some(0));
    // It works on: there is nobody else.
    one.ok(&["unpause", "once"]);
    soon("it goes on", || runs(two, "once").iter().any(|run| run["state"] == "success"));
    let (by_stopped, code) = stopped.end("INT");
    assert_eq!(code, Some(0), "{by_stopped:#?}");

    assert_eq!((all(), tasks()), before, "it has changed nothing");
    before.0.iter().for_each(|run| won_once(one, "twenty_seconds", run));
    let ends = |events: &[Value], run: &Value| {
        let is_end = |event: &&Value| event["event"] == "run_ended" && event["state"] == "success";
        events.iter().filter(is_end).filter(|event| event["dag_run_id"] == run["dag_run_id"]).count()
    };
    for run in &under_way {
        assert_eq!((ends(&by_stopped, run), ends(&by_other, run)), (0, 1), "{run:#}");
    }
}

#[test]
fn two_schedulers_make_one_chain_of_runs() {
    let Some(database) = database() else { return };
    let machines = [machine(&database), machine(&database)];
    let one = &machines[0];
    rest_but(one, &["twenty_seconds", "again_and_again"]);
    let schedulers = machines.each_ref().map(Scheduler::start);
    let all = || runs(one, "again_and_again");
    soon("some have run", || all().len() > 8 && runs(one, "twenty_seconds").len() == 21);
    one.ok(&["pause", "again_and_again"]);
    soon("all have ended", || {
        let ended = |dag| runs(one, dag).iter().all(|run| run["state"] == "success");
        ended("again_and_again") && ended("twenty_seconds")
    });
    let mut told = Vec::new();
    for scheduler in schedulers {
        let (events, code) = scheduler.end("INT");
        assert_eq!(code, Some(0));
        told.push(events);
    }
    let began = |events: &[Value]| events.iter().filter(|event| event["event"] == "run_started").count();
    assert_eq!(told.iter().map(|events| began(events)).sum::<usize>(), all().len() + 21, "each was run by one of them");
    let all = all();
    assert_eq!((most_at_once(&all), most_at_once(&runs(one, "twenty_seconds")) <= 3), (1, true));
    for two in all.windows(2) {
        assert_eq!(two[0]["data_interval_end"], two[1]["data_interval_start"], "each goes on where the last one ended");
    }
}

#[test]
fn a_backfill_is_worked_on_by_one_scheduler_and_by_the_other_when_that_is_killed() {
    let Some(database) = database() else { return };
    let machines = [machine(&database), machine(&database)];
    let one = &machines[0];
    rest_but(one, &["days"]);
    machines.iter().for_each(|place| place.write("there", ""));
    one.ok(&["backfill", "days", "--from", "2025-01-01", "--to", "2025-01-31", "--max-active-runs", "2", "--detach"]);
    let mut schedulers = machines.each_ref().map(Scheduler::start);
    let of_backfill = || {
        let mut all = runs(one, "days");
        all.retain(|run| run["run_type"] == "backfill");
        all
    };
    for victim in [0, 1, 0] {
        let before = of_backfill().len();
        soon("some more are made", || of_backfill().len() > before || of_backfill().len() == 31);
        let dead = std::mem::replace(&mut schedulers[victim], Scheduler::start(&machines[victim]));
        assert_eq!(dead.end("KILL").1, None);
    }
    soon("it is done", || one.json(&["backfill", "list"])[0]["state"] == "done");
    for scheduler in schedulers {
        assert_eq!(scheduler.end("INT").1, Some(0));
    }
    let runs = of_backfill();
    let dates: BTreeSet<&str> = runs.iter().map(|run| text(run, "logical_date")).collect();
    assert_eq!((runs.len(), dates.len()), (31, 31), "each date once");
    assert!(most_at_once(&runs) <= 2, "{runs:#?}");
}

#[test]
fn a_database_that_is_killed_and_comes_back_has_lost_nothing() {
    let Some(mut cluster) = cluster::Cluster::own() else { return };
    let place = machine(&cluster.url());
    rest_but(&place, &["twenty_seconds"]);
    let scheduler = Scheduler::start(&place);
    // While nobody answers, a command says so.
    let ended = || {
        let answer = place.dags(&["runs", "twenty_seconds", "--limit", "0", "--state", "success", "--json"]);
        serde_json::from_str(&answer.out).map_or(0, |runs: Vec<Value>| runs.len())
    };
    for (before, away) in [(2, 0.3), (6, 1.0), (10, 4.0)] {
        soon("some have run", || ended() >= before);
        cluster.restart(away);
        std::thread::sleep(Duration::from_secs_f64(away));
    }
    soon("all ticks are run", || ended() == 21);
    let (events, code) = scheduler.end("INT");
    assert_eq!(code, Some(0), "{events:#?}");
    let all = runs(&place, "twenty_seconds");
    let dates: BTreeSet<&str> = all.iter().map(|run| text(run, "logical_date")).collect();
    assert_eq!((all.len(), dates.len()), (21, 21), "each of them once");
    all.iter().for_each(|run| won_once(&place, "twenty_seconds", run));
}

#[test]
fn every_event_of_an_asset_starts_one_run_whichever_scheduler_makes_it() {
    let Some(database) = database() else { return };
    let machines = [machine(&database), machine(&database)];
    let one = &machines[0];
    rest_but(one, &["parts", "wholes", "pairs"]);
    let mut schedulers = machines.each_ref().map(Scheduler::start);
    let mut done = Vec::new();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(200 + chance(500)));
        let victim = usize::from(chance(2) == 0);
        if chance(2) == 0 {
            done.push(format!("{victim} killed"));
            let next = Scheduler::start(&machines[victim]);
            assert_eq!(std::mem::replace(&mut schedulers[victim], next).end("KILL").1, None);
        } else {
            done.push(format!("{victim} stopped"));
            assert!(schedulers[victim].signal("STOP"));
            std::thread::sleep(TOO_LONG);
            assert!(schedulers[victim].signal("CONT"));
        }
    }
    soon(&format!("all parts are made and used after {done:?}"), || assets::is_settled(one));
    for scheduler in schedulers {
        assert_eq!(scheduler.end("INT").1, Some(0), "{done:?}");
    }
    let parts = assets::events(one, "parts");
    assert_eq!(parts.len(), 15, "{done:?}");
    assert_eq!(assets::counted(one, "wholes"), parts.iter().map(|id| (*id, 1)).collect(), "{done:?}");
    assert!(assets::counted(one, "pairs").values().all(|count| *count == 1), "{done:?}");
}

/// A run in the foreground, inside its first task.
fn inside(place: &Place) -> Running {
    let mut running = place.start(&["run", "with_url", "--run-id", "mine"]);
    running.until("slowly", "running");
    running
}

#[test]
fn a_run_whose_process_was_killed_goes_on_elsewhere_when_its_lease_has_ended() {
    let Some(database) = database() else { return };
    let (here, there) = (machine(&database), machine(&database));
    let running = inside(&here);
    let pid = running.child.id().to_string();
    let shown = there.json(&["runs"]);
    assert!(text(&shown[0], "held_by").ends_with(&format!("process {pid}")), "{shown:#}");
    assert_eq!(shown[0]["interrupted"], false);
    running.kill();
    let refused = there.dags(&["run", "--resume", "mine"]);
    assert!(refused.code == Some(2) && refused.err.contains("is being worked on"), "{refused:?}");
    assert!(
        refused.err.contains(&format!("process {pid}")) && refused.err.contains("its lease ends at"),
        "{refused:?}"
    );
    soon("its lease ends", || there.json(&["runs", "--state", "interrupted"]).as_array().unwrap().len() == 1);
    assert!(there.ok(&["tasks", "mine"]).contains("interrupted"));
    let why = there.json(&["why", "mine"]);
    assert_eq!(
        text(&why[0], "why"),
        "waits for a scheduler: one that runs goes on with it at its next look (whether one runs cannot be seen on Postgres)"
    );
    assert_eq!(why[0]["reason"], json!({"reason": "unattended", "scheduler": null}));
    there.ok(&["run", "--resume", "mine"]);
    let tasks = there.json(&["tasks", "mine"]);
    assert_eq!((&tasks[0]["try_number"], &tasks[0]["tries"][0]["state"]), (&json!(2), &json!("up_for_retry")));
    won_once(&there, "with_url", &runs(&there, "with_url")[0]);
}

#[test]
fn why_says_that_a_scheduler_cannot_be_seen() {
    let Some(database) = database() else { return };
    let there = machine(&database);
    let why = there.ok(&["why", "twenty_seconds"]);
    assert!(
        why.ends_with("\ntwenty_seconds has its runs made by a scheduler that runs (whether one runs cannot be seen on Postgres)\n"),
        "{why}"
    );
    assert!(!there.ok(&["why", "once"]).contains("no scheduler works"));
}

#[test]
fn why_says_who_has_the_lease_of_a_backfill() {
    let Some(database) = database() else { return };
    let (here, there) = (machine(&database), machine(&database));
    rest_but(&here, &["filled_up"]);
    let minute = ["--from", "2020-01-01T00:00:00", "--to", "2020-01-01T00:00:59", "--max-active-runs", "1"];
    here.ok(&[&["backfill", "filled_up", "--detach"], &minute[..]].concat());
    let nobody = "filled_up has 60 dates left of backfill 1: nobody works on it; a scheduler that runs does from its next look on";
    assert!(there.ok(&["why", "filled_up"]).contains(nobody));
    let scheduler = Scheduler::start(&here);
    let works = format!("process {} works on it\n", scheduler.process());
    soon("its lease is seen", || there.ok(&["why", "filled_up"]).contains(&works));
    assert_eq!(scheduler.end("KILL").1, None);
    soon("its lease ends", || there.ok(&["why", "filled_up"]).contains(nobody));
}

#[test]
fn a_process_that_was_stopped_too_long_changes_nothing_more() {
    let Some(database) = database() else { return };
    let (here, there) = (machine(&database), machine(&database));
    let running = inside(&here);
    running.signal("STOP");
    soon("its lease ends", || there.json(&["runs", "--state", "interrupted"]).as_array().unwrap().len() == 1);
    there.ok(&["run", "--resume", "mine"]);
    let before = there.json(&["tasks", "mine"]);
    running.signal("CONT");
    let (events, code) = running.end();
    assert_eq!(code, Some(4), "{events:#?}");
    assert!(!events.iter().any(|event| event["event"] == "run_ended"), "{events:#?}");
    assert_eq!(there.json(&["tasks", "mine"]), before);
    assert_eq!(there.json(&["runs"])[0]["state"], "success");
}

#[test]
fn the_commands_work_without_the_home_folder_of_another_machine() {
    let Some(database) = database() else { return };
    let (here, there) = (machine(&database), machine(&database));
    let empty = there.json(&["db", "check"]);
    assert_eq!((&empty["schema"], &empty["is_current"]), (&json!(0), &json!(false)));
    here.ok(&["run", "with_url", "--run-id", "mine"]);
    assert!(!here.home().join("flow.db").exists() && !here.home().join("locks").exists());
    assert_eq!(there.json(&["xcom", "mine", "slowly"])["value"], "nowhere");
    assert_eq!(there.json(&["db", "check"])["is_current"], true);
    let check = there.dags(&["check"]).out;
    assert!(
        check.contains("database: postgres://flow:***@127.0.0.1:") && check.contains("which is current"),
        "{check}"
    );
    there.ok(&["clear", "mine", "--yes"]);
    here.ok(&["run", "--resume", "mine"]);
    assert!(there.ok(&["db", "migrate"]).contains("nothing to do"));
    let backup = there.dags(&["db", "backup", "copy.db"]);
    assert!(backup.code == Some(2) && backup.err.contains("pg_dump"), "{backup:?}");
    there.ok(&["clean", "--before", "2999-01-01"]);
    assert_eq!(here.json(&["runs"]), json!([]));

    let away = machine(&database.replace("127.0.0.1:", "127.0.0.1:1"));
    for command in [&["runs"][..], &["check"], &["db", "check"], &["run", "prints"]] {
        let answer = away.dags(command);
        let said = answer.out + &answer.err;
        assert!(matches!(answer.code, Some(2 | 4)) && !said.contains(cluster::PASSWORD), "{command:?}: {said}");
        assert!(said.contains("metadata database") || said.contains("cannot be read"), "{command:?}: {said}");
    }
}

/// Every write of a row, and every new run, may fail as those of a busy server do: one in twenty. And what is written is looked
/// at by the database itself.
const UNKIND: &str = "
    CREATE SEQUENCE refused;
    CREATE FUNCTION be_unkind() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE codes text[] := ARRAY['40001', '40P01', '57014', '53300', '55P03'];
    BEGIN
        IF random() < 0.05 THEN
            -- A sequence is not rolled back.
            PERFORM nextval('refused');
            RAISE EXCEPTION 'the database is out of sorts' USING ERRCODE = codes[1 + floor(random() * 5)::int];
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER be_unkind BEFORE INSERT OR UPDATE ON task_instance FOR EACH STATEMENT EXECUTE FUNCTION be_unkind();
    CREATE TRIGGER be_unkind BEFORE INSERT OR UPDATE ON dag_run FOR EACH STATEMENT EXECUTE FUNCTION be_unkind();
    CREATE FUNCTION be_lawful() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.state IN ('success', 'failed', 'skipped', 'upstream_failed') AND NEW.state <> OLD.state
            OR NEW.try_number NOT BETWEEN OLD.try_number AND OLD.try_number + 1
            OR NEW.state = 'queued' AND OLD.state = 'running' AND NEW.try_number = OLD.try_number
        THEN
            INSERT INTO unlawful VALUES (format('%s[%s] went from %s (%s) to %s (%s)', OLD.task_id, OLD.map_index, OLD.state,
                OLD.try_number, NEW.state, NEW.try_number));
        END IF;
        RETURN NULL;
    END $$;
    CREATE TABLE unlawful (what text);
    CREATE TRIGGER be_lawful AFTER UPDATE ON task_instance FOR EACH ROW EXECUTE FUNCTION be_lawful();
";

/// Asks the database itself.
fn sql(database: &str, text: &'static str) -> Vec<String> {
    use sqlx::{Connection as _, Row as _};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::PgConnection::connect(database).await.unwrap();
        let rows = sqlx::raw_sql(text).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| row.try_get::<String, _>(0).unwrap()).collect()
    })
}

#[test]
fn a_database_that_refuses_one_write_in_twenty_loses_and_doubles_nothing() {
    let Some(database) = database() else { return };
    let machines = [machine(&database), machine(&database)];
    let one = &machines[0];
    rest_but(one, &["twenty_seconds", "crash_points"]);
    sql(&database, UNKIND);
    let schedulers = machines.each_ref().map(Scheduler::start);
    let ended = |dag, count| {
        let all = runs(one, dag);
        all.len() == count && all.iter().all(|run| run["state"] == "success")
    };
    soon("all ticks are run", || ended("twenty_seconds", 21) && ended("crash_points", 2));
    for scheduler in schedulers {
        assert_eq!(scheduler.end("INT").1, Some(0));
    }
    let refused: u32 = sql(&database, "SELECT last_value::text FROM refused")[0].parse().unwrap();
    assert!(refused > 5, "only {refused} writes were refused");
    assert_eq!(sql(&database, "SELECT what FROM unlawful"), Vec::<String>::new());
    for dag in ["twenty_seconds", "crash_points"] {
        let all = runs(one, dag);
        let dates: BTreeSet<&str> = all.iter().map(|run| text(run, "logical_date")).collect();
        assert_eq!(dates.len(), all.len());
        all.iter().for_each(|run| won_once(one, dag, run));
    }
    // Who looks would have seen it.
    sql(&database, "DROP TRIGGER be_unkind ON task_instance; UPDATE task_instance SET state = 'running'");
    assert!(!sql(&database, "SELECT what FROM unlawful").is_empty());
}

/// The databases of the cluster that `bench` has made, or the tables in this one.
fn left_behind(url: &str, sql: &'static str) -> i64 {
    use sqlx::Connection as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    })
}

#[test]
fn what_is_measured_is_in_a_database_of_its_own_which_is_dropped() {
    let Some(database) = database() else { return };
    let place = Place::new();
    let shape = place.dags(&["bench", "chain:5", "--database", &database]);
    assert!(shape.code == Some(2) && shape.err.contains("write `bench due:1000`"), "{shape:?}");
    let wrong = database.replace(cluster::PASSWORD, "not-this-one");
    let wrong = place.dags(&["bench", "due:3", "--database", &wrong]);
    assert!(wrong.code == Some(4) && wrong.err.contains("check user and password"), "{wrong:?}");
    assert!(!wrong.err.contains("not-this-one"), "{wrong:?}");
    let databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'flow_bench%'";
    let interrupted = place.start(&["bench", "due:3", "--database", &database]);
    soon("it is made", || left_behind(&database, databases) == 1);
    interrupted.signal("INT");
    assert_eq!((interrupted.end().1, left_behind(&database, databases)), (Some(4), 0));
    let measured = place.json(&["bench", "due:3", "--database", &database]);
    assert_eq!((measured["store"].as_str(), measured["dags"].as_i64()), (Some("postgres"), Some(3)));
    for what in ["all_made", "all_ended", "start_p50", "start_p99", "link_p50", "link_p99"] {
        assert!(measured[what].as_f64().is_some_and(|seconds| seconds > 0.0), "{what}: {measured:#}");
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!((left_behind(&database, databases), left_behind(&database, tables)), (0, 0));
}
