//! The options of a task, a sensor among them.

use super::{Pair, PairValue, id_text, krate, limit, name_text, set};
use crate::cache::CacheOptions;
use crate::notify::NotifyOptions;
use crate::support::{Errors, option};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Expr, Ident, LitStr, Path};

/// The names of a task's options, as they are listed in a message.
const TASK_OPTIONS: &str = "retries, retry_delay, retry_backoff, max_retry_delay, timeout, trigger_rule, pool, pool_slots, \
                            max_active, max_active_per_run, at_once, rate, depends_on_past, wait_for_downstream, \
                            ignore_first_depends_on_past, priority, weight_rule, queue, setup, teardown, \
                            on_failure_fail_dagrun, isolation, outlets, inlets, cache, cache_version, cache_key, cache_if, \
                            cache_on, on_failure, on_retry, on_success, on_skipped, id, doc, crate";
/// Those that a sensor has besides.
const SENSOR_OPTIONS: &str = "poke_interval, poke_backoff, max_poke_interval, mode, soft_fail";

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
    max_active: Option<TokenStream>,
    max_active_per_run: Option<TokenStream>,
    at_once: Option<TokenStream>,
    rate: Option<TokenStream>,
    /// The keys among these options.
    keys: Vec<LitStr>,
    depends_on_past: Option<bool>,
    wait_for_downstream: Option<bool>,
    ignore_first: Option<bool>,
    priority: Option<TokenStream>,
    weight_rule: Option<TokenStream>,
    queue: Option<LitStr>,
    setup: Option<bool>,
    teardown: Option<bool>,
    fails_run: Option<bool>,
    isolation: Option<TokenStream>,
    outlets: Option<TokenStream>,
    inlets: Option<TokenStream>,
    notify: NotifyOptions,
    pub cache: CacheOptions,
    sensor: bool,
    poke_interval: Option<TokenStream>,
    poke_backoff: Option<TokenStream>,
    max_poke_interval: Option<TokenStream>,
    mode: Option<TokenStream>,
    soft_fail: Option<bool>,
}

impl TaskOptions {
    pub fn parse(tokens: TokenStream, sensor: bool, private: &TokenStream, errors: &mut Errors) -> TaskOptions {
        let mut options = TaskOptions { sensor, ..TaskOptions::default() };
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
        let other = match (sensor, options.setup, options.teardown) {
            (true, ..) => Some("a sensor"),
            (_, Some(true), _) => Some("a setup"),
            (_, _, Some(true)) => Some("a teardown"),
            _ => None,
        };
        errors.take(options.cache.check(other));
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
            "max_active" => set(&mut self.max_active, pair, pair.number(1, u32::MAX.into())?),
            "max_active_per_run" => set(&mut self.max_active_per_run, pair, pair.number(1, u32::MAX.into())?),
            "at_once" => set(&mut self.at_once, pair, limit::at_once(pair, private, &mut self.keys)?),
            "rate" => set(&mut self.rate, pair, limit::rate(pair, private, &mut self.keys)?),
            "depends_on_past" => set(&mut self.depends_on_past, pair, pair.boolean()?),
            "wait_for_downstream" => set(&mut self.wait_for_downstream, pair, pair.boolean()?),
            "ignore_first_depends_on_past" => set(&mut self.ignore_first, pair, pair.boolean()?),
            "priority" => set(&mut self.priority, pair, pair.number(i64::MIN, i64::MAX)?),
            "weight_rule" => set(&mut self.weight_rule, pair, weight_rule(pair, private)?),
            "queue" => set(&mut self.queue, pair, name_text(pair)?),
            "setup" => set(&mut self.setup, pair, pair.boolean()?),
            "teardown" => set(&mut self.teardown, pair, pair.boolean()?),
            "on_failure_fail_dagrun" => set(&mut self.fails_run, pair, pair.boolean()?),
            "isolation" => set(&mut self.isolation, pair, isolation(pair, private)?),
            "outlets" => set(&mut self.outlets, pair, assets(pair)?),
            "inlets" => set(&mut self.inlets, pair, assets(pair)?),
            _ if CacheOptions::is_one(&pair.name) => self.cache.read(&pair.name, pair.expr()?, private),
            _ if NotifyOptions::is_one(&pair.name) => self.notify.read(&pair.name, pair.expr()?, private),
            "id" => set(&mut self.id, pair, id_text(pair)?),
            "doc" => set(&mut self.doc, pair, pair.text()?.value()),
            "crate" => set(&mut self.krate, pair, krate(pair)?),
            "poke_interval" if self.sensor => set(&mut self.poke_interval, pair, pair.duration(private)?),
            "poke_backoff" if self.sensor => set(&mut self.poke_backoff, pair, pair.factor()?),
            "max_poke_interval" if self.sensor => set(&mut self.max_poke_interval, pair, pair.duration(private)?),
            "mode" if self.sensor => set(&mut self.mode, pair, mode(pair, private)?),
            "soft_fail" if self.sensor => set(&mut self.soft_fail, pair, pair.boolean()?),
            _ if self.sensor => Err(pair.unknown("a sensor", SENSOR_OPTIONS, TASK_OPTIONS)),
            other if SENSOR_OPTIONS.split(", ").any(|name| name == other) => {
                Err(pair.error(format!("`{other}` is an option of a sensor: write `#[sensor(..)]`")))
            }
            _ => Err(pair.unknown("a task", TASK_OPTIONS, "")),
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
        let (isolation, notify) = (some(&self.isolation), self.notify.tokens(private));
        let (outlets, inlets) = (&self.outlets, &self.inlets);
        let sensor = self.sensor_tokens(private);
        let (max_active, max_active_per_run) = (some(&self.max_active), some(&self.max_active_per_run));
        let (at_once, rate) = (some(&self.at_once), some(&self.rate));
        let flag = |flag: Option<bool>| option(flag.as_ref(), private);
        let (depends_on_past, wait_for_downstream) = (flag(self.depends_on_past), flag(self.wait_for_downstream));
        let ignore_first_depends_on_past = flag(self.ignore_first);
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
                max_active: #max_active,
                max_active_per_run: #max_active_per_run,
                at_once: #at_once,
                rate: #rate,
                depends_on_past: #depends_on_past,
                wait_for_downstream: #wait_for_downstream,
                ignore_first_depends_on_past: #ignore_first_depends_on_past,
                priority: #priority,
                weight_rule: #weight_rule,
                queue: #queue,
                kind: #kind,
                isolation: #isolation,
                outlets: &[#outlets],
                inlets: &[#inlets],
                notify: #notify,
                sensor: #sensor,
            }
        }
    }

