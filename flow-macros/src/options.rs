//! The options of `#[task(..)]` and `#[dag(..)]`, checked while they are read.

mod dag;
mod group;
mod limit;
mod task;

pub use dag::DagOptions;
pub use group::GroupOptions;
pub use task::TaskOptions;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use std::time::Duration;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, ExprLit, Ident, Lit, LitStr, Path, Token};

/// One `name`, `name = value` or `name(..)`.
struct Pair {
    name: Ident,
    value: PairValue,
}

enum PairValue {
    Flag,
    Is(Expr),
    Holds(TokenStream),
    Path(Path),
}

impl Pair {
    fn parse(input: ParseStream<'_>) -> syn::Result<Pair> {
        let name: Ident = syn::ext::IdentExt::parse_any(input)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            if name == "crate" {
                PairValue::Path(input.call(Path::parse_mod_style)?)
            } else {
                PairValue::Is(input.parse()?)
            }
        } else if input.peek(syn::token::Paren) {
            let content;
            syn::parenthesized!(content in input);
            PairValue::Holds(content.parse()?)
        } else {
            PairValue::Flag
        };
        Ok(Pair { name, value })
    }

    fn list(tokens: TokenStream) -> syn::Result<Vec<Pair>> {
        let parser = |input: ParseStream<'_>| input.parse_terminated(Pair::parse, Token![,]);
        parser.parse2(tokens).map(|list| list.into_iter().collect())
    }

    fn expr(&self) -> syn::Result<&Expr> {
        match &self.value {
            PairValue::Is(expr) => Ok(expr),
            _ => Err(self.error(format!("`{0}` needs a value: `{0} = ..`", self.name))),
        }
    }

    fn error(&self, sentence: impl std::fmt::Display) -> syn::Error {
        syn::Error::new(self.name.span(), sentence)
    }

    /// There is no option of this name; `options` are those that there are, with `, ` between.
    fn unknown(&self, whose: &str, options: &str, more: &str) -> syn::Error {
        let name = self.name.to_string();
        let meant = flow_core::meant(&name, options.split(", ").chain(more.split(", ")));
        let there = meant.map_or("; there".into(), |meant| format!(": did you mean `{meant}`? There"));
        let more = if more.is_empty() { String::new() } else { format!(", and those of a task: {more}") };
        self.error(format!("{whose} has no option `{name}`{there} are: {options}{more}"))
    }

    fn text(&self) -> syn::Result<LitStr> {
        match self.expr()? {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
            other => Err(syn::Error::new_spanned(other, format!("`{}` takes a text in quotes", self.name))),
        }
    }

    /// A text that `parse` understands; its error becomes the compiler's.
    fn checked<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> syn::Result<(LitStr, T)> {
        let text = self.text()?;
        let value = parse(&text.value()).map_err(|e| syn::Error::new(text.span(), format!("`{}`: {e}", self.name)))?;
        Ok((text, value))
    }

    /// A duration as an expression for a constant: from a text, or any other constant expression.
    fn duration(&self, private: &TokenStream) -> syn::Result<TokenStream> {
        match self.expr()? {
            Expr::Lit(_) => {
                let (_, time) = self.checked(flow_core::parse::duration)?;
                Ok(constant(time, private))
            }
            other => Ok(other.to_token_stream()),
        }
    }

    /// A whole number that fits `range`, or any other constant expression.
    fn number(&self, least: i64, most: i64) -> syn::Result<TokenStream> {
        let expr = self.expr()?;
        if let Some(value) = literal_number(expr)? {
            if value < least || value > most {
                return Err(syn::Error::new_spanned(
                    expr,
                    format!("`{}` takes a whole number from {least} to {most}", self.name),
                ));
            }
        } else if matches!(expr, Expr::Lit(_)) {
            return Err(syn::Error::new_spanned(expr, format!("`{}` takes a whole number", self.name)));
        }
        Ok(expr.to_token_stream())
    }

    fn factor(&self) -> syn::Result<TokenStream> {
        let expr = self.expr()?;
        let value = match expr {
            Expr::Lit(ExprLit { lit: Lit::Float(float), .. }) => float.base10_parse::<f64>()?,
            Expr::Lit(ExprLit { lit: Lit::Int(int), .. }) => int.base10_parse::<f64>()?,
            Expr::Lit(_) | Expr::Unary(_) => {
                return Err(syn::Error::new_spanned(expr, format!("`{}` takes a number, 0 or from 1 up", self.name)));
            }
            other => return Ok(other.to_token_stream()),
        };
        if value != 0.0 && value < 1.0 {
            return Err(syn::Error::new_spanned(expr, format!("`{}` takes 0 (off) or a number from 1 up", self.name)));
        }
        Ok(quote!(#value))
    }

    fn boolean(&self) -> syn::Result<bool> {
        match &self.value {
            PairValue::Flag => Ok(true),
            PairValue::Is(Expr::Lit(ExprLit { lit: Lit::Bool(value), .. })) => Ok(value.value),
            _ => Err(self.error(format!("`{}` takes `true` or `false`", self.name))),
        }
    }
}

fn literal_number(expr: &Expr) -> syn::Result<Option<i64>> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Int(int), .. }) => int.base10_parse().map(Some),
        Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Neg(_)) => Ok(literal_number(&unary.expr)?.map(|n| -n)),
        _ => Ok(None),
    }
}

/// A duration as a constant expression.
fn constant(time: Duration, private: &TokenStream) -> TokenStream {
    let (secs, nanos) = (time.as_secs(), time.subsec_nanos());
    quote!(#private::Duration::new(#secs, #nanos))
}

/// Sets a slot once; the second time is an error.
fn set<T>(slot: &mut Option<T>, pair: &Pair, value: T) -> syn::Result<()> {
    if slot.is_some() {
        return Err(pair.error(format!("`{}` is given twice", pair.name)));
    }
    *slot = Some(value);
    Ok(())
}

fn krate(pair: &Pair) -> syn::Result<Path> {
    let is_near =
        |path: &Path| path.segments.first().is_some_and(|first| first.ident == "self" || first.ident == "super");
    match &pair.value {
        // What a macro makes lies in modules of its own, where these name something else.
        PairValue::Path(path) if is_near(path) => Err(pair
            .error("`crate` takes a path that is the same everywhere: begin it with `crate::` or the name of a crate")),
        PairValue::Path(path) => Ok(path.clone()),
        _ => Err(pair.error("`crate` takes a path: `crate = my_flow`")),
    }
}

/// The path given by `crate = ..`, read before all else since every expansion needs it.
pub fn find_crate(tokens: &TokenStream) -> Option<Path> {
    Pair::list(tokens.clone()).ok()?.iter().find(|p| p.name == "crate").and_then(|p| krate(p).ok())
}

fn name_text(pair: &Pair) -> syn::Result<LitStr> {
    let text = pair.text()?;
    if text.value().trim().is_empty() {
        return Err(syn::Error::new(text.span(), format!("`{}` cannot be empty", pair.name)));
    }
    Ok(text)
}

fn id_text(pair: &Pair) -> syn::Result<LitStr> {
    let text = pair.text()?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.value().is_empty() || !text.value().chars().all(good) {
        return Err(syn::Error::new(text.span(), "an id is made of letters, digits, `_`, `-` and `.`"));
    }
    Ok(text)
}
