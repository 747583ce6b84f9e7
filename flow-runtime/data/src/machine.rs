//! The account that a machine in Google's cloud has by itself, and what is said where nobody has one.

use std::env;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::gcp::GcpCredential;
use reqwest::Client;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::google::HOME_CREDENTIALS;
use crate::http::reason;
use crate::retry::Attempts;
use crate::{Error, Result, tls};

/// Where a machine asks about itself, unless `GCE_METADATA_HOST` says otherwise:
/// <https://cloud.google.com/compute/docs/metadata/querying-metadata>.
const HOST: &str = "169.254.169.254";
const TOKEN: &str = "computeMetadata/v1/instance/service-accounts/default/token";
/// It is beside the machine, or nowhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);
/// A token is renewed this long before its end.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// The tokens of the machine's account.
pub(crate) struct Machine {
    client: Client,
    host: String,
    /// Somebody has said that there is one to ask.
    stated: bool,
    /// Where credentials were looked for before.
    looked: String,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: Arc<GcpCredential>,
    end: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Machine({})", self.host)
    }
}

impl Machine {
    /// `looked`: the places that had no credentials, in words.
    pub(crate) fn new(host: Option<String>, looked: String) -> Result<Self> {
        tls::ready();
        let builder = Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT);
        let client = builder.build().map_err(|e| Error::Invalid(format!("no HTTP client: {}", reason(e, ""))))?;
        let stated = host.is_some();
        let host = host.unwrap_or_else(|| HOST.to_owned());
        Ok(Self { client, host, stated, looked, kept: Mutex::default() })
    }

    async fn granted(&self) -> Result<Granted> {
        let url = format!("http://{}/{TOKEN}", self.host);
        let mut attempts = Attempts::new();
        loop {
            let busy = match self.client.get(&url).header("Metadata-Flavor", "Google").send().await {
                Ok(answer) if answer.status().is_success() => match answer.json().await {
                    Ok(granted) => return Ok(granted),
                    Err(_) => return Err(self.nothing("what answers gives no token", true)),
                },
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    let why = format!("it answered {status}");
                    if !crate::error::may_pass(status) {
                        return Err(self.nothing(&why, true));
                    }
                    why
                }
                // In Google's cloud the server may come a moment after the machine.
                Err(error) => return Err(self.nothing(&reason(error, &url), !self.stated && !in_google())),
            };
            if !attempts.again(None).await {
                return Err(self.nothing(&busy, false));
            }
        }
    }

    fn nothing(&self, why: &str, permanent: bool) -> Error {
        let Self { host, looked, .. } = self;
        let words = format!(
            "no Google credentials: {looked}; nor does this machine have an account in Google's cloud (http://{host}: {why}). Put the key of a service account into ~/{HOME_CREDENTIALS}, or say by \
             GOOGLE_APPLICATION_CREDENTIALS, or google_service_account in the options of a connection, where it is"
        );
        if permanent { Error::Invalid(words) } else { Error::Request { url: format!("http://{host}/"), reason: words } }
    }
}

/// Is this one of Google's machines, or one of which nobody knows?
fn in_google() -> bool {
    let product = std::fs::read_to_string(Path::new("/sys/class/dmi/id/product_name")).unwrap_or_default();
    let services = ["KUBERNETES_SERVICE_HOST", "K_SERVICE", "CLOUD_RUN_JOB"];
    product.starts_with("Google") || services.iter().any(|name| env::var_os(name).is_some())
}

#[async_trait]
impl CredentialProvider for Machine {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        let mut kept = self.kept.lock().await;
        if let Some(Kept { token, end }) = &*kept
            && end.saturating_duration_since(Instant::now()) > RENEW_BEFORE
        {
            return Ok(token.clone());
        }
        let failed = |error| object_store::Error::Generic { store: "GCS", source: Box::new(error) };
        let granted = self.granted().await.map_err(failed)?;
        let token = Arc::new(GcpCredential { bearer: granted.access_token });
        *kept = Some(Kept { token: token.clone(), end: Instant::now() + Duration::from_secs(granted.expires_in) });
        Ok(token)
    }
}
