//! TLS by rustls on ring, chosen once for the process.

/// Makes ring the process's TLS provider, unless the program has chosen one already. HTTP clients here have no default
/// of their own and would panic without.
pub(crate) fn ready() {
    // An error says that a provider is installed; that is the wish.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
