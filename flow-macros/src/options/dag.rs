//! The options of a DAG.

use super::task::defaults;
use super::{Pair, id_text, krate};
use crate::notify::notifiers;
use crate::schedule;
use crate::support::Errors;
use proc_macro2::{Span, TokenStream};
use quote::quote;
use std::time::SystemTime;
use syn::{Expr, ExprLit, Lit, LitStr, Path};

/// Their names, as they are listed in a message.
const DAG_OPTIONS: &str = "default, schedule, timezone, data_intervals, start_date, end_date, catchup, tags, max_active_runs, max_active_tasks, \
                           fail_fast, max_consecutive_failed_dag_runs, \
                           dagrun_timeout, deadline, deadline_from, on_failure, on_success, on_deadline, \
                           defaults, id, doc, crate";

/// The options of a DAG, as calls on a `DagBuilder`.
#[derive(Default)]
pub struct DagOptions {
    pub id: Option<LitStr>,
    pub doc: Option<String>,
    krate: Option<Path>,
    default: Option<bool>,
    defaults: Option<TokenStream>,
    /// `.schedule("..")` and its like.
    calls: Vec<TokenStream>,
    /// What is registered beside it.
    pub items: Vec<TokenStream>,
    seen: Vec<String>,
    span: Option<Span>,
    start: Option<SystemTime>,
    end: Option<SystemTime>,
}

impl DagOptions {
    pub fn parse(tokens: TokenStream, private: &TokenStream, errors: &mut Errors) -> DagOptions {
        let mut options = DagOptions::default();
        for pair in errors.take(Pair::list(tokens)).unwrap_or_default() {
            let read = options.read(&pair, private, errors);
            errors.take(read);
        }
        if let (Some(start), Some(end), Some(span)) = (options.start, options.end, options.span)
            && end < start
        {
            errors.add(syn::Error::new(span, "`end_date` lies before `start_date`"));
        }
        options
    }

    fn read(&mut self, pair: &Pair, private: &TokenStream, errors: &mut Errors) -> syn::Result<()> {
        let name = pair.name.to_string();
        if self.seen.contains(&name) {
            return Err(pair.error(format!("`{name}` is given twice")));
        }
        self.seen.push(name.clone());
        let method = &pair.name;
        let call = match name.as_str() {
            "schedule" => {
                let schedule = schedule::read(pair.expr()?, private)?;
                self.items = schedule.items;
                let value = schedule.value;
                quote!(.schedule(#value))
            }
            "timezone" => {
                let zone = |name: &str| flow_core::timetable::zone(Some(name)).map_err(|e| e.to_string());
                let (text, _) = pair.checked(zone)?;
                quote!(.timezone(#text))
            }
            "start_date" | "end_date" => {
                let (text, date) = pair.checked(flow_core::parse::date)?;
                if name == "start_date" {
                    self.start = Some(date.into());
                } else {
                    self.end = Some(date.into());
                    self.span = Some(text.span());
                }
                quote!(.#method(#text))
            }
            "catchup" | "fail_fast" | "data_intervals" => {
                let value = pair.boolean()?;
                quote!(.#method(#value))
            }
            "tags" => {
                let tags = tags(pair)?;
                quote!(.tags([#(#tags),*]))
            }
            "max_active_runs" | "max_active_tasks" | "max_consecutive_failed_dag_runs" => {
                let number = pair.number(1, u32::MAX.into())?;
                quote!(.#method(#number))
            }
            "dagrun_timeout" | "deadline" => {
                let time = pair.duration(private)?;
                quote!(.#method(#time))
            }
            "deadline_from" => {
                let none = |name: &str| format!("there is no instant `{name}`; there are: start, logical_date");
                let from = |name: &str| flow_core::DeadlineFrom::from_name(name).ok_or_else(|| none(name));
                let (text, _) = pair.checked(from)?;
                quote!(.deadline_from(#text))
            }
            "on_failure" | "on_success" | "on_deadline" => {
                let told = notifiers(pair.expr()?, private)?;
                quote!(.#method([#(#told),*]))
            }
            "default" => {
                self.default = Some(pair.boolean()?);
                return Ok(());
            }
            "defaults" => {
                self.defaults = Some(defaults(pair, private, errors)?);
                return Ok(());
            }
            "id" => {
                self.id = Some(id_text(pair)?);
                return Ok(());
            }
            "doc" => {
                self.doc = Some(pair.text()?.value());
                return Ok(());
            }
            "crate" => {
                self.krate = Some(krate(pair)?);
                return Ok(());
            }
            _ => return Err(pair.unknown("a DAG", DAG_OPTIONS, "")),
        };
        self.calls.push(call);
        Ok(())
    }

    /// The calls on the builder.
    pub fn tokens(&self) -> TokenStream {
        let calls = &self.calls;
        let defaults = self.defaults.as_ref().map(|d| quote!(.defaults(#d)));
        let default = self.default.map(|d| quote!(.default_dag(#d)));
        quote!(#(#calls)* #defaults #default)
    }
}

fn tags(pair: &Pair) -> syn::Result<Vec<LitStr>> {
    let Expr::Array(array) = pair.expr()? else {
        return Err(pair.error("`tags` takes a list of texts: `tags = [\"taxi\"]`"));
    };
    array
        .elems
        .iter()
        .map(|tag| match tag {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
            other => Err(syn::Error::new_spanned(other, "a tag is a text in quotes")),
        })
        .collect()
}
