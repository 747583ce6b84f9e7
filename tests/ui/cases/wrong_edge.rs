use flow_runtime::prelude::*;

#[value]
struct Csv(String);

#[value]
struct Parquet(String);

#[task]
fn download(url: String) -> Result<Csv> {
    Ok(Csv(url))
}

#[task]
fn upload(file: Parquet) -> Result<()> {
    drop(file);
    Ok(())
}

#[dag]
fn taxi() {
    let csv = download("https://example.org/a.csv");
    upload(csv);
}

fn main() {}
