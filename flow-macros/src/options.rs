//! The options of `#[task(..)]` and `#[dag(..)]`, checked while they are read.

use crate::support::{Errors, option};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use std::time::{Duration, SystemTime};
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Ident, Lit, LitStr, Path, Token};

/// The names of a task's options, as they are listed in a message.
const TASK_OPTIONS: &str = "retries, retry_delay, retry_backoff, max_retry_delay, timeout, trigger_rule, pool, pool_slots, \
                            priority, weight_rule, queue, setup, teardown, on_failure_fail_dagrun, isolation, id, doc, crate";
const GROUP_OPTIONS: &str = "prefix, defaults, id, doc, crate";
const DAG_OPTIONS: &str = "default, schedule, timezone, start_date, end_date, catchup, tags, max_active_runs, max_active_tasks, \
                           fail_fast, max_consecutive_failed_dag_runs, \
                           dagrun_timeout, defaults, id, doc, crate";

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
    match &pair.value {
        PairValue::Path(path) => Ok(path.clone()),
        _ => Err(pair.error("`crate` takes a path: `crate = my_flow`")),
    }
}

/// The path given by `crate = ..`, read before all else since every expansion needs it.
pub fn find_crate(tokens: &TokenStream) -> Option<Path> {
    Pair::list(tokens.clone()).ok()?.iter().find(|p| p.name == "crate").and_then(|p| krate(p).ok())
}

/// The options of a task, as tokens of the fields of `TaskOptions`.
#[derive(Default)]
pub struct TaskOptions {
    id: Option<LitStr>,
    pub doc: Option<String>,
    krate: Option<Path>,
    retries: Option<TokenStream>,
    retry_delay: Option<TokenStream>,
    retry_backoff: Option<TokenStream>,
    max_retry_delay: Option<TokenStream>,
    timeout: Option<TokenStream>,
    trigger_rule: Option<TokenStream>,
    pool: Option<LitStr>,
    pool_slots: Option<TokenStream>,
    priority: Option<TokenStream>,
    weight_rule: Option<TokenStream>,
    queue: Option<LitStr>,
    setup: Option<bool>,
    teardown: Option<bool>,
    fails_run: Option<bool>,
    isolation: Option<TokenStream>,
}

impl TaskOptions {
    pub fn parse(tokens: TokenStream, private: &TokenStream, errors: &mut Errors) -> TaskOptions {
        let mut options = TaskOptions::default();
        for pair in errors.take(Pair::list(tokens)).unwrap_or_default() {
            let read = options.read(&pair, private);
            errors.take(read);
            let is = |flag: Option<bool>| flag == Some(true);
            if is(options.setup) && is(options.teardown) {
                errors.add(pair.error("a task is a setup or a teardown, not both"));
            }
        }
        if let (Some(true), false) = (options.fails_run, options.teardown == Some(true)) {
            let sentence = "`on_failure_fail_dagrun` belongs to a teardown: any other task fails the run anyway";
            errors.add(syn::Error::new(Span::call_site(), sentence));
        }
        options
    }

    fn read(&mut self, pair: &Pair, private: &TokenStream) -> syn::Result<()> {
        match pair.name.to_string().as_str() {
            "retries" => set(&mut self.retries, pair, pair.number(0, u32::MAX.into())?),
            "retry_delay" => set(&mut self.retry_delay, pair, pair.duration(private)?),
            "retry_backoff" => set(&mut self.retry_backoff, pair, pair.factor()?),
            "max_retry_delay" => set(&mut self.max_retry_delay, pair, pair.duration(private)?),
            "timeout" => {
                let time = pair.duration(private)?;
                if pair.checked(flow_core::parse::duration).is_ok_and(|(_, t)| t.is_zero()) {
                    return Err(syn::Error::new(
                        pair.expr()?.span(),
                        "`timeout` cannot be zero: leave it out for no timeout",
                    ));
                }
                set(&mut self.timeout, pair, time)
            }
            "trigger_rule" => set(&mut self.trigger_rule, pair, trigger_rule(pair, private)?),
            "pool" => set(&mut self.pool, pair, name_text(pair)?),
            "pool_slots" => set(&mut self.pool_slots, pair, pair.number(1, u32::MAX.into())?),
            "priority" => set(&mut self.priority, pair, pair.number(i64::MIN, i64::MAX)?),
            "weight_rule" => set(&mut self.weight_rule, pair, weight_rule(pair, private)?),
            "queue" => set(&mut self.queue, pair, name_text(pair)?),
            "setup" => set(&mut self.setup, pair, pair.boolean()?),
            "teardown" => set(&mut self.teardown, pair, pair.boolean()?),
            "on_failure_fail_dagrun" => set(&mut self.fails_run, pair, pair.boolean()?),
            "isolation" => set(&mut self.isolation, pair, isolation(pair, private)?),
            "id" => set(&mut self.id, pair, id_text(pair)?),
            "doc" => set(&mut self.doc, pair, pair.text()?.value()),
            "crate" => set(&mut self.krate, pair, krate(pair)?),
            other => Err(pair.error(format!("a task has no option `{other}`; there are: {TASK_OPTIONS}"))),
        }
    }

