//! The options of a group of tasks.

use super::task::defaults;
use super::{Pair, id_text, krate, set};
use crate::support::Errors;
use proc_macro2::TokenStream;
use syn::{LitStr, Path};

/// Their names, as they are listed in a message.
const GROUP_OPTIONS: &str = "prefix, defaults, id, doc, crate";

/// The options of a group.
#[derive(Default)]
pub struct GroupOptions {
    pub id: Option<LitStr>,
    pub doc: Option<String>,
    pub prefix: Option<bool>,
    /// A constant `TaskOptions`.
    pub defaults: Option<TokenStream>,
    krate: Option<Path>,
}

impl GroupOptions {
    pub fn parse(tokens: TokenStream, private: &TokenStream, errors: &mut Errors) -> GroupOptions {
        let mut options = GroupOptions::default();
        for pair in errors.take(Pair::list(tokens)).unwrap_or_default() {
            let read = options.read(&pair, private, errors);
            errors.take(read);
        }
        options
    }

    fn read(&mut self, pair: &Pair, private: &TokenStream, errors: &mut Errors) -> syn::Result<()> {
        match pair.name.to_string().as_str() {
            "prefix" => set(&mut self.prefix, pair, pair.boolean()?),
            "defaults" => set(&mut self.defaults, pair, defaults(pair, private, errors)?),
            "id" => set(&mut self.id, pair, id_text(pair)?),
            "doc" => set(&mut self.doc, pair, pair.text()?.value()),
            "crate" => set(&mut self.krate, pair, krate(pair)?),
            _ => Err(pair.unknown("a group", GROUP_OPTIONS, "")),
        }
    }
}
