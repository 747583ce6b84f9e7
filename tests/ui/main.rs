//! Mistakes that must not compile, and what the compiler says about them.
//!
//! `TRYBUILD=overwrite cargo test -p flow-tests --test ui` writes the expected messages anew; read them before you commit:
//! they are what an author sees.

#[test]
fn mistakes_do_not_compile() {
    trybuild::TestCases::new().compile_fail("ui/cases/*.rs");
}
