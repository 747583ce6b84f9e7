//! Every wrong input is answered with what was wrong, what there is, and exit code 2; and nothing is made.

use crate::program::Place;

#[test]
fn each_mistake_is_named_with_what_there_is() {
    let place = Place::new();
    let cases: &[(&[&str], &[&str])] = &[
        (&["run", "taix"], &["there is no DAG `taix`", "did you mean `taxi`?", "taxi_postgres"]),
        (&["show", "nothing"], &["there is no DAG `nothing`", "DAGs: taxi"]),
        (&["run", "taxi", "-p", "ulr=x"], &["has no param `ulr`", "did you mean `url`?"]),
        (&["run", "taxi", "-p", "url"], &["`--param url` has no value"]),
        (&["run", "taxi", "-p", "columns=purple"], &["columns", "yellow"]),
        (&["run", "taxi_months", "-p", "from=2021-3"], &["`from`", "text like `2021-01`, that matches"]),
        (&["run", "taxi", "--logical-date", "yesterday"], &["--logical-date", "`yesterday`"]),
        (&["run", "taxi", "--run-id", "a b"], &["`a b` cannot name a run"]),
        (&["run", "taxi", "--params-json", "nothing.json"], &["`nothing.json` cannot be read"]),
        (&["run", "taxi", "--parallelism", "0"], &["--parallelism"]),
        (&["run", "--resume", "latest"], &["there is no run yet", "home folder"]),
        (&["tasks", "latest"], &["there is no run yet"]),
        (&["logs", "latest", "download"], &["there is no run yet"]),
        (&["runs", "taix"], &["there is no DAG `taix`"]),
        (&["delete", "taix"], &["there is no DAG `taix`", "did you mean `taxi`?"]),
        (&["delete", "taxi"], &["there is no run of DAG `taxi` yet", "run taxi`"]),
        (&["next", "taxi", "-n", "1001"], &["1001 is not in 1..=1000"]),
        (&["runs", "--state", "sucess"], &["did you mean `success`?"]),
        (&["new", "my-dag"], &["`my-dag` cannot name a DAG", "lower-case letters"]),
        (&["rnu"], &["unrecognized subcommand", "'runs'"]),
    ];
    for (args, said) in cases {
        let answer = place.dags(args);
        assert_eq!(answer.code, Some(2), "{args:?}: {answer:?}");
        assert!(answer.out.is_empty(), "{args:?}: {}", answer.out);
        for said in *said {
            assert!(answer.err.contains(said), "{args:?} does not say {said}: {}", answer.err);
        }
    }
    assert!(!place.home().exists(), "nothing was made");
}

#[test]
fn mistakes_about_a_run_that_is_there() {
    let place = Place::new();
    place.ok(&["run", "taxi", "--run-id", "monday"]);
    let cases: &[(&[&str], &[&str])] = &[
        (&["run", "taxi", "--run-id", "monday"], &["already has a run `monday`"]),
        (&["run", "--resume", "monday"], &["has succeeded: there is nothing to go on with"]),
        (&["delete", "taix"], &["there is no DAG `taix`", "did you mean `taxi`?"]),
        (&["why", "taix"], &["there is no run `taix`", "there is a DAG `taxi`: did you mean that?"]),
        (&["tasks", "mnoday"], &["there is no run `mnoday`", "did you mean `monday`?"]),
        (&["logs", "monday", "downlaod"], &["has no task `downlaod`", "did you mean `download`?"]),
        (&["logs", "monday", "download", "--try", "7"], &["has had no try 7", "its latest is try 1"]),
        (&["logs", "monday", "download", "--map-index", "0"], &["is not mapped"]),
        (&["xcom", "monday", "loda"], &["has no task `loda`", "did you mean `load`?"]),
    ];
    for (args, said) in cases {
        let answer = place.dags(args);
        assert_eq!(answer.code, Some(2), "{args:?}: {answer:?}");
        for said in *said {
            assert!(answer.err.contains(said), "{args:?} does not say {said}: {}", answer.err);
        }
    }
}

#[test]
fn an_error_is_json_where_json_was_asked_for() {
    for args in [&["run", "taix", "--json"][..], &["--json", "runs", "--state", "x"], &["nonsense", "--json"]] {
        let answer = Place::new().dags(args);
        let error: serde_json::Value =
            serde_json::from_str(answer.err.trim()).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
        assert!(error["error"].is_string() && error["exit_code"] == 2, "{error}");
        assert!(answer.out.is_empty());
    }
}

#[test]
fn settings_are_checked_with_their_line() {
    let place = Place::new();
    for (toml, said) in [
        ("paralelism = 3\n", "flow.toml:1: there is no setting `paralelism`: did you mean `parallelism`?"),
        ("[dags.taix.params]\nurl = 'x'\n", "there is no DAG `taix`: did you mean `dags.taxi`?"),
        ("[dags.taxi.params]\nulr = 'x'\n", "did you mean `url`?"),
        ("[params]\ncolumns = 3\n", "columns"),
    ] {
        place.write("flow.toml", toml);
        let answer = place.dags(&["run", "taxi"]);
        assert_eq!(answer.code, Some(2), "{toml}: {answer:?}");
        assert!(answer.err.contains(said), "{toml}: {}", answer.err);
        let check = place.dags(&["check"]);
        assert_eq!(check.code, Some(2), "{toml}: {check:?}");
        assert!(check.out.contains(said), "{toml}: {}", check.out);
    }
}

#[test]
fn a_database_of_somebody_else_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir_all(place.home()).unwrap();
    place.write(".flow/flow.db", "dear diary, nobody reads this, and certainly no database");
    let answer = place.dags(&["run", "taxi"]);
    assert_eq!(answer.code, Some(4), "{answer:?}");
    assert!(answer.err.contains("is not a SQLite database"), "{answer:?}");
}

#[test]
fn a_run_that_fails_says_why_and_what_to_do() {
    let place = Place::new();
    let answer = place.dags(&["run", "taxi", "-p", "url=file:///nothing/here.csv"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(
        answer.out.contains("download failed (try 1 of 4)") && answer.out.contains("/nothing/here.csv"),
        "{answer:?}"
    );
    assert!(answer.err.contains("logs") && answer.err.contains("run --resume"), "{answer:?}");
    let log = place.ok(&["logs", "latest", "download"]);
    assert!(log.contains("ERROR") && log.contains("/nothing/here.csv"), "{log}");
}
