//! A DAG that cannot be built stops no other.

use crate::program::Place;

#[test]
fn the_others_run_and_it_is_told_of() {
    let place = Place::new();
    place.write("flow.toml", "[pools]\napi = 2\n[notifiers]\nhook = { kind = \"log\" }\n");
    let list = place.dags(&["list"]);
    assert_eq!(list.code, Some(0), "{list:?}");
    assert!(list.out.contains("prints") && list.err.contains("DAG `broken` cannot be built"), "{list:?}");
    assert!(list.err.contains("timeout of zero") && list.err.contains("dags/broken.rs:"), "{list:?}");
    let json = place.json(&["list"]);
    let broken = json.as_array().unwrap().iter().find(|d| d["dag_id"] == "broken").unwrap();
    assert!(broken["has_import_errors"] == true && broken["import_errors"][0].as_str().unwrap().contains("zero"));

    let run = place.dags(&["run", "broken"]);
    assert!(run.code == Some(2) && run.err.contains("timeout of zero"), "{run:?}");
    let check = place.dags(&["check"]);
    assert_eq!(check.code, Some(2));
    assert!(check.out.contains("DAG `broken`: task `never` has a timeout of zero"), "{check:?}");
    assert!(check.out.contains("1 problem\n"), "{check:?}");
    place.ok(&["run", "prints"]);
}
