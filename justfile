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
nightly: vectors rivals speeds mutants emulators read-back
    PROPTEST_CASES=40000 cargo test -p flow-core laws
    PROPTEST_CASES=1000000 cargo test --release -p flow-core every_move_is_in_the_table
    PROPTEST_CASES=5000 cargo test -p flow-data random
    PROPTEST_CASES=200000 cargo test -p flow-data split
    KILL_POINTS=100 cargo test -p flow-data --test data killed -- --nocapture --test-threads 4
    SIM_SEEDS=3000 cargo test -p flow-tests --test sim
    # Worlds that nobody has seen yet; what one of them finds is named by its seed, which goes to KEPT.
    SIM_FIRST="$(date +%s)" SIM_SEEDS=1000 cargo test -p flow-tests --test sim
    cargo test --workspace --features flow-book/lazy --lib --test runtime --test book -- frame
    CRASH_POINTS=all cargo test -p flow-misbehave one_death_at_each_kind_of_write_on_postgres
    MIGRATIONS=all cargo test -p flow-misbehave migrated::
    CROWD=10000 cargo test -p flow-misbehave crowd:: -- --nocapture
    STANDALONE_SECONDS=300 cargo test -p flow-misbehave ten:: -- --nocapture
    SLEEPERS=100000 cargo test -p flow-misbehave sleepers:: -- --nocapture

# Parquet files of flow-data, read by pyarrow and DuckDB, which are installed from PyPI; of some folders of CSV files, too.
read-back *folders:
    python3 flow-runtime/data/tests/read_back.py {{folders}}

# Breaks flow on purpose, one small change at a time, and sees that a test notices.
mutants:
    python3 tests/mutants.py

# What the engine costs, beside its rivals at their own level of durability. They are installed from their registries.
rivals:
    python3 flow-runtime/benches/rivals/run.py

# The cloud half of flow-data against moto, azurite, fake-gcs-server and bqemulator, installed from their registries.
emulators:
    python3 flow-runtime/data/tests/emulators/run.py

# The speeds of the data plane (files, loads, uploads, a whole pipeline), beside others, which are installed from PyPI.
speeds *options:
    python3 flow-runtime/benches/rivals/speeds.py {{options}}
