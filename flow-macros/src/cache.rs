//! The cache of a task: `cache = "7d"`, what belongs to its key, and the hash of the function.

use crate::support::option;
use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use sha2::{Digest as _, Sha256};
use syn::spanned::Spanned as _;
use syn::{Expr, ExprLit, Lit, LitStr};

/// What is said of a task's cache.
#[derive(Default)]
pub struct CacheOptions {
    /// How long an output is good for, as a constant `Option<Duration>`.
    age: Option<TokenStream>,
    version: Option<LitStr>,
    key: Option<Expr>,
    holds: Option<Expr>,
    build: Option<bool>,
    /// The first of these options, for a complaint.
    first: Option<Ident>,
}

impl CacheOptions {
    /// Is this an option about the cache?
    pub fn is_one(name: &Ident) -> bool {
        ["cache", "cache_version", "cache_key", "cache_if", "cache_on"].iter().any(|option| name == option)
    }

    /// Is there any?
    pub fn are_any(&self) -> bool {
        self.first.is_some()
    }

    /// Reads the value of one of them.
    pub fn read(&mut self, name: &Ident, expr: &Expr, private: &TokenStream) -> syn::Result<()> {
        let twice = match name.to_string().as_str() {
            "cache" => self.age.replace(age(expr, private)?).is_some(),
            "cache_version" => self.version.replace(text(name, expr)?).is_some(),
            "cache_key" => self.key.replace(expr.clone()).is_some(),
            "cache_if" => self.holds.replace(expr.clone()).is_some(),
            _ => self.build.replace(on(name, expr)?).is_some(),
        };
        if twice {
            return Err(syn::Error::new(name.span(), format!("`{name}` is given twice")));
        }
        self.first.get_or_insert_with(|| name.clone());
        Ok(())
    }

    /// What is wrong with them as a whole. `other` says what the task is, if it is not one that works.
    pub fn check(&self, other: Option<&str>) -> syn::Result<()> {
        let Some(first) = &self.first else { return Ok(()) };
        if let Some(other) = other {
            let sentence =
                format!("{other} has no cache: it is there for what it does, which an earlier run does not replace");
            return Err(syn::Error::new(first.span(), sentence));
        }
        if self.age.is_none() {
            let sentence =
                format!("`{first}` needs `cache = \"7d\"` (or \"always\"): how long an output may be reused");
            return Err(syn::Error::new(first.span(), sentence));
        }
        Ok(())
    }

    /// The expression that makes the task's own part of the key.
    pub fn key(&self) -> Option<&Expr> {
        self.key.as_ref()
    }

    /// A constant `Option<CacheSpec>` of a function that gives an `output` and has this hash; `key` is the function that
    /// makes the task's own part of the key, if it has one.
    pub fn tokens(
        &self,
        output: &syn::Type,
        code: &str,
        key: Option<TokenStream>,
        private: &TokenStream,
    ) -> TokenStream {
        let Some(age) = &self.age else { return quote!(#private::None) };
        let (version, key, build) =
            (option(self.version.as_ref(), private), option(key, private), self.build == Some(true));
        let holds = match &self.holds {
            Some(holds) => quote_spanned!(holds.span()=> |value| #private::cached_holds::<#output>(value, #holds)),
            None => quote!(|value| #private::cached_holds::<#output>(value, |_: &#output| true)),
        };
        quote! {
            #private::Some(#private::CacheSpec {
                age: #age,
                code: #code,
                version: #version,
                on_build: #build,
                key: #key,
                holds: #holds,
            })
        }
    }
}

fn text(name: &Ident, expr: &Expr) -> syn::Result<LitStr> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
        other => Err(syn::Error::new_spanned(other, format!("`{name}` takes a text in quotes"))),
    }
}

