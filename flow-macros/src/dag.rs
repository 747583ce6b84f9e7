//! `#[dag]`: a function whose body wires tasks becomes a struct that builds the DAG.

use crate::options::{DagOptions, find_crate};
use crate::rewrite::rewrite;
use crate::support::{Errors, cfgs, doc_of, line_of, private, written};
use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, FnArg, ItemFn, Pat, PatType, ReturnType, Type};

/// An argument of the function: a param of the DAG, or a struct of params.
struct Param {
    name: Ident,
    ty: Type,
    doc: Option<String>,
    default: Option<Expr>,
    /// `#[params]`: each of its fields is a param.
    is_struct: bool,
}

pub fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let function: ItemFn = syn::parse2(item)
        .map_err(|e| syn::Error::new(e.span(), format!("`#[dag]` goes on a function outside of an `impl`: {e}")))?;
    let private = private(find_crate(&options).as_ref());
    let mut errors = Errors::default();
    let options = DagOptions::parse(options, &private, &mut errors);
    check_signature(&function, &mut errors);
    let params = params(&function, &mut errors);
    errors.finish()?;
    Ok(tokens(&function, &options, &params, &private))
}

fn check_signature(function: &ItemFn, errors: &mut Errors) {
    let sig = &function.sig;
    if let Some(asyncness) = &sig.asyncness {
        errors.at(asyncness, "a DAG cannot be `async`: its body only wires tasks, nothing in it waits");
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        errors.at(&sig.generics, "a DAG cannot be generic");
    }
    if let ReturnType::Type(_, ty) = &sig.output {
        errors.at(ty, "a DAG returns nothing: its tasks are what its body calls");
    }
    if let Some(constness) = &sig.constness {
        errors.at(constness, "a DAG cannot be `const`");
    }
}

fn params(function: &ItemFn, errors: &mut Errors) -> Vec<Param> {
    let mut out = Vec::new();
    for input in &function.sig.inputs {
        let param = match input {
            FnArg::Receiver(receiver) => {
                Err(syn::Error::new_spanned(receiver, "a DAG cannot take `self`: it is a plain function"))
            }
            FnArg::Typed(arg) => param(arg),
        };
        out.extend(errors.take(param));
    }
    out
}

fn param(arg: &PatType) -> syn::Result<Param> {
    let Pat::Ident(pat) = &*arg.pat else {
        return Err(syn::Error::new_spanned(&arg.pat, "a param needs a plain name: people set it by that name"));
    };
    if is_context(&arg.ty) {
        return Err(syn::Error::new_spanned(
            &arg.ty,
            "a DAG has no context: nothing runs while it is wired; the tasks that need it take `ctx: &Context`",
        ));
    }
    if let Type::Reference(_) | Type::ImplTrait(_) = &*arg.ty {
        return Err(syn::Error::new_spanned(
            &arg.ty,
            "a param has a type of its own: `String`, not `&str` or `impl ..`",
        ));
    }
    let is_struct = arg.attrs.iter().any(|a| a.path().is_ident("params"));
    let default = default_of(&arg.attrs)?;
    if let Some(default) = default.as_ref().filter(|_| is_struct) {
        return Err(syn::Error::new_spanned(default, "the defaults of a struct of params stand on its fields"));
    }
    Ok(Param { name: pat.ident.clone(), ty: (*arg.ty).clone(), doc: doc_of(&arg.attrs), default, is_struct })
}

/// `&Context`, or `Context`, by whatever path.
fn is_context(ty: &Type) -> bool {
    match ty {
        Type::Reference(to) => is_context(&to.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "Context"),
        _ => false,
    }
}

fn default_of(attrs: &[Attribute]) -> syn::Result<Option<Expr>> {
    let mut default = None;
    for attr in attrs.iter().filter(|a| !a.path().is_ident("doc") && !a.path().is_ident("params")) {
        if !attr.path().is_ident("default") {
            return Err(syn::Error::new_spanned(
                attr,
                "a param has no such attribute: write `#[default(value)]` or a doc comment",
            ));
        }
        if default.is_some() {
            return Err(syn::Error::new_spanned(attr, "`#[default(..)]` is given twice"));
        }
        let value = attr
            .parse_args::<Expr>()
            .map_err(|e| syn::Error::new(e.span(), format!("`#[default(value)]` takes one value: {e}")))?;
        default = Some(value);
    }
    Ok(default)
}

fn tokens(function: &ItemFn, options: &DagOptions, params: &[Param], private: &TokenStream) -> TokenStream {
    let name = &function.sig.ident;
    let (vis, cfgs) = (&function.vis, cfgs(&function.attrs));
    let attrs = function.attrs.iter().filter(|a| !a.path().is_ident("cfg"));
    let id = options.id.as_ref().map(syn::LitStr::value).unwrap_or_else(|| name.unraw().to_string());
    let doc = options.doc.clone().or_else(|| doc_of(&function.attrs)).unwrap_or_default();
    let settings = options.tokens();
    let line = line_of(name);
    let items = &options.items;
    let declare = params.iter().map(|p| declare(p, private));
    let mut body = (*function.block).clone();
    rewrite(&mut body, params.iter().map(|p| p.name.clone()).collect(), private);
    quote! {
        #(#cfgs)*
        #(#attrs)*
        #[allow(non_camel_case_types)]
        #vis struct #name {}

        #(#cfgs)*
        #[doc(hidden)]
        #[allow(clippy::all, clippy::pedantic, unused_qualifications, unused_must_use, unused_parens, unused_braces)]
        const _: () = {
            impl #name {
                /// Builds the DAG.
                ///
                /// # Errors
                /// All that is wrong with its wiring, a sentence each.
                #vis fn build() -> #private::Result<#private::Dag, #private::DagError> {
                    #private::DagBuilder::new(#id)
                        .doc(#doc)
                        .place(::core::file!(), #line)
                        #settings
                        .build(|__flow| {
                            #(#declare)*
                            let _ = #body;
                        })
                }

                /// Builds the DAG.
                ///
                /// # Panics
                /// If its wiring is wrong; the message says all that is.
                #vis fn dag() -> #private::Dag {
                    match Self::build() {
                        #private::Ok(dag) => dag,
                        #private::Err(error) => ::core::panic!("{error}"),
                    }
                }

                /// A run of it in memory, for a test.
                ///
                /// # Panics
                /// If its wiring is wrong; the message says all that is.
                #vis fn test() -> #private::TestRun {
                    #private::TestRun::new(Self::dag())
                }
            }

            #(#items)*

            #private::inventory::submit! {
                #private::DagEntry(#private::DagSpec {
                    dag_id: #id,
                    file: ::core::file!(),
                    line: #line,
                    build: #name::build,
                })
            }
        };
    }
}

/// `let url = dag.param::<String>("url")...add();`
fn declare(param: &Param, private: &TokenStream) -> TokenStream {
    let Param { name, ty, doc, default, is_struct } = param;
    if *is_struct {
        return quote_spanned!(ty.span()=> let #name = <#ty as #private::ParamStruct>::declare(__flow););
    }
    let (text, written) = (name.unraw().to_string(), written(ty));
    let doc = doc.as_ref().map(|d| quote!(.doc(#d)));
    let default = default.as_ref().map(|d| quote_spanned!(d.span()=> .default(#d)));
    let builder = quote_spanned!(ty.span()=> __flow.param::<#ty>(#text));
    quote!(let #name: #private::Param<#ty> = #builder.type_name(#written)#doc #default.add();)
}