    /// A constant `SensorOptions`.
    fn sensor_tokens(&self, private: &TokenStream) -> TokenStream {
        if !self.sensor {
            return quote!(#private::SensorOptions::NONE);
        }
        let some = |tokens: &Option<TokenStream>| option(tokens.as_ref(), private);
        let (interval, backoff, max, mode) =
            (some(&self.poke_interval), some(&self.poke_backoff), some(&self.max_poke_interval), some(&self.mode));
        let soft_fail = option(self.soft_fail, private);
        quote! {
            #private::SensorOptions {
                is_sensor: true,
                poke_interval: #interval,
                poke_backoff: #backoff,
                max_poke_interval: #max,
                mode: #mode,
                soft_fail: #soft_fail,
            }
        }
    }

    /// Says which keys name what is no argument of the task.
    pub fn check_keys(&self, arguments: &[String], errors: &mut Errors) {
        limit::check_keys(&self.keys, arguments, errors);
    }

    /// Are there options that only one task can have?
    fn are_of_one_task(&self) -> bool {
        self.id.is_some()
            || self.doc.is_some()
            || self.krate.is_some()
            || self.setup.is_some()
            || self.teardown.is_some()
            || self.outlets.is_some()
            || self.inlets.is_some()
            || self.cache.are_any()
    }
}

/// `defaults(retries = 2)`
pub(super) fn defaults(pair: &Pair, private: &TokenStream, errors: &mut Errors) -> syn::Result<TokenStream> {
    let PairValue::Holds(tokens) = &pair.value else {
        return Err(pair.error("`defaults` takes task options in parentheses: `defaults(retries = 2)`"));
    };
    let options = TaskOptions::parse(tokens.clone(), false, private, errors);
    if options.are_of_one_task() {
        return Err(
            pair.error("`id`, `doc`, `crate`, `setup`, `teardown`, `outlets`, `inlets` and `cache` belong to one task and cannot be a default")
        );
    }
    Ok(options.tokens(private))
}

fn mode(pair: &Pair, private: &TokenStream) -> syn::Result<TokenStream> {
    let (text, variant) = pair.checked(|name| match name {
        "poke" => Ok("Poke"),
        "reschedule" => Ok("Reschedule"),
        other => Err(format!("there is no mode `{other}`; there are: reschedule, poke")),
    })?;
    let variant = Ident::new(variant, text.span());
    Ok(quote!(#private::SensorMode::#variant))
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

/// `outlets = [TRIPS, lake::WEATHER]`: constants, which the compiler knows.
fn assets(pair: &Pair) -> syn::Result<TokenStream> {
    let Expr::Array(array) = pair.expr()? else {
        return Err(pair.error(format!("`{0}` takes a list of assets: `{0} = [TRIPS]`", pair.name)));
    };
    if let Some(text) = array.elems.iter().find(|asset| matches!(asset, Expr::Lit(_))) {
        let sentence = "an asset is a constant: `const TRIPS: Asset = Asset::new(\"trips\");`, and then `[TRIPS]`";
        return Err(syn::Error::new_spanned(text, sentence));
    }
    Ok(array.elems.to_token_stream())
}
