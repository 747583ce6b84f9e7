//! `#[task]`: a function, and beside it the builder of its node.

use crate::cache;
use crate::options::{TaskOptions, find_crate};
use crate::support::{Errors, argument_trait, cfgs, doc_of, line_of, option, private, written};
use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned;
use syn::{FnArg, GenericArgument, ItemFn, Pat, PathArguments, ReturnType, Type};

/// Names of types of the language: the struct beside the function would shadow them.
pub const PRIMITIVES: [&str; 17] = [
    "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
    "f32", "f64",
];

/// One argument: the context, or a value by value or by reference. `ty` is what is kept between tasks: `String` for a
/// `&str`, `Vec<T>` for a `&[T]`.
enum Argument {
    Context(Option<Ident>),
    Value { name: Ident, ty: Box<Type>, by_reference: bool },
}

/// What the function returns: the type of the value, and whether it comes in a `Result`; of a sensor also what its look
/// returns, of which the value is a part.
struct Returned {
    ty: Type,
    result: bool,
    look: Option<Type>,
}

pub fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    expand_any(options, item, false)
}

pub fn expand_sensor(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    expand_any(options, item, true)
}

fn expand_any(options: TokenStream, item: TokenStream, sensor: bool) -> syn::Result<TokenStream> {
    let name = if sensor { "sensor" } else { "task" };
    let code = cache::hash(&item);
    let function: ItemFn = syn::parse2(item).map_err(|e| {
        syn::Error::new(
            e.span(),
            format!("`#[{name}]` goes on a function (`fn` or `async fn`) outside of an `impl`: {e}"),
        )
    })?;
    let private = private(find_crate(&options).as_ref());
    let mut errors = Errors::default();
    let options = TaskOptions::parse(options, sensor, &private, &mut errors);
    check_signature(&function, &mut errors);
    let arguments = arguments(&function, &private, &mut errors);
    let names = arguments.iter().filter_map(|argument| match argument {
        Argument::Value { name, .. } => Some(name.unraw().to_string()),
        Argument::Context(_) => None,
    });
    options.check_keys(&names.collect::<Vec<_>>(), &mut errors);
    let mut returned = returned(&function.sig.output, &mut errors);
    if sensor {
        found(&mut returned, &function, &mut errors);
    }
    errors.finish()?;
    let beside = beside(&function, (&options, &code), &arguments, &returned, &private);
    Ok(quote!(#function #beside))
}

fn check_signature(function: &ItemFn, errors: &mut Errors) {
    let sig = &function.sig;
    if PRIMITIVES.contains(&sig.ident.to_string().as_str()) || sig.ident == "expand" {
        errors.at(
            &sig.ident,
            format!("a task cannot be called `{}`: a type or a function of flow has that name", sig.ident),
        );
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        errors.at(
            &sig.generics,
            "a task cannot be generic: its values are stored, so their types must be known; write one task per type",
        );
    }
    if let Some(constness) = &sig.constness {
        errors.at(constness, "a task cannot be `const`");
    }
    if matches!(sig.safety, syn::Safety::Unsafe(_)) {
        errors.at(sig.fn_token, "a task cannot be `unsafe`: put the unsafe part into a function that it calls");
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "a task cannot be `extern`");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a task cannot take a variable number of arguments: take a `Vec<T>`");
    }
}

fn arguments(function: &ItemFn, private: &TokenStream, errors: &mut Errors) -> Vec<Argument> {
    let mut out = Vec::new();
    for input in &function.sig.inputs {
        match input {
            FnArg::Receiver(receiver) => {
                errors
                    .at(receiver, "a task cannot take `self`: it is a plain function; pass what it needs as arguments");
            }
            FnArg::Typed(arg) => {
                let argument = argument(&arg.pat, &arg.ty, private);
                if let Some(argument) = errors.take(argument) {
                    if matches!(argument, Argument::Context(_)) && out.iter().any(|a| matches!(a, Argument::Context(_)))
                    {
                        errors.at(arg, "a task takes the context at most once");
                    }
                    out.push(argument);
                }
            }
        }
    }
    out
}

fn argument(pat: &Pat, ty: &Type, private: &TokenStream) -> syn::Result<Argument> {
    let (ty, by_reference) = match ty {
        Type::Reference(reference) => {
            if let Some(mutability) = &reference.mutability {
                return Err(syn::Error::new_spanned(
                    mutability,
                    "a task cannot change its argument: take it by value (`mut x: T`) or by `&T`",
                ));
            }
            if let Some(lifetime) = &reference.lifetime {
                return Err(syn::Error::new_spanned(
                    lifetime,
                    "an argument of a task cannot have a lifetime: take `T` or `&T`",
                ));
            }
            ((*reference.elem).clone(), true)
        }
        other => (other.clone(), false),
    };
    let last = last_segment(&ty).map(|s| s.ident.to_string());
    if last.as_deref() == Some("Context") {
        return if by_reference {
            let name = if let Pat::Ident(name) = pat { Some(name.ident.clone()) } else { None };
            Ok(Argument::Context(name))
        } else {
            Err(syn::Error::new_spanned(&ty, "take the context by reference: `ctx: &Context`"))
        };
    }
    let ty = match ty {
        Type::ImplTrait(_) => {
            return Err(syn::Error::new_spanned(&ty, "name the type: values are stored, so it must be known"));
        }
        Type::Slice(slice) => {
            let elem = &slice.elem;
            Type::Verbatim(quote_spanned!(slice.span()=> #private::Vec<#elem>))
        }
        Type::Path(path) if path.path.is_ident("str") => Type::Verbatim(quote_spanned!(path.span()=> #private::String)),
        other => other,
    };
    match pat {
        Pat::Ident(ident) if ident.subpat.is_none() && ident.by_ref.is_none() => {
            Ok(Argument::Value { name: ident.ident.clone(), ty: Box::new(ty), by_reference })
        }
        other => Err(syn::Error::new_spanned(other, "an argument of a task needs a plain name: it is shown to people")),
    }
}

fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        Type::Group(group) => last_segment(&group.elem),
        Type::Paren(paren) => last_segment(&paren.elem),
        _ => None,
    }
}

fn returned(output: &ReturnType, errors: &mut Errors) -> Returned {
    let unit = || syn::parse_quote!(());
    let ty = match output {
        ReturnType::Default => {
            return Returned { ty: unit(), result: false, look: None };
        }
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    match &ty {
        Type::ImplTrait(_) | Type::TraitObject(_) => {
            errors.at(&ty, "name the type: values are stored, so it must be known")
        }
        Type::Reference(_) => errors.at(&ty, "a task returns a value of its own, not a reference"),
        _ => {}
    }
    let Some(segment) = last_segment(&ty).filter(|s| s.ident.to_string().ends_with("Result")) else {
        return Returned { ty, result: false, look: None };
    };
    let inner = match &segment.arguments {
        PathArguments::AngleBracketed(args) => args.args.iter().find_map(|a| match a {
            GenericArgument::Type(ty) => Some(ty.clone()),
            _ => None,
        }),
        _ => None,
    };
    match inner {
        Some(ty) => Returned { ty, result: true, look: None },
        None => {
            errors.at(&ty, format!("say what it gives: `{}<T>`", segment.ident));
            Returned { ty: unit(), result: true, look: None }
        }
    }
}

/// What a sensor gives, once its look has found it: nothing for a `bool`, the `T` of an `Option<T>`.
fn found(returned: &mut Returned, function: &ItemFn, errors: &mut Errors) {
    let look = returned.ty.clone();
    let inner = last_segment(&look).and_then(|last| match (last.ident.to_string().as_str(), &last.arguments) {
        ("bool", PathArguments::None) => Some(syn::parse_quote!(())),
        ("Option", PathArguments::AngleBracketed(args)) => match args.args.first() {
            Some(GenericArgument::Type(ty)) if args.args.len() == 1 => Some(ty.clone()),
            _ => None,
        },
        _ => None,
    });
    match inner {
        Some(ty) => (returned.ty, returned.look) = (ty, Some(look)),
        None => {
            let sentence =
                "a sensor is one look: it returns `bool`, or `Option<T>` with what it found, or a `Result` of either";
            match &function.sig.output {
                ReturnType::Default => errors.at(&function.sig.ident, sentence),
                output => errors.at(output, sentence),
            }
        }
    }
}

/// The struct of the same name, the markers of its arguments, its specification and its registration.
fn beside(
    function: &ItemFn,
    (options, code): (&TaskOptions, &str),
    arguments: &[Argument],
    returned: &Returned,
    private: &TokenStream,
) -> TokenStream {
    let name = &function.sig.ident;
    let vis = &function.vis;
    let cfgs = cfgs(&function.attrs);
    let doc = options.doc.clone().or_else(|| doc_of(&function.attrs));
    let summary = format!("The task [`{name}`](fn@{name}) as a part of a DAG: `{name}::node(..)` adds it.");
    let cache_key = options.cache.key().map(|key| cache_key(function, arguments, key, private));
    let spec = spec(function, (options, code), doc.as_deref(), arguments, returned, private);
    let body = body(function, arguments, returned, private);
    let node = node(function, arguments, returned, private);
    let no_hidden_result = no_hidden_result(returned, private);
    let markers = arguments.iter().filter_map(|a| match a {
        Argument::Value { name: of, ty, .. } => Some(argument_trait(("task", name), of, ty, private)),
        Argument::Context(_) => None,
    });
    quote! {
        #(#cfgs)*
        #[doc = #summary]
        #[allow(non_camel_case_types)]
        #vis struct #name {}

        #(#cfgs)*
        #[doc(hidden)]
        #[allow(non_camel_case_types, clippy::all, clippy::pedantic, unused_qualifications, missing_docs, unused_imports)]
        const _: () = {
            #no_hidden_result
            /// One trait per argument: the compiler says what it says when a wrong thing is given.
            pub mod __ { #(#markers)* }
            #body
            #cache_key
            static __FLOW_SPEC: #private::TaskSpec = #spec;
            #private::inventory::submit! { #private::TaskEntry(&__FLOW_SPEC) }
            #node
        };
    }
}

fn spec(
    function: &ItemFn,
    (options, code): (&TaskOptions, &str),
    doc: Option<&str>,
    arguments: &[Argument],
    returned: &Returned,
    private: &TokenStream,
) -> TokenStream {
    let name = function.sig.ident.unraw().to_string();
    let doc = option(doc, private);
    let kind = if function.sig.asyncness.is_some() { quote!(Async) } else { quote!(Blocking) };
    let key = options.cache.key().map(|_| quote!(#private::Body::#kind(__flow_cache_key)));
    let cache = options.cache.tokens(&returned.ty, code, key, private);
    let options = options.tokens(private);
    let output = written(&returned.ty);
    let args = arguments.iter().filter_map(|a| match a {
        Argument::Value { name, ty, .. } => {
            let (name, ty) = (name.unraw().to_string(), written(ty));
            Some(quote!(#private::ArgSpec { name: #name, type_name: #ty }))
        }
        Argument::Context(_) => None,
    });
    let line = line_of(&function.sig.ident);
    quote! {
        #private::TaskSpec {
            name: #name,
            body: ::core::concat!(::core::module_path!(), "::", #name),
            doc: #doc,
            file: ::core::file!(),
            line: #line,
            output: #output,
            args: &[#(#args),*],
            options: #options,
            run: #private::Body::#kind(__flow_run),
            cache: #cache,
        }
    }
}

/// What makes the task's own part of the key of its cache: an expression over its arguments.
fn cache_key(function: &ItemFn, arguments: &[Argument], key: &syn::Expr, private: &TokenStream) -> TokenStream {
    let (decode, _) = decoded(arguments, private);
    let mut locals = 0usize..;
    let named = arguments.iter().filter_map(|argument| match argument {
        Argument::Context(name) => name.as_ref().map(|name| quote!(let #name: &#private::Context = &__flow_ctx;)),
        Argument::Value { name, ty, by_reference } => {
            let local = quote::format_ident!("__flow_argument_{}", locals.next().unwrap_or_default());
            Some(if *by_reference { quote!(let #name: &#ty = &#local;) } else { quote!(let #name: #ty = #local;) })
        }
    });
    let named: Vec<TokenStream> = named.collect();
    let uses = quote!(use #private::{ByClone as _, ByDecode as _};);
    let work = quote! {
        #uses
        #(#decode)*
        #(#named)*
    };
    let finish = quote_spanned!(key.span()=> #private::finish_cache_key(#key));
    if function.sig.asyncness.is_some() {
        quote! {
            #[allow(unused_variables)]
            fn __flow_cache_key(__flow_inputs: #private::Inputs, __flow_ctx: #private::Context) -> #private::BodyFuture {
                #private::Box::pin(async move {
                    #work
                    #finish
                })
            }
        }
    } else {
        quote! {
            #[allow(unused_variables)]
            fn __flow_cache_key(__flow_inputs: #private::Inputs, __flow_ctx: #private::Context) -> #private::BodyResult {
                #work
                #finish
            }
        }
    }
}

/// What decodes the arguments into locals, `__flow_argument_0` and on, and what the function is given.
fn decoded(arguments: &[Argument], private: &TokenStream) -> (Vec<TokenStream>, Vec<TokenStream>) {
    let mut decode = Vec::new();
    let mut given = Vec::new();
    for argument in arguments {
        match argument {
            Argument::Context(_) => given.push(quote!(&__flow_ctx)),
            Argument::Value { name, ty, by_reference } => {
                let index = decode.len();
                let local = quote::format_ident!("__flow_argument_{index}");
                let text = name.unraw().to_string();
                if *by_reference {
                    decode.push(quote_spanned!(ty.span()=> let #local = __flow_inputs.shared::<#ty>(#index, #text)?;));
                    given.push(quote!(&#local));
                } else {
                    decode.push(quote_spanned!(ty.span()=> let #local: #ty = (&#private::owned::<#ty>()).take(&__flow_inputs, #index, #text)?;));
                    given.push(quote!(#local));
                }
            }
        }
    }
    (decode, given)
}

/// `fn run`: decodes the arguments, calls the function, encodes what it returns.
fn body(function: &ItemFn, arguments: &[Argument], returned: &Returned, private: &TokenStream) -> TokenStream {
    let name = &function.sig.ident;
    let (decode, given) = decoded(arguments, private);
    let value = returned.look.as_ref().unwrap_or(&returned.ty);
    let finish = match (returned.look.is_some(), returned.result) {
        (false, false) => quote_spanned!(value.span()=> #private::finish_value::<#value>),
        (false, true) => quote_spanned!(value.span()=> #private::finish_result::<#value, _>),
        (true, false) => quote_spanned!(value.span()=> #private::finish_look::<#value>),
        (true, true) => quote_spanned!(value.span()=> #private::finish_look_result::<#value, _>),
    };
    let uses = quote!(use #private::{ByClone as _, ByDecode as _};);
    if function.sig.asyncness.is_some() {
        quote! {
            fn __flow_run(__flow_inputs: #private::Inputs, __flow_ctx: #private::Context) -> #private::BodyFuture {
                #private::Box::pin(async move {
                    #uses
                    #(#decode)*
                    let __flow_returned = #name(#(#given),*).await;
                    #finish(__flow_returned)
                })
            }
        }
    } else {
        quote! {
            fn __flow_run(__flow_inputs: #private::Inputs, __flow_ctx: #private::Context) -> #private::BodyResult {
                #uses
                #(#decode)*
                let __flow_returned = #name(#(#given),*);
                #finish(__flow_returned)
            }
        }
    }
}

/// `download::node(url)`, which is what a call inside `#[dag]` becomes, and `download::expand(each(urls))`.
fn node(function: &ItemFn, arguments: &[Argument], returned: &Returned, private: &TokenStream) -> TokenStream {
    let name = &function.sig.ident;
    // The same span as the function's name: "go to definition" on a task call arrives there.
    let (node, expand) = (Ident::new("node", name.span()), Ident::new("expand", name.span()));
    let output = &returned.ty;
    let vis = &function.vis;
    let values = arguments.iter().filter_map(|argument| match argument {
        Argument::Value { name, ty, .. } => Some((name, ty)),
        Argument::Context(_) => None,
    });
    let parameters = |how: TokenStream| {
        let parameter = move |(arg, ty)| quote!(#arg: impl __::#arg<#ty, #private::#how>);
        values.clone().map(parameter).collect::<Vec<_>>()
    };
    let inputs = |how: TokenStream| {
        let input = move |(arg, ty)| quote!(__::#arg::<#ty, #private::#how>::__flow_input(#arg, __flow_at));
        values.clone().map(input).collect::<Vec<_>>()
    };
    let (call, called) = (parameters(quote!(Call)), inputs(quote!(Call)));
    let (map, mapped) = (parameters(quote!(Expand)), inputs(quote!(Expand)));
    quote! {
        impl #name {
            /// Adds this task to the DAG being built.
            ///
            /// # Panics
            /// If no DAG is being built on this thread.
            #[track_caller]
            #vis fn #node(#(#call),*) -> #private::Node<#output> {
                let __flow_at = ::core::panic::Location::caller();
                #private::add_task(&__FLOW_SPEC, #private::vec![#(#called),*])
            }

            /// Adds this task to the DAG being built, mapped: one instance for each element of the lists that are given
            /// by `each(list)`.
            ///
            /// # Panics
            /// If no DAG is being built on this thread.
            #[track_caller]
            #vis fn #expand(#(#map),*) -> #private::Node<#private::Vec<#output>> {
                let __flow_at = ::core::panic::Location::caller();
                #private::add_mapped_task(&__FLOW_SPEC, #private::vec![#(#mapped),*])
            }
        }
    }
}

/// A `Result` under another name would be stored as a value, its error a success.
fn no_hidden_result(returned: &Returned, private: &TokenStream) -> TokenStream {
    if returned.result {
        return TokenStream::new();
    }
    let ty = &returned.ty;
    let sentence =
        "this return type is a `Result` under another name: call it `..Result<T>`, so that an error fails the task";
    quote_spanned! {ty.span()=>
        const _: () = {
            use #private::NotAResult as _;
            ::core::assert!(!#private::Probe::<#ty>::IS_RESULT, #sentence);
        };
    }
}
