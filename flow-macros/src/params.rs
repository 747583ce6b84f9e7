//! `#[params]`: a struct whose fields are params of a DAG.

use crate::options::find_crate;
use crate::support::{Errors, cfgs, doc_of, private, written};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned;
use syn::{Expr, Field, Fields, ItemStruct};

pub fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let krate = find_crate(&options);
    if !options.is_empty() && krate.is_none() {
        return Err(syn::Error::new_spanned(options, "`#[params]` takes no options but `crate = path`"));
    }
    let private = private(krate.as_ref());
    let mut item: ItemStruct =
        syn::parse2(item).map_err(|e| syn::Error::new(e.span(), format!("`#[params]` goes on a struct: {e}")))?;
    let Fields::Named(fields) = &mut item.fields else {
        return Err(syn::Error::new_spanned(&item.ident, "`#[params]` goes on a struct with named fields"));
    };
    let mut errors = Errors::default();
    if !item.generics.params.is_empty() {
        errors.at(&item.generics, "a struct of params cannot be generic");
    }
    let mut declared = Vec::new();
    for field in &mut fields.named {
        declared.extend(errors.take(declare(field, &private)));
    }
    errors.finish()?;
    Ok(tokens(&item, &declared, &private))
}

/// What is generated for one field.
struct Declared {
    /// `pub url: Param<String>`
    handle: TokenStream,
    /// `url: __flow.param::<String>("url")..add()`
    add: TokenStream,
    /// `("url", Arg::<String, ..>::input(self.url, at))`
    input: TokenStream,
}

/// Takes `#[default(..)]` away, which only this macro understands.
fn declare(field: &mut Field, private: &TokenStream) -> syn::Result<Declared> {
    if let Some(serde) = field.attrs.iter().find(|a| a.path().is_ident("serde")) {
        return Err(syn::Error::new_spanned(
            serde,
            "a field of params is read under its own name: `serde` has no say here",
        ));
    }
    let mut default: Option<Expr> = None;
    let mut kept = Vec::new();
    for attr in std::mem::take(&mut field.attrs) {
        if !attr.path().is_ident("default") {
            kept.push(attr);
        } else if default.is_some() {
            return Err(syn::Error::new_spanned(attr, "`#[default(..)]` is given twice"));
        } else {
            let value = attr.parse_args();
            let value =
                value.map_err(|e| syn::Error::new(e.span(), format!("`#[default(value)]` takes one value: {e}")))?;
            default = Some(value);
        }
    }
    field.attrs = kept;
    let (vis, ty) = (&field.vis, &field.ty);
    let Some(name) = &field.ident else { return Err(syn::Error::new_spanned(field, "a field of params needs a name")) };
    let (text, written) = (name.unraw().to_string(), written(ty));
    let doc = doc_of(&field.attrs).map(|d| quote!(.doc(#d)));
    let default = default.map(|d| quote_spanned!(d.span()=> .default(#d)));
    let builder = quote_spanned!(ty.span()=> __flow.param::<#ty>(#text));
    Ok(Declared {
        handle: quote!(#vis #name: #private::Param<#ty>),
        add: quote!(#name: #builder.type_name(#written)#doc #default.add()),
        input: quote!((#text, #private::Arg::<#ty, __FlowHow>::input(self.#name, at))),
    })
}

fn tokens(item: &ItemStruct, declared: &[Declared], private: &TokenStream) -> TokenStream {
    let name = &item.ident;
    let path = quote!(#private).to_string().replace(' ', "");
    let (serde, schemars) = (format!("{path}::serde"), format!("{path}::schemars"));
    let handles = declared.iter().map(|d| &d.handle);
    let cfgs = cfgs(&item.attrs);
    let adds = declared.iter().map(|d| &d.add);
    let inputs = declared.iter().map(|d| &d.input);
    quote! {
        #[derive(#private::Debug, #private::Clone, #private::serde::Deserialize, #private::schemars::JsonSchema)]
        #[serde(crate = #serde)]
        #[schemars(crate = #schemars)]
        #item

        #(#cfgs)*
        #[doc(hidden)]
        #[allow(clippy::all, clippy::pedantic, unused_qualifications, missing_docs)]
        const _: () = {
            #[derive(#private::Clone, #private::Copy)]
            pub struct __FlowHandles { #(#handles),* }

            impl #private::ParamStruct for #name {
                type Handles = __FlowHandles;

                #[track_caller]
                fn declare(__flow: &#private::DagScope) -> __FlowHandles {
                    __FlowHandles { #(#adds),* }
                }
            }

            impl<__FlowHow> #private::Arg<#name, __FlowHow> for __FlowHandles {
                fn input(self, at: &'static ::core::panic::Location<'static>) -> #private::Input {
                    #private::Input::record([#(#inputs),*])
                }
            }
        };
    }
}
