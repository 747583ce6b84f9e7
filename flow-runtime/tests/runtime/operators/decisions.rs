//! Tasks that decide whether others run.

use flow_runtime::operators::{self, Weekday};
use flow_runtime::prelude::*;

#[task]
fn works(ctx: &Context) -> String {
    ctx.logical_date().unwrap_or_else(|| ctx.now()).format("%m-%d").to_string()
}

#[dag]
fn by_date() {
    let day = operators::day_of_week("Europe/Berlin");
    works().id("on_monday").when(day, Weekday::Monday);
    works().id("on_sunday").when(day, Weekday::Sunday);
    works().id("at_the_weekend").when(operators::is_weekend("UTC"), true);
    works().id("at_night").when(operators::is_time_between("22:00", "06:00", "UTC"), true);
    works().id("in_the_morning").when(operators::is_time_between("06:00", "12:00", "UTC").id("is_morning"), true);
    works().id("in_march").when(operators::is_between("2026-03-01", "2026-04-01"), true);
}

#[test]
fn a_date_decides_by_a_typed_value() {
    // Sunday evening in London, and Monday in Berlin.
    let run = by_date::test().logical_date("2026-03-01T23:30").run_blocking().succeeded();
    assert_eq!(run.value::<Weekday>("day_of_week"), Weekday::Monday);
    for (task, state) in [
        ("on_monday", "success"),
        ("on_sunday", "skipped"),
        ("at_the_weekend", "success"),
        ("at_night", "success"),
        ("in_the_morning", "skipped"),
        ("in_march", "success"),
    ] {
        assert_eq!(run.state(task).name(), state, "{task}");
    }
    // The second instant is not in.
    let run = by_date::test().logical_date("2026-04-01").run_blocking().succeeded();
    assert_eq!(run.state("in_march").name(), "skipped");
}

#[dag(schedule = "@daily", start_date = "2026-03-01", catchup = true)]
fn daily() {
    operators::latest_only() >> works();
}

#[test]
fn of_a_schedule_that_catches_up_only_the_latest_goes_on() {
    let three = daily::test().scheduled_blocking("2026-03-03T12:00", "2026-03-05T12:00").succeeded();
    let days: Vec<String> = three.logical_dates().iter().map(|date| date.format("%m-%d").to_string()).collect();
    assert_eq!(days, ["03-01", "03-02", "03-03", "03-04", "03-05"]);
    assert_eq!(three.values::<String>("works"), ["03-03", "03-04", "03-05"]);
    // Asked for by a person, whatever it is about.
    let run = daily::test().logical_date("2020-01-01").run_blocking().succeeded();
    assert_eq!(run.state("works").name(), "success");
}

#[task]
fn told(latest: bool) -> bool {
    latest
}

#[dag(schedule = "@daily", start_date = "2026-03-01", catchup = true)]
fn gated() {
    let latest = operators::latest_only();
    let right_below = works().id("right_below").trigger_rule(TriggerRule::AllDone);
    latest >> [right_below] >> works().id("below");
    right_below >> works().id("joins").trigger_rule(TriggerRule::NoneFailed);
    works().id("catches_up").when(latest, false);
    told(latest);
}

#[test]
fn what_is_right_below_is_skipped_whatever_its_rule_and_the_rest_goes_by_its_own() {
    let runs = gated::test().scheduled_blocking("2026-03-03T12:00", "2026-03-04T12:00").succeeded();
    let latest = [false, false, true, true];
    assert_eq!(runs.values::<bool>("latest_only"), latest, "it is no failure, and it is not skipped");
    assert_eq!(runs.values::<bool>("told"), latest, "who asks for it decides for itself");
    for task in ["right_below", "below"] {
        assert_eq!(runs.values::<String>(task), ["03-03", "03-04"], "{task}");
    }
    assert_eq!(runs.values::<String>("joins").len(), 4);
    assert_eq!(runs.values::<String>("catches_up"), ["03-01", "03-02"]);
}

#[dag]
fn replaced() {
    let said = operators::bash("exit 1");
    let rows = operators::sql("sqlite://nowhere/x.db", "select 1");
    operators::empty().after(said).after(rows);
}

#[test]
fn a_test_puts_something_else_in_their_place() {
    let run = replaced::test()
        .replace("bash", |call| Ok(call.arg::<String>("command")))
        .returns("sql", operators::Answer::default())
        .run_blocking()
        .succeeded();
    assert_eq!(run.value::<String>("bash"), "exit 1");
}
