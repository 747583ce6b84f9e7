//! `#[task]` and `#[dag]`: sugar over `flow_runtime::builder`.
//!
//! Everything here expands to calls that a person could write by hand; see the documentation of `DagBuilder`. This crate is
//! not used directly: `flow_runtime::prelude` has its macros.

mod cache;
mod dag;
mod group;
mod notify;
mod options;
mod params;
mod rewrite;
mod schedule;
mod support;
mod task;
mod value;

use proc_macro::TokenStream;

/// Makes a task of a function. The function stays exactly as it is written and can be called in a unit test; beside it
/// stands a struct of the same name with the node builder, `download::node(url)`, which a call `download(url)` inside a
/// `#[dag]` becomes.
///
/// Arguments are taken by value or by reference; at most one may be `ctx: &Context`. The function may be `async`; if it is
/// not, it runs on a thread where it may block. It returns `Result<T>` (any type whose name ends in `Result`, with `T` as its
/// first argument) or a plain `T`.
///
/// | option | example | default |
/// |---|---|---|
/// | `retries` | `3` | 0 |
/// | `retry_delay` | `"10s"` | 5 minutes |
/// | `retry_backoff` | `2.0` | 0 (off) |
/// | `max_retry_delay` | `"10m"` | none |
/// | `timeout` | `"1h"` | none |
/// | `trigger_rule` | `"all_done"` | `all_success` |
/// | `pool` | `"db"` | `default_pool` |
/// | `pool_slots` | `2` | 1 |
/// | `max_active`, `max_active_per_run` | `1` | no limit of its own |
/// | `at_once` | `(1, key = "load {table}")` | no limit |
/// | `rate` | `("10/s", key = "api")` | no limit |
/// | `depends_on_past`, `wait_for_downstream` | flags | off |
/// | `ignore_first_depends_on_past` | `false` | `true` |
/// | `priority` | `10` | 1 |
/// | `weight_rule` | `"absolute"` | `downstream` |
/// | `queue` | `"big"` | `default` |
/// | `setup`, `teardown` | | ordinary work |
/// | `on_failure_fail_dagrun` | `true`, for a teardown | false |
/// | `isolation` | `"process"` | `none` |
/// | `outlets`, `inlets` | `[TRIPS]`: the assets that it makes, and reads | none |
/// | `cache` | `"7d"`, `"always"`: how long its output is reused | off |
/// | `cache_key` | `etag(&url).await?`: what else belongs to the key | nothing |
/// | `cache_if` | `File::is_there`: may a kept output still be used? | yes |
/// | `cache_version` | `"2"` | none |
/// | `cache_on` | `"build"`: another program begins anew | `task` |
/// | `id` | `"load-trips"` | the function's name |
/// | `doc` | `"Loads."` | the doc comment |
/// | `crate` | `my_flow` | `::flow_runtime` |
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    task::expand(options.into(), item.clone()).unwrap_or_else(|e| support::with_errors(item, &e)).into()
}

/// Makes a sensor of a function: a task that looks again and again until what it waits for is there. The function is one
/// look: it returns `bool`, or `Option<T>` with what it found, or a `Result` of either. What follows is as with `#[task]`; a
/// call inside a `#[dag]` gives a `Node<()>`, or a `Node<T>`.
///
/// It has the options of `#[task]`, and these:
///
/// | option | example | default |
/// |---|---|---|
/// | `poke_interval` | `"10s"` | 60 seconds |
/// | `poke_backoff` | `2.0` | 0 (off) |
/// | `max_poke_interval` | `"10m"` | none |
/// | `timeout` | `"1h"`, from the first look of a try to its last | 7 days |
/// | `mode` | `"poke"`: it keeps its slot between two looks | `"reschedule"`: it gives it back |
/// | `soft_fail` | `true`: whoever waits in vain is skipped | false: it fails |
#[proc_macro_attribute]
pub fn sensor(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    task::expand_sensor(options.into(), item.clone()).unwrap_or_else(|e| support::with_errors(item, &e)).into()
}

/// Makes a DAG of a function: calls in its body become tasks, what they return become edges, and its arguments become params.
///
/// Loops, `if`, closures and macros stay Rust and run while the DAG is built. A call of a plain helper function is written
/// `(helper)(x)`. Inside, `a >> b` puts tasks in order without data; array literals beside it may mix types.
///
/// | option | example | default |
/// |---|---|---|
/// | `default` | | the program runs it when it is started without a word |
/// | `schedule` | `"@daily"`, `"0 6 * * 1"`, `"every 10m"` | only when asked |
/// | | `["2026-01-01", "2026-02-14T10:00"]`, `["0 6 * * *", "30 18 * * 5"]` | |
/// | | `assets(TRIPS & WEATHER)`, `assets(TRIPS).or("0 6 * * *")` | |
/// | | `custom(WorkingDays)`, for a `Timetable` of one's own | |
/// | `data_intervals` | `true`: a run at the end of each interval between two ticks | a run at each tick |
/// | `start_date`, `end_date` | `"2021-01-01"` | none |
/// | `catchup` | `true` | false |
/// | `tags` | `["taxi"]` | none |
/// | `max_active_runs`, `max_active_tasks` | `1` | 16 |
/// | `dagrun_timeout` | `"2h"` | none |
/// | `defaults(..)` | `defaults(retries = 2)` | options of every task that does not say otherwise |
/// | `id` | `"taxi-2021"` | the function's name |
/// | `doc` | `"Loads."` | the doc comment |
/// | `crate` | `my_flow` | `::flow_runtime` |
///
/// A param is an argument; `#[default(..)]` before it gives its default, its doc comment tells people what it is.
#[proc_macro_attribute]
pub fn dag(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    dag::expand(options.into(), item.clone())
        .unwrap_or_else(|e| support::with_errors(support::without_param_attributes(item), &e))
        .into()
}

/// Makes a group of a function that calls tasks: one name around them, which begins their ids, and options that they share.
/// It is called like a task; `month::expand(each(months), lake)` makes one of it for each element, in which tasks depend
/// on each other element by element. What its body returns (a `Node`, a tuple of nodes, or nothing) its call returns;
/// mapped, a list of each.
///
/// | option | example | default |
/// |---|---|---|
/// | `prefix` | `false` | true: the ids of its tasks begin with its own |
/// | `defaults(..)` | `defaults(retries = 2)` | options of its tasks that do not say otherwise |
/// | `id` | `"load-month"` | the function's name |
/// | `doc` | `"Loads."` | the doc comment |
/// | `crate` | `my_flow` | `::flow_runtime` |
#[proc_macro_attribute]
pub fn task_group(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    group::expand(options.into(), item.clone())
        .unwrap_or_else(|e| support::with_errors(support::without_param_attributes(item), &e))
        .into()
}

/// Makes a struct whose fields are params of a DAG: `#[dag] fn taxi(#[params] settings: Settings)` declares each field, with
/// its doc comment and `#[default(..)]`, and `settings.url` is then a param like any other. The whole can be given to a
/// task that takes the struct.
#[proc_macro_attribute]
pub fn params(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    params::expand(options.into(), item.clone())
        .unwrap_or_else(|e| support::with_errors(support::without_defaults(item), &e))
        .into()
}

/// Makes a type that can travel between tasks and be a param: derives `Debug`, `Clone`, `PartialEq`, `Serialize`,
/// `Deserialize` and `JsonSchema` without any further dependency.
#[proc_macro_attribute]
pub fn value(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    value::expand(options.into(), item.clone()).unwrap_or_else(|e| support::with_errors(item, &e)).into()
}
