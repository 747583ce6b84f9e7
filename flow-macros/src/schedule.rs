//! `schedule = ..` of `#[dag(..)]`: texts, lists of them, `assets(..)` and `custom(..)`.

use crate::support::text_of;
use flow_core::schedule::Schedule;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Lit, LitStr};

/// A schedule as an expression, and what must stand beside it: the timetables that it registers.
#[derive(Default)]
pub struct ScheduleTokens {
    pub value: TokenStream,
    pub items: Vec<TokenStream>,
}

pub fn read(expr: &Expr, private: &TokenStream) -> syn::Result<ScheduleTokens> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            check(text, Schedule::parse(&text.value()))?;
            Ok(plain(text))
        }
        Expr::Lit(other) => Err(syn::Error::new_spanned(other, "`schedule` takes a text in quotes")),
        Expr::Array(array) => {
            let texts = array.elems.iter().map(element).collect::<syn::Result<Vec<LitStr>>>()?;
            let list: Vec<String> = texts.iter().map(LitStr::value).collect();
            check(array, Schedule::list(&list))?;
            Ok(plain(array))
        }
        Expr::Call(call) if is(&call.func, "assets") => {
            let args = &call.args;
            if args.len() != 1 {
                let sentence = "`assets(..)` takes one condition: `assets(TRIPS & WEATHER)`";
                return Err(syn::Error::new_spanned(call, sentence));
            }
            Ok(plain(quote_spanned!(call.func.span()=> #private::assets(#args))))
        }
        Expr::Call(call) if is(&call.func, "custom") => match call.args.first().filter(|_| call.args.len() == 1) {
            Some(timetable) => Ok(custom(timetable, private)),
            None => Err(syn::Error::new_spanned(call, "`custom(..)` takes one timetable: `custom(WorkingDays)`")),
        },
        Expr::MethodCall(call) if call.method == "or" && call.args.len() == 1 => {
            let (when, mut times) = (read(&call.receiver, private)?, read(&call.args[0], private)?);
            let (method, assets, value) = (&call.method, when.value, times.value);
            times.items.extend(when.items);
            Ok(ScheduleTokens { value: quote!(#assets.#method(#value)), items: times.items })
        }
        other => Ok(plain(other)),
    }
}

fn plain(value: impl ToTokens) -> ScheduleTokens {
    ScheduleTokens { value: value.into_token_stream(), items: Vec::new() }
}

fn check<E: std::fmt::Display>(at: impl ToTokens, schedule: Result<Schedule, E>) -> syn::Result<()> {
    schedule.map(drop).map_err(|e| syn::Error::new_spanned(at, format!("`schedule`: {e}")))
}

fn element(expr: &Expr) -> syn::Result<LitStr> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
        other => Err(syn::Error::new_spanned(other, "a list of dates or of cron expressions holds texts in quotes")),
    }
}

/// Is the callee this plain word?
fn is(callee: &Expr, word: &str) -> bool {
    matches!(callee, Expr::Path(path) if path.path.is_ident(word))
}

/// Registers the timetable under its module and its text, by which a DAG, which is data, finds it again.
fn custom(timetable: &Expr, private: &TokenStream) -> ScheduleTokens {
    let text = text_of(timetable);
    let name = quote!(::core::concat!(::core::module_path!(), "::", #text));
    let make = quote_spanned!(timetable.span()=> || #private::boxed(#timetable));
    ScheduleTokens {
        value: quote!(#private::OwnTimetable(#name)),
        items: vec![quote! {
            #private::inventory::submit! {
                #private::TimetableEntry { name: #name, make: #make }
            }
        }],
    }
}
