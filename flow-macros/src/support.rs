//! What the macros share: errors that are gathered, doc comments, the path of the runtime.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Path};

/// The item as it was, and the errors: so the rest of the file is still understood by the compiler and the editor.
pub fn with_errors(item: TokenStream, error: &syn::Error) -> TokenStream {
    let errors = error.to_compile_error();
    quote!(#item #errors)
}

/// The function without `#[default(..)]` and doc comments on its arguments, which only `#[dag]` understands.
pub fn without_param_attributes(item: TokenStream) -> TokenStream {
    let Ok(mut function) = syn::parse2::<syn::ItemFn>(item.clone()) else {
        return item;
    };
    for input in &mut function.sig.inputs {
        if let syn::FnArg::Typed(arg) = input {
            arg.attrs.clear();
        }
    }
    // The body speaks of nodes, which only the macro could explain to the compiler.
    *function.block = syn::parse_quote!({ ::core::unreachable!() });
    quote!(#[allow(unused_variables)] #function)
}

/// The struct without `#[default(..)]` on its fields, which only `#[params]` understands.
pub fn without_defaults(item: TokenStream) -> TokenStream {
    let Ok(mut item) = syn::parse2::<syn::ItemStruct>(item.clone()) else {
        return item;
    };
    for field in &mut item.fields {
        field.attrs.retain(|a| a.path().is_ident("doc") || a.path().is_ident("cfg"));
    }
    quote!(#item)
}

/// Gathers errors, so that one compilation tells them all.
#[derive(Default)]
pub struct Errors(Option<syn::Error>);

impl Errors {
    pub fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub fn at(&mut self, at: impl quote::ToTokens, sentence: impl std::fmt::Display) {
        self.add(syn::Error::new_spanned(at, sentence));
    }

    pub fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|e| self.add(e)).ok()
    }

    pub fn finish(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// The text of the doc comments, lines joined; `None` if there are none.
pub fn doc_of(attrs: &[Attribute]) -> Option<String> {
    let lines: Vec<String> = attrs
        .iter()
        .filter(|a| a.path().is_ident("doc"))
        .filter_map(|a| match &a.meta {
            Meta::NameValue(pair) => match &pair.value {
                Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
                _ => None,
            },
            _ => None,
        })
        .map(|line| line.strip_prefix(' ').map(String::from).unwrap_or(line))
        .collect();
    let text = lines.join("\n").trim().to_string();
    (!text.is_empty()).then_some(text)
}

/// The `#[cfg(..)]`s of an item: whatever is generated beside it comes and goes with it.
pub fn cfgs(attrs: &[Attribute]) -> Vec<&Attribute> {
    attrs.iter().filter(|a| a.path().is_ident("cfg")).collect()
}

/// The path to what generated code uses: `::flow_runtime::__private`, or under the name the author gave the crate.
pub fn private(krate: Option<&Path>) -> TokenStream {
    match krate {
        Some(path) => quote!(#path::__private),
        None => quote!(::flow_runtime::__private),
    }
}

/// The line of a name in the author's file (`line!()` would tell that of the attribute).
pub fn line_of(name: &Ident) -> u32 {
    u32::try_from(name.span().unwrap().line()).unwrap_or(u32::MAX)
}

/// `Some(x)` or `None` as tokens.
pub fn option(value: Option<impl quote::ToTokens>, private: &TokenStream) -> TokenStream {
    match value {
        Some(value) => quote!(#private::Some(#value)),
        None => quote!(#private::None),
    }
}

/// The trait of one argument of a task or a group: everything that serves for its type has it. It is there for what the compiler says
/// where something else is given, in which the names stand as the author wrote them, wherever the task is.
pub fn argument_trait((what, of): (&str, &Ident), name: &Ident, ty: &syn::Type, private: &TokenStream) -> TokenStream {
    let braces = |text: String| text.replace('{', "{{").replace('}', "}}");
    let (of, argument, takes) = (of.unraw(), name.unraw(), braces(written(ty)));
    let message = format!("{what} `{of}` takes `{takes}` for its argument `{argument}`, and was given `{{Self}}`");
    quote! {
        #[diagnostic::on_unimplemented(
            message = #message,
            label = "this is `{Self}`",
            note = "an argument takes a value, a `Node<..>` (what a task call returns) or a `Param<..>` of exactly its type",
            note = "a `Secret` cannot be written down in a DAG: take it from a param"
        )]
        pub trait #name<T, How> {
            fn __flow_input(self, at: &'static ::core::panic::Location<'static>) -> #private::Input;
        }
        #[diagnostic::do_not_recommend]
        impl<T, How, Given: #private::Arg<T, How>> #name<T, How> for Given {
            fn __flow_input(self, at: &'static ::core::panic::Location<'static>) -> #private::Input {
                #private::Arg::<T, How>::input(self, at)
            }
        }
    }
}

/// A type as a person writes it: tokens without the blanks that token streams have.
pub fn written(ty: &syn::Type) -> String {
    // What stands for a `&str` or a `&[T]` has the path of generated code.
    text_of(ty)
}

/// Tokens as a person writes them.
pub fn text_of(tokens: &impl quote::ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    let text = text.rsplit_once("__private :: ").map_or(text.as_str(), |(_, name)| name);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ' ' {
            let (before, after) = (out.chars().last(), chars.peek());
            // Keep a blank only between words and after a comma: `Vec < (A , B) >` becomes `Vec<(A, B)>`.
            let words = before.is_some_and(|b| b.is_alphanumeric() || b == '_')
                && after.is_some_and(|a| a.is_alphanumeric() || *a == '_');
            if words || before == Some(',') || before == Some(';') {
                out.push(' ');
            }
        } else {
            out.push(c);
        }
    }
    out
}
