# What a person types. `just` alone lists it.

default:
    @just --list

# Everything that must hold before a change lands.
verify:
    .ci/verify

# All tests and doctests: the README's command.
test:
    cargo test --workspace

# Airflow's answers, case by case, from the folder that FLOW_VECTORS names (default ../shared/vectors).
vectors:
    cargo test -p flow-core vectors -- --nocapture

# The long suites: many more worlds for the planner's laws, and the rivals.
nightly: vectors rivals
    PROPTEST_CASES=40000 cargo test -p flow-core laws

# What the engine costs, beside its rivals at their own level of durability. They are installed from their registries.
rivals:
    python3 flow-runtime/benches/rivals/run.py
