//! Whom to tell: `on_failure = "ops"`, `on_failure = [log, webhook("https://..")]`.

use crate::support::option;
use flow_core::{Notifier, Occasion};
use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{Expr, ExprLit, Lit};

const FORMS: &str = "write `log`, the name of a notifier of flow.toml in quotes, `webhook(\"https://..\")`, \
                     `command(\"program\", \"argument\")`, or several of them in `[..]`";

/// Whom one option names, as constants.
type Told = Option<Vec<TokenStream>>;

/// What a task tells, and to whom.
#[derive(Default)]
pub struct NotifyOptions {
    failure: Told,
    retry: Told,
    success: Told,
    skipped: Told,
}

impl NotifyOptions {
    /// Is this an option of a task that names whom to tell?
    pub fn is_one(name: &Ident) -> bool {
        Occasion::ALL.iter().any(|o| name == o.option() && *o != Occasion::Deadline)
    }

    /// Reads the value of one of them.
    pub fn read(&mut self, name: &Ident, expr: &Expr, private: &TokenStream) -> syn::Result<()> {
        let slot = match name.to_string().as_str() {
            "on_failure" => &mut self.failure,
            "on_retry" => &mut self.retry,
            "on_success" => &mut self.success,
            _ => &mut self.skipped,
        };
        if slot.is_some() {
            return Err(syn::Error::new(name.span(), format!("`{name}` is given twice")));
        }
        *slot = Some(notifiers(expr, private)?);
        Ok(())
    }

    /// A constant `NotifyOptions`.
    pub fn tokens(&self, private: &TokenStream) -> TokenStream {
        let list = |told: &Told| option(told.as_ref().map(|list| quote!(&[#(#list),*])), private);
        let (failure, retry, success, skipped) =
            (list(&self.failure), list(&self.retry), list(&self.success), list(&self.skipped));
        quote! {
            #private::NotifyOptions {
                on_failure: #failure,
                on_retry: #retry,
                on_success: #success,
                on_skipped: #skipped,
            }
        }
    }
}

/// One notifier, or a list of them, as constants of type `NotifierSpec`.
pub fn notifiers(expr: &Expr, private: &TokenStream) -> syn::Result<Vec<TokenStream>> {
    match expr {
        Expr::Array(array) if array.elems.is_empty() => {
            Err(syn::Error::new_spanned(array, "nobody is told: leave it out"))
        }
        Expr::Array(array) => array.elems.iter().map(|one| notifier(one, private)).collect(),
        one => Ok(vec![notifier(one, private)?]),
    }
}

fn notifier(expr: &Expr, private: &TokenStream) -> syn::Result<TokenStream> {
    let refused = || syn::Error::new_spanned(expr, format!("this tells nobody: {FORMS}"));
    let notifier = match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(name), .. }) => Notifier::Named(name.value()),
        Expr::Path(path) if path.path.is_ident("log") => Notifier::Log,
        Expr::Call(call) => {
            let Expr::Path(kind) = &*call.func else { return Err(refused()) };
            let texts = call.args.iter().map(text).collect::<syn::Result<Vec<String>>>()?;
            match (kind.path.get_ident().map(ToString::to_string).as_deref(), texts.as_slice()) {
                (Some("log"), []) => Notifier::Log,
                (Some("webhook"), [url]) => Notifier::webhook(url),
                (Some("command"), [_, ..]) => Notifier::command(texts),
                (Some("slack"), _) => {
                    let sentence = "the URL of a Slack webhook is a secret: give it a name in flow.toml \
                                    (`[notifiers]`, `ops = { kind = \"slack\", url = \"..\" }`), and write the name here";
                    return Err(syn::Error::new_spanned(expr, sentence));
                }
                _ => return Err(refused()),
            }
        }
        _ => return Err(refused()),
    };
    notifier.check().map_err(|sentence| syn::Error::new_spanned(expr, sentence))?;
    Ok(match notifier {
        Notifier::Log => quote!(#private::NotifierSpec::Log),
        Notifier::Named(name) => quote!(#private::NotifierSpec::Named(#name)),
        Notifier::Webhook(url) => quote!(#private::NotifierSpec::Webhook(#url)),
        Notifier::Command(argv) => quote!(#private::NotifierSpec::Command(&[#(#argv),*])),
    })
}

fn text(expr: &Expr) -> syn::Result<String> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.value()),
        other => Err(syn::Error::new_spanned(other, "a notifier takes texts in quotes")),
    }
}