    /// A constant `TaskOptions`.
    pub fn tokens(&self, private: &TokenStream) -> TokenStream {
        let some = |tokens: &Option<TokenStream>| option(tokens.as_ref(), private);
        let text = |text: &Option<LitStr>| option(text.as_ref(), private);
        let (id, pool, queue) = (text(&self.id), text(&self.pool), text(&self.queue));
        let (retries, retry_delay, retry_backoff) =
            (some(&self.retries), some(&self.retry_delay), some(&self.retry_backoff));
        let (max_retry_delay, timeout, trigger_rule) =
            (some(&self.max_retry_delay), some(&self.timeout), some(&self.trigger_rule));
        let (pool_slots, priority, weight_rule) =
            (some(&self.pool_slots), some(&self.priority), some(&self.weight_rule));
        let isolation = some(&self.isolation);
        let fails = self.fails_run == Some(true);
        let kind = match (self.setup, self.teardown) {
            (Some(true), _) => quote!(#private::Some(#private::TaskKind::Setup)),
            (_, Some(true)) => quote!(#private::Some(#private::TaskKind::Teardown { on_failure_fail_dagrun: #fails })),
            _ => quote!(#private::None),
        };
        quote! {
            #private::TaskOptions {
                id: #id,
                retries: #retries,
                retry_delay: #retry_delay,
                retry_backoff: #retry_backoff,
                max_retry_delay: #max_retry_delay,
                timeout: #timeout,
                trigger_rule: #trigger_rule,
                pool: #pool,
                pool_slots: #pool_slots,
                priority: #priority,
                weight_rule: #weight_rule,
                queue: #queue,
                kind: #kind,
                isolation: #isolation,
            }
        }
    }

    /// Are there options that only one task can have?
    fn are_of_one_task(&self) -> bool {
        self.id.is_some()
            || self.doc.is_some()
            || self.krate.is_some()
            || self.setup.is_some()
            || self.teardown.is_some()
    }
}

/// `defaults(retries = 2)`
fn defaults(pair: &Pair, private: &TokenStream, errors: &mut Errors) -> syn::Result<TokenStream> {
    let PairValue::Holds(tokens) = &pair.value else {
        return Err(pair.error("`defaults` takes task options in parentheses: `defaults(retries = 2)`"));
    };
    let options = TaskOptions::parse(tokens.clone(), private, errors);
    if options.are_of_one_task() {
        return Err(
            pair.error("`id`, `doc`, `crate`, `setup` and `teardown` belong to one task and cannot be a default")
        );
    }
    Ok(options.tokens(private))
}

fn isolation(pair: &Pair, private: &TokenStream) -> syn::Result<TokenStream> {
    let (text, variant) = pair.checked(|name| match name {
        "process" => Ok("Process"),
        "none" => Ok("None"),
        other => Err(format!("there is no isolation `{other}`; there are: process, none")),
    })?;
    let variant = Ident::new(variant, text.span());
    Ok(quote!(#private::Isolation::#variant))
}

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
            other => Err(pair.error(format!("a group has no option `{other}`; there are: {GROUP_OPTIONS}"))),
        }
    }
}

fn trigger_rule(pair: &Pair, private: &TokenStream) -> syn::Result<TokenStream> {
    use flow_core::TriggerRule;
    if !matches!(pair.expr()?, Expr::Lit(_)) {
        return Ok(pair.expr()?.to_token_stream());
    }
    let (text, rule) = pair.checked(|name| {
        let names: Vec<&str> = TriggerRule::ALL.iter().map(|r| r.name()).collect();
        TriggerRule::from_name(name)
            .ok_or_else(|| format!("there is no trigger rule `{name}`; there are: {}", names.join(", ")))
    })?;
    let variant = Ident::new(&format!("{rule:?}"), text.span());
    Ok(quote!(#private::TriggerRule::#variant))
}

fn weight_rule(pair: &Pair, private: &TokenStream) -> syn::Result<TokenStream> {
    if !matches!(pair.expr()?, Expr::Lit(_)) {
        return Ok(pair.expr()?.to_token_stream());
    }
    let (text, variant) = pair.checked(|name| match name {
        "downstream" => Ok("Downstream"),
        "upstream" => Ok("Upstream"),
        "absolute" => Ok("Absolute"),
        other => Err(format!("there is no weight rule `{other}`; there are: downstream, upstream, absolute")),
    })?;
    let variant = Ident::new(variant, text.span());
    Ok(quote!(#private::WeightRule::#variant))
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
                let (text, _) = pair.checked(|t| flow_core::schedule::Schedule::parse(t).map_err(|e| e.to_string()))?;
                quote!(.schedule(#text))
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
            "catchup" | "fail_fast" => {
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
            "dagrun_timeout" => {
                let time = pair.duration(private)?;
                quote!(.dagrun_timeout(#time))
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
            other => {
                return Err(pair.error(format!("a DAG has no option `{other}`; there are: {DAG_OPTIONS}")));
            }
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
