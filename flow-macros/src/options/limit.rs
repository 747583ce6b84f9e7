//! `at_once(1, key = "load {table}")` and `rate("10/s", key = "api")`: limits of all that have the same key.

use super::{Pair, PairValue, constant, literal_number};
use crate::support::Errors;
use flow_core::{key, parse};
use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, ExprLit, Ident, Lit, LitStr, Token};

/// A constant `AtOnceOption`.
pub fn at_once(pair: &Pair, private: &TokenStream, keys: &mut Vec<LitStr>) -> syn::Result<TokenStream> {
    let (most, key) = parts(pair, "at_once(1, key = \"load {table}\")")?;
    let number = literal_number(&most)?.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let number = number.ok_or_else(|| syn::Error::new_spanned(&most, "`at_once` takes a whole number from 1 up"))?;
    let tokens = quote!(#private::AtOnceOption { most: #number, key: #key });
    keys.push(key);
    Ok(tokens)
}

/// A constant `RateOption`.
pub fn rate(pair: &Pair, private: &TokenStream, keys: &mut Vec<LitStr>) -> syn::Result<TokenStream> {
    let (rate, key) = parts(pair, "rate(\"10/s\", key = \"api\")")?;
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &rate else {
        return Err(syn::Error::new_spanned(&rate, "`rate` takes a text in quotes: `\"10/s\"`"));
    };
    let (starts, span) = parse::rate(&text.value()).map_err(|e| syn::Error::new(text.span(), e))?;
    let span = constant(span, private);
    let tokens = quote!(#private::RateOption { starts: #starts, span: #span, key: #key });
    keys.push(key);
    Ok(tokens)
}

/// How many, and the key.
fn parts(pair: &Pair, like: &str) -> syn::Result<(Expr, LitStr)> {
    let refuse = || pair.error(format!("`{}` takes how many and a key: `{like}`", pair.name));
    let PairValue::Holds(tokens) = &pair.value else { return Err(refuse()) };
    let parser = |input: ParseStream<'_>| {
        let limit: Expr = input.parse()?;
        input.parse::<Token![,]>()?;
        let name: Ident = input.parse()?;
        input.parse::<Token![=]>()?;
        let key: LitStr = input.parse()?;
        input.parse::<Option<Token![,]>>()?;
        Ok((limit, name, key))
    };
    let (limit, name, text) = parser.parse2(tokens.clone()).map_err(|_| refuse())?;
    if name != "key" {
        return Err(refuse());
    }
    key::pieces(&text.value()).map_err(|e| syn::Error::new(text.span(), e))?;
    Ok((limit, text))
}

/// Says which of these keys name what is no argument of the task.
pub fn check_keys(keys: &[LitStr], arguments: &[String], errors: &mut Errors) {
    for text in keys {
        for name in key::arguments(&text.value()).unwrap_or_default() {
            if !arguments.contains(&name) {
                let there = match arguments {
                    [] => "it has none".into(),
                    some => format!("there are: {}", some.join(", ")),
                };
                errors.add(syn::Error::new(text.span(), format!("the task has no argument `{name}`; {there}")));
            }
        }
    }
}
