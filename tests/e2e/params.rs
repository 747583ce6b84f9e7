//! The three kinds of params (one for every DAG, one that DAGs share, one of a single task), and where values come from.

use crate::program::Place;

/// A file with two columns, which only `infer` understands.
const SMALL: &str = "name,rows\nada,1\ngrace,2\n";

#[test]
fn the_three_kinds_show_and_change_the_result() {
    let place = Place::new();
    place.write("small.csv", SMALL);
    let url = format!("file://{}/small.csv", place.folder.path().display());
    // Global: every DAG with a param `columns` has this value now.
    place.write("flow.toml", "[params]\ncolumns = 'infer'\n");
    for dag in ["taxi", "taxi_postgres"] {
        let shown = place.ok(&["show", dag]);
        assert!(shown.contains("columns: Columns = \"infer\"  (flow.toml [params]; default \"yellow\")"), "{shown}");
        assert!(shown.contains("global · shared with"), "{shown}");
        // Shared by both: `url`; of a single task: `lake`.
        let shown = place.ok(&["show", dag, "-p", &format!("url={url}")]);
        assert!(shown.contains("(--param; default") && shown.contains("small.csv"), "{shown}");
    }
    assert!(place.ok(&["show", "taxi_months"]).contains("of task month.locate alone"));

    let url = format!("url={url}");
    place.ok(&["run", "taxi", "-p", &url, "-p", "lake=pond", "-p", "table=people"]);
    assert_eq!(
        place.sql("warehouse.db", "SELECT name, rows FROM people ORDER BY rows"),
        [["ada", "1"], ["grace", "2"]]
    );
    assert!(place.home().join("pond").is_dir(), "the param of the one task");
    place.ok(&["run", "taxi_postgres", "-p", &url]);
    assert_eq!(place.sql("warehouse.db", "SELECT count(*) FROM yellow_taxi_trips"), [["2"]]);

    // Without the global param the same file does not fit.
    place.write("flow.toml", "");
    let answer = place.dags(&["run", "taxi", "-p", &url]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.out.contains("parquetize failed") && answer.out.contains("VendorID"), "{answer:?}");
}

#[test]
fn the_nearest_to_the_person_wins() {
    let place = Place::new().env("FLOW_PARAM_TABLE", "from_env");
    place.write("flow.toml", "[params]\ntable = 'everywhere'\nlake = 'a'\n[dags.taxi.params]\nlake = 'b'\n");
    place.write("given.json", "{\"warehouse\": \"sqlite://w.db\"}");
    let shown = place.json(&["show", "taxi", "--params-json", "given.json", "-p", "columns=infer"]);
    let source = |name: &str| shown["params"][name]["source"].as_str().unwrap().to_string();
    assert_eq!(source("table"), "env FLOW_PARAM_TABLE");
    assert_eq!(source("lake"), "flow.toml [dags.taxi.params]");
    assert_eq!(source("warehouse"), "--params-json");
    assert_eq!(source("columns"), "--param");
    assert_eq!(source("url"), "default");
    assert_eq!(shown["params"]["lake"]["value"], "b");
}

#[test]
fn the_home_folder_is_where_it_is_said_to_be() {
    let place = Place::new();
    place.ok(&["run", "taxi", "--home", "elsewhere"]);
    assert!(place.folder.path().join("elsewhere/flow.db").exists() && !place.home().exists());
    let place = Place::new().env("FLOW_HOME", "by_env");
    place.ok(&["run", "taxi"]);
    assert!(place.folder.path().join("by_env/lake").is_dir());
}

#[test]
fn where_all_connections_are_broken_only_that_is_told() {
    let place = Place::new();
    place.write("flow.toml", "[connections.gone]\nurl = { env = 'NOWHERE' }\n");
    let listed = place.dags(&["connections"]);
    assert_eq!((listed.code, listed.out.as_str()), (Some(2), ""), "{listed:?}");
    assert!(listed.err.contains("gone: NOWHERE is not set"), "{listed:?}");
}

/// A place by its name: what is secret about it is in no param, no value and no log.
#[test]
fn a_connection_stands_for_a_place_and_keeps_its_keys() {
    let place = Place::new();
    let toml = "[connections]\nw = 'sqlite://named.db'\n\
                [connections.l]\nurl = 'lake/raw'\naws_secret_access_key = { env = 'LAKE_KEY' }\n\
                [connections.gone]\nurl = { env = 'NOWHERE' }\n";
    place.write("flow.toml", toml);
    let place = place.env("LAKE_KEY", "correct-horse-battery");
    let listed = place.dags(&["connections"]);
    assert!(listed.out.contains("sqlite://named.db") && listed.out.contains("aws_secret_access_key"), "{listed:?}");
    assert!(listed.code == Some(2) && listed.err.contains("gone: NOWHERE is not set"), "{listed:?}");
    place.ok(&["run", "taxi", "--run-id", "named", "-p", "lake=conn:l/2021", "-p", "warehouse=conn:w"]);
    let object = place.json(&["xcom", "named", "upload"]);
    let url = object["value"]["url"].as_str().unwrap();
    assert!(url.ends_with("/.flow/lake/raw/2021/yellow_tripdata_2021-01_sample.csv.parquet"), "{url}");
    assert_eq!(place.sql("named.db", "SELECT count(*) FROM trips"), [["2000"]]);
    let told =
        format!("{listed:?}{:?}{:?}", place.dags(&["logs", "named", "upload"]), place.dags(&["--json", "connections"]));
    assert!(!told.contains("correct-horse"), "{told}");
    // What only this machine lacks is told, and is no mistake; a name that nobody knows is one.
    let check = place.dags(&["check"]);
    assert!(
        check.code == Some(0) && check.err.contains("connection `gone` cannot be used on this machine"),
        "{check:?}"
    );
    assert!(place.json(&["check"])["notes"][0].as_str().unwrap().contains("NOWHERE is not set"));
    let typo = place.env("FLOW_PARAM_LAKE", "conn:ll");
    let check = typo.dags(&["check"]);
    assert!(check.code == Some(2) && check.out.contains("DAG `taxi`: there is no connection `ll`"), "{check:?}");
    let place = typo.env("FLOW_PARAM_LAKE", "lake");
    let wrong = place.dags(&["run", "taxi", "-p", "warehouse=conn:gone"]);
    assert!(wrong.code == Some(1) && format!("{wrong:?}").contains("NOWHERE is not set"), "{wrong:?}");
}
