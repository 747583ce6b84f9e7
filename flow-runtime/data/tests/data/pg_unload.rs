//! Tables of Postgres as others make them, to a file and back.

use flow_data::{Input, Select, TableLoadOptions, UnloadOptions, Warehouse, ask, execute};

use crate::cluster;
use crate::files::bounds;

/// What rounds or pads has done so before it is read; a domain is what it is made of, and the labels of an enum are texts.
#[tokio::test]
async fn columns_that_round_or_pad_or_have_names_of_their_own_are_unloaded() {
    let Some(server) = cluster::url() else { return };
    execute(&server, "CREATE SCHEMA unload_names").await.unwrap();
    let url = format!("{server}?options=-c%20search_path%3Dunload_names");
    let sql = "CREATE TYPE mood AS ENUM ('sad', 'it''s fine'); CREATE DOMAIN code AS varchar(4); CREATE DOMAIN money_of AS numeric(6,2); \
               CREATE DOMAIN fare AS money_of CHECK (value >= 0); CREATE DOMAIN tags AS mood[]; \
               CREATE TABLE t (a timestamp(0), b timestamptz(3), c time(0), d char(5), e mood, f code, g fare NOT NULL, h mood[], \
               i timestamp(0)[], j fare[], k tags, gone int, l name); ALTER TABLE t DROP COLUMN gone; \
               INSERT INTO t VALUES ('2021-01-31 08:05:00.7', '2021-01-31 08:05:00.1239Z', '08:05:00.4', 'ab', 'it''s fine', 'x', 8.5, \
               '{sad,NULL}', '{\"2021-01-01 00:00:00.9\"}', '{1.25,2}', '{sad}', 'n'), (NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, \
               NULL, NULL, NULL)";
    execute(&url, sql).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.parquet");
    let warehouse = Warehouse::open(&url).unwrap();
    let unloaded = warehouse.unload(&Select::Table("t".into()), &file, &UnloadOptions::default(), &()).await.unwrap();
    let told: Vec<_> = unloaded.fields.iter().map(|f| format!("{} {}", f.name, f.kind)).collect();
    let want = [
        "a timestamp[us]",
        "b timestamp[us, utc]",
        "c time[us]",
        "d text",
        "e text",
        "f text",
        "g decimal(6,2)",
        "h list<text>",
        "i list<timestamp[us]>",
        "j list<decimal(6,2)>",
        "k list<text>",
        "l text",
    ];
    assert_eq!(told, want);
    assert!(!unloaded.fields[6].nullable);
    warehouse.load(&Input::parquet(&file), "back", &TableLoadOptions::default(), &()).await.unwrap();
    // As text, where `char` loses its blanks; they are seen beside.
    let all =
        "a::text, b::text, c::text, d::text, e::text, f::text, g::text, h::text, i::text, j::text, k::text, l::text";
    let same = format!("SELECT {all} FROM t EXCEPT ALL SELECT {} FROM back", all.replace("d::text", "rtrim(d)"));
    assert_eq!(ask(&url, &same).await.unwrap().rows, Vec::<Vec<serde_json::Value>>::new());
    let padded =
        ask(&url, "SELECT '[' || d || ']', a::text, b = '2021-01-31 08:05:00.124Z' FROM back WHERE d IS NOT NULL")
            .await;
    assert_eq!(
        padded.unwrap().rows,
        [[serde_json::json!("[ab   ]"), serde_json::json!("2021-01-31 08:05:01"), serde_json::json!(true)]]
    );
}

/// As in a file that is made of another, in lists too.
#[tokio::test]
async fn the_bounds_of_large_decimals_that_are_unloaded_have_a_sign() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.parquet");
    let query = "SELECT n::numeric(38,10) AS n, ARRAY[n]::numeric(38,10)[] AS l FROM generate_series(-70000, 69999) n ORDER BY 1";
    let warehouse = Warehouse::open(&url).unwrap();
    warehouse.unload(&Select::Query(query.into()), &file, &UnloadOptions::default(), &()).await.unwrap();
    let want = [[-70_000, 61_071], [61_072, 69_999]].map(|group| group.map(|n: i128| n * 10i128.pow(10)));
    assert_eq!([bounds(&file, 0), bounds(&file, 1)], [want, want]);
}
