//! `#[task_group]`: a function whose body calls tasks becomes a struct that adds them under one name.

use crate::options::{GroupOptions, find_crate};
use crate::rewrite::rewrite;
use crate::support::{Errors, argument_trait, cfgs, doc_of, option, private, written};
use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::{FnArg, ItemFn, Pat, ReturnType, Type};

pub fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let function: ItemFn = syn::parse2(item).map_err(|e| {
        syn::Error::new(e.span(), format!("`#[task_group]` goes on a function outside of an `impl`: {e}"))
    })?;
    let private = private(find_crate(&options).as_ref());
    let mut errors = Errors::default();
    let options = GroupOptions::parse(options, &private, &mut errors);
    check_signature(&function, &mut errors);
    let arguments = arguments(&function, &mut errors);
    errors.finish()?;
    Ok(tokens(&function, &options, &arguments, &private))
}

fn check_signature(function: &ItemFn, errors: &mut Errors) {
    let sig = &function.sig;
    if let Some(asyncness) = &sig.asyncness {
        errors.at(asyncness, "a group cannot be `async`: its body only wires tasks, nothing in it waits");
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        errors.at(&sig.generics, "a group cannot be generic");
    }
    if let Some(constness) = &sig.constness {
        errors.at(constness, "a group cannot be `const`");
    }
}

fn arguments(function: &ItemFn, errors: &mut Errors) -> Vec<(Ident, Type)> {
    let mut out = Vec::new();
    for input in &function.sig.inputs {
        let argument = match input {
            FnArg::Receiver(receiver) => {
                Err(syn::Error::new_spanned(receiver, "a group cannot take `self`: it is a plain function"))
            }
            FnArg::Typed(arg) => match (&*arg.pat, &*arg.ty) {
                (_, ty @ (Type::Reference(_) | Type::ImplTrait(_))) => Err(syn::Error::new_spanned(
                    ty,
                    "an argument of a group has a type of its own: `String`, not `&str` or `impl ..`",
                )),
                (Pat::Ident(pat), ty) => Ok((pat.ident.clone(), ty.clone())),
                (pat, _) => Err(syn::Error::new_spanned(pat, "an argument of a group needs a plain name")),
            },
        };
        out.extend(errors.take(argument));
    }
    out
}

fn tokens(
    function: &ItemFn,
    options: &GroupOptions,
    arguments: &[(Ident, Type)],
    private: &TokenStream,
) -> TokenStream {
    let (name, vis, cfgs) = (&function.sig.ident, &function.vis, cfgs(&function.attrs));
    let attrs = function.attrs.iter().filter(|a| !a.path().is_ident("cfg"));
    let id = options.id.as_ref().map(syn::LitStr::value).unwrap_or_else(|| name.unraw().to_string());
    let doc = option(options.doc.clone().or_else(|| doc_of(&function.attrs)), private);
    let prefix = options.prefix.unwrap_or(true);
    let defaults = options.defaults.clone().unwrap_or_else(|| quote!(#private::TaskOptions::NONE));
    let returned: Type = match &function.sig.output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    let specs = arguments.iter().map(|(arg, ty)| {
        let (arg, ty) = (arg.unraw().to_string(), written(ty));
        quote!(#private::ArgSpec { name: #arg, type_name: #ty })
    });
    let markers = arguments.iter().map(|(arg, ty)| argument_trait(("group", name), arg, ty, private));
    let handles = arguments.iter().map(|(arg, ty)| quote!(let #arg: #private::Param<#ty> = __flow.arg();));
    let mut body = (*function.block).clone();
    rewrite(&mut body, arguments.iter().map(|(arg, _)| arg.clone()).collect(), private);
    let call = |method: &str, add: &str, how: &str, output: &str, doc: &str| {
        let (method, add) = (Ident::new(method, name.span()), Ident::new(add, name.span()));
        let (how, output) = (Ident::new(how, name.span()), Ident::new(output, name.span()));
        let parameters = arguments.iter().map(|(arg, ty)| quote!(#arg: impl __::#arg<#ty, #private::#how>));
        let inputs =
            arguments.iter().map(|(arg, ty)| quote!(__::#arg::<#ty, #private::#how>::__flow_input(#arg, __flow_at)));
        quote! {
            #[doc = #doc]
            ///
            /// # Panics
            /// If no DAG is being built on this thread.
            #[track_caller]
            #vis fn #method(#(#parameters),*) -> <#returned as #private::GroupOutput>::#output {
                let __flow_at = ::core::panic::Location::caller();
                #private::#add(&__FLOW_SPEC, #private::vec![#(#inputs),*], __flow_body)
            }
        }
    };
    let node = call("node", "add_group", "Call", "Plain", "Adds the tasks of this group to the DAG being built.");
    let expand = call("expand", "add_mapped_group", "Expand", "Mapped", "The same, once for each element of a list.");
    quote! {
        #(#cfgs)*
        #(#attrs)*
        #[allow(non_camel_case_types)]
        #vis struct #name {}

        #(#cfgs)*
        #[doc(hidden)]
        #[allow(non_camel_case_types, clippy::all, clippy::pedantic, unused_qualifications, missing_docs, unused_must_use, unused_parens, unused_braces)]
        const _: () = {
            /// One trait per argument: the compiler says what it says when a wrong thing is given.
            pub mod __ { #(#markers)* }
            static __FLOW_SPEC: #private::GroupSpec = #private::GroupSpec {
                id: #id,
                doc: #doc,
                prefix: #prefix,
                defaults: #defaults,
                args: &[#(#specs),*],
            };
            fn __flow_body(__flow: &mut #private::GroupScope) -> #returned {
                #(#handles)*
                #body
            }
            impl #name {
                #node
                #expand
            }
        };
    }
}
