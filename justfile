# What a person types. `just` alone lists it.

default:
    @just --list

# Everything that must hold before a change lands.
verify: fmt lint light test

# The formatting.
fmt:
    cargo fmt --all --check

# Clippy, with warnings as errors.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# The engine alone, without polars: few features must compile.
light:
    cargo check -p flow-runtime --no-default-features --features sqlite,macros

# All tests and doctests: the README's command.
test:
    cargo test --workspace

# Airflow's answers, case by case, from the folder that FLOW_VECTORS names (default ../shared/vectors).
vectors:
    cargo test -p flow-core vectors -- --nocapture

# The long suites.
nightly:
    PROPTEST_CASES=40000 cargo test -p flow-core laws
