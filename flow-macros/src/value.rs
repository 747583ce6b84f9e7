//! `#[value]`: the derives of a type that travels between tasks.

use crate::options::find_crate;
use crate::support::private;
use proc_macro2::TokenStream;
use quote::quote;

pub fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let krate = find_crate(&options);
    if !options.is_empty() && krate.is_none() {
        return Err(syn::Error::new_spanned(options, "`#[value]` takes no options but `crate = path`"));
    }
    let private = private(krate.as_ref());
    let input: syn::DeriveInput = syn::parse2(item)?;
    if matches!(input.data, syn::Data::Union(_)) {
        return Err(syn::Error::new_spanned(&input.ident, "`#[value]` goes on a struct or an enum"));
    }
    // serde and schemars want their own crate's path as a text, and as a text it has no span to go by.
    let path = quote!(#private).to_string().replace(' ', "");
    let (serde, schemars) = (format!("{path}::serde"), format!("{path}::schemars"));
    Ok(quote! {
        #[derive(
            #private::Debug, #private::Clone, #private::PartialEq,
            #private::serde::Serialize, #private::serde::Deserialize, #private::schemars::JsonSchema
        )]
        #[serde(crate = #serde)]
        #[schemars(crate = #schemars)]
        #input
    })
}
