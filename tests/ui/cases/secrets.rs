use flow_runtime::prelude::*;

#[task]
fn connect(password: Secret<String>) {
    drop(password);
}

#[task]
fn leak() -> Secret<String> {
    Secret::new("hunter2".into())
}

#[dag]
fn literal() {
    connect(Secret::new("hunter2".to_string()));
}

#[dag]
fn default(#[default("hunter2")] password: Secret<String>) {
    connect(password);
}

fn main() {}
