//! Generated code stands on nothing that an author may have named otherwise.

/// The crate under another name, as a `flow = { package = "flow-runtime" }` in Cargo.toml would make it.
mod renamed {
    pub use flow_runtime as flow;
}

/// A file in which every common name means something else.
#[allow(dead_code, unused_macros, unused_imports, non_camel_case_types)]
mod hostile {
    pub struct String;
    pub struct Vec;
    pub struct Box;
    pub struct Context;
    pub struct Duration;
    pub enum Option {}
    pub enum Result {}
    pub fn drop() {}
    macro_rules! vec {
        ($($any:tt)*) => {
            compile_error!("the author's own vec!")
        };
    }
    macro_rules! format {
        ($($any:tt)*) => {
            compile_error!("the author's own format!")
        };
    }
    pub(crate) use {format, vec};
    mod std {}
    mod core {}

    #[crate::hygiene::renamed::flow::task(crate = crate::hygiene::renamed::flow, retries = 1, retry_delay = "1s")]
    pub fn double(n: u32, words: &[u8]) -> u32 {
        n * 2 + words.len() as u32
    }

    #[crate::hygiene::renamed::flow::task(crate = crate::hygiene::renamed::flow)]
    pub async fn later(n: &u32) -> u32 {
        *n + 1
    }

    #[crate::hygiene::renamed::flow::dag(crate = crate::hygiene::renamed::flow, tags = ["odd"], schedule = "@daily")]
    pub fn odd(#[default(4)] n: u32) {
        later(double(n, [1u8, 2]));
    }

    #[crate::hygiene::renamed::flow::value(crate = crate::hygiene::renamed::flow)]
    pub struct Thing {
        pub n: u32,
    }
}

/// Names that generated code uses for itself.
#[allow(dead_code)]
mod odd_names {
    use flow_runtime::prelude::*;

    #[task]
    fn run(at: u32, inputs: u32, ctx: &Context, r#type: u32, returned: u32) -> u32 {
        at + inputs + r#type + returned + ctx.try_number()
    }

    #[task]
    fn argument(argument: u32) -> u32 {
        argument
    }

    #[task]
    async fn node(node: u64) -> u64 {
        node
    }

    #[dag]
    pub fn names(#[default(1)] r#type: u32) {
        argument(run(1, 2, r#type, 4));
        node::node(u64::from(3u32) + u64::max(1, 2));
    }
}

#[test]
fn names_of_generated_code_are_free() {
    let run = odd_names::names::test().param("type", 10).run_blocking().succeeded();
    assert_eq!(run.value::<u32>("argument"), 18);
    assert_eq!(run.value::<u64>("node"), 5);
}

#[test]
fn it_compiles_and_runs_under_hostile_names() {
    let run = hostile::odd::test().run_blocking().succeeded();
    assert_eq!(run.value::<u32>("later"), 11);
    let thing: hostile::Thing = serde_json::from_str("{\"n\":1}").unwrap();
    assert_eq!(thing.n, 1);
}