/// `"always"`, a duration as a text, or a constant `Duration`.
fn age(expr: &Expr, private: &TokenStream) -> syn::Result<TokenStream> {
    let Expr::Lit(ExprLit { lit, .. }) = expr else {
        return Ok(quote!(#private::Some(#expr)));
    };
    let wrong = |why: &str| {
        syn::Error::new(expr.span(), format!("`cache`: {why}: write \"always\", or for how long, as in \"7d\""))
    };
    let Lit::Str(text) = lit else { return Err(wrong("it takes a text in quotes")) };
    if text.value() == "always" {
        return Ok(quote!(#private::None));
    }
    let time = flow_core::parse::duration(&text.value()).map_err(|e| wrong(&e))?;
    if time.is_zero() {
        return Err(wrong("nothing can be reused for no time"));
    }
    let (secs, nanos) = (time.as_secs(), time.subsec_nanos());
    Ok(quote!(#private::Some(#private::Duration::new(#secs, #nanos))))
}

/// Whether the whole program counts.
fn on(name: &Ident, expr: &Expr) -> syn::Result<bool> {
    let text = text(name, expr)?;
    match text.value().as_str() {
        "build" => Ok(true),
        "task" => Ok(false),
        other => {
            let sentence = format!(
                "`{name}`: there is no `{other}`; there are: task (its function alone), build (the whole program)"
            );
            Err(syn::Error::new(text.span(), sentence))
        }
    }
}

/// SHA-256 of a function as it is written, hexadecimal: without comments, doc comments among them, and without layout.
pub fn hash(function: &TokenStream) -> String {
    let mut hash = Sha256::new();
    write(function.clone(), &mut hash);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Token by token: how a compiler prints a stream of them is its own business, and may change with its version.
fn write(tokens: TokenStream, hash: &mut Sha256) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let (kind, text) = match token {
            // A doc comment is an attribute by now.
            TokenTree::Punct(punct) if punct.as_char() == '#' && tokens.peek().is_some_and(is_doc) => {
                tokens.next();
                continue;
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                hash.update([b'g']);
                hash.update(open);
                write(group.stream(), hash);
                hash.update(close);
                continue;
            }
            TokenTree::Ident(ident) => (b'i', ident.to_string()),
            TokenTree::Literal(literal) => (b'l', literal.to_string()),
            TokenTree::Punct(punct) => {
                (if punct.spacing() == Spacing::Joint { b'j' } else { b'p' }, punct.as_char().to_string())
            }
        };
        hash.update([kind]);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
}

fn is_doc(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket && matches!(first, Some(TokenTree::Ident(name)) if name == "doc")
}

#[cfg(test)]
mod tests {
    use super::hash;
    use crate::options::TaskOptions;
    use crate::support::Errors;

    fn of(text: &str) -> String {
        hash(&text.parse().expect("tokens"))
    }

    #[test]
    fn a_comment_and_the_layout_are_not_part_of_a_function() {
        let plain = of("fn f(a: u8) -> u8 { a + 1 }");
        assert_eq!(plain.len(), 64);
        for same in [
            "fn f(a: u8)->u8{\n  a +\n 1\n}",
            "/// What it does.\nfn f(a: u8) -> u8 { a + 1 /* one */ } // more",
            "#[doc = \"What it does.\"] fn f(/** the number */ a: u8) -> u8 { /// odd\n a + 1 }",
        ] {
            assert_eq!(of(same), plain, "{same}");
        }
    }

    #[test]
    fn every_token_is_part_of_a_function() {
        let plain = of("fn f(a: u8) -> u8 { a + 1 }");
        for other in [
            "fn f(a: u8) -> u8 { a + 2 }",
            "fn f(a: u8) -> u8 { a - 1 }",
            "fn f(b: u8) -> u8 { b + 1 }",
            "fn f(a: u8) -> u8 { (a + 1) }",
            "fn f(a: u8) -> u16 { a + 1 }",
            "#[inline] fn f(a: u8) -> u8 { a + 1 }",
            "fn f(a: u8) -> u8 { \"a\" + 1 }",
        ] {
            assert_ne!(of(other), plain, "{other}");
        }
        // Texts do not run into each other.
        assert_ne!(of("ab c"), of("a bc"));
        assert_ne!(of("a & & b"), of("a && b"));
    }

    /// What is wrong with these options; "" if nothing is.
    fn wrong(options: &str, sensor: bool) -> String {
        let mut errors = Errors::default();
        let private = quote::quote!(p);
        TaskOptions::parse(options.parse().expect("tokens"), sensor, &private, &mut errors);
        errors.finish().err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_cache_belongs_to_work_and_lasts_for_some_time() {
        assert_eq!(wrong("cache = \"always\", cache_key = tag(&url).await?, cache_if = File::is_there", false), "");
        assert_eq!(wrong("cache = WEEK, cache_version = \"2\", cache_on = \"build\"", false), "");
        for (options, sensor, sentence) in [
            ("cache = \"7d\"", true, "a sensor has no cache"),
            ("setup, cache = \"7d\"", false, "a setup has no cache"),
            ("cache = \"7d\", teardown", false, "a teardown has no cache"),
            ("cache = \"soon\"", false, "write \"always\", or for how long, as in \"7d\""),
            ("cache = \"0s\"", false, "nothing can be reused for no time"),
            ("cache = 7", false, "it takes a text in quotes"),
            ("cache", false, "`cache` needs a value"),
            ("cache = \"1d\", cache = \"2d\"", false, "`cache` is given twice"),
            ("cache_key = 1", false, "`cache_key` needs `cache = \"7d\"`"),
            ("cache = \"1d\", cache_on = \"crate\"", false, "there is no `crate`"),
            ("cache = \"1d\", cache_version = 2", false, "`cache_version` takes a text"),
        ] {
            let said = wrong(options, sensor);
            assert!(said.contains(sentence), "{options}: {said}");
        }
    }
}
