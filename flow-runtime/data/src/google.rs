//! Whose rights Google is shown: a service account's key is exchanged for tokens, everything else is object_store's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use object_store::CredentialProvider;
use object_store::gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorageBuilder};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use crate::http::client;
use crate::machine::Machine;
use crate::redact::scrub;
use crate::retry::{Attempts, retry_after};
use crate::{Error, Result};

/// Where Google credentials are kept by the course that many pipelines come from.
pub(crate) const HOME_CREDENTIALS: &str = ".google/credentials/google_credentials.json";
/// Where `gcloud auth application-default login` writes.
const GCLOUD_LOGIN: &str = ".config/gcloud/application_default_credentials.json";
/// Where tokens are given out, unless the key says otherwise.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// All that the account may do.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// A token is renewed this long before its end; the requests on their way still use it.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// A service account's key, as Google's console gives it out.
#[derive(Deserialize, Default)]
pub(crate) struct ServiceKey {
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    private_key: String,
    #[serde(default)]
    private_key_id: String,
    #[serde(default)]
    token_uri: Option<String>,
    #[serde(default)]
    disable_oauth: bool,
    #[serde(default, rename = "type")]
    kind: String,
    pub(crate) project_id: Option<String>,
}

/// The credentials that were found.
pub(crate) enum Found {
    /// Nobody is asked for a token: an emulator.
    None,
    /// A token that was stated.
    Bearer(String),
    /// A service account's key: where it stands, its text, and what it says.
    Key { json: String, key: ServiceKey },
    /// What `gcloud auth application-default login` wrote.
    Login(PathBuf),
    /// A login of gcloud of another kind, which object_store looks at.
    Default,
    /// Nothing: the machine's own account is what is left.
    Machine(Arc<Machine>),
}

/// Finds credentials. `option` gives an option's value, or the environment's.
pub(crate) fn find(option: &dyn Fn(&str) -> Option<String>, emulator: Option<&str>) -> Result<Found> {
    if let Some(token) = option("google_bearer_token") {
        return Ok(Found::Bearer(token));
    }
    if let Some(json) = option("google_service_account_key").or_else(|| option("service_account_key")) {
        return key(json, "the option google_service_account_key");
    }
    let stated = ["google_service_account", "google_service_account_path", "service_account", "service_account_path"];
    if let Some(path) = stated.iter().find_map(|name| option(name)) {
        return read(Path::new(&path));
    }
    if emulator.and_then(option).is_some() {
        return Ok(Found::None);
    }
    if let Some(path) = option("google_application_credentials") {
        return read(Path::new(&path));
    }
    let home = option("home").map(PathBuf::from).or_else(std::env::home_dir);
    // Without one, the places would be in whatever folder the process is at work.
    let looked = match home.filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => {
            let (own, gcloud) = (home.join(HOME_CREDENTIALS), home.join(GCLOUD_LOGIN));
            if own.is_file() {
                return read(&own);
            }
            if gcloud.is_file() {
                return Ok(match read(&gcloud)? {
                    Found::Key { key, .. } if key.kind != "service_account" => Found::Default,
                    found => found,
                });
            }
            format!("there is neither a file {} nor {}", own.display(), gcloud.display())
        }
        None => "nobody has said where the home folder is (HOME), in which they are looked for".to_owned(),
    };
    let looked = format!("{looked}, and GOOGLE_APPLICATION_CREDENTIALS names none");
    Ok(Found::Machine(Arc::new(Machine::new(option("gce_metadata_host"), looked)?)))
}

fn read(path: &Path) -> Result<Found> {
    let json = std::fs::read_to_string(path).map_err(Error::io(path))?;
    match key(json, &path.display().to_string())? {
        Found::Key { key, .. } if key.kind == "authorized_user" => Ok(Found::Login(path.to_owned())),
        found => Ok(found),
    }
}

fn key(json: String, place: &str) -> Result<Found> {
    // The parser's own words would show a piece of the key.
    let key: ServiceKey = serde_json::from_str(&json).map_err(|e| {
        Error::Invalid(format!("{place}: no Google credentials (line {}): get a new key file", e.line()))
    })?;
    Ok(Found::Key { json, key })
}

impl Found {
    /// The tokens of a service account.
    pub(crate) fn tokens(&self) -> Result<Option<Arc<Tokens>>> {
        match self {
            Self::Key { key, .. } if !key.disable_oauth => Tokens::of(key).map(|tokens| Some(Arc::new(tokens))),
            _ => Ok(None),
        }
    }

    /// The same for a Google service that object_store does not know.
    pub(crate) fn provider(&self) -> object_store::Result<GcpCredentialProvider> {
        if let Self::Machine(machine) = self {
            return Ok(machine.clone());
        }
        let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name("none");
        let builder = match self {
            Self::Login(path) => builder.with_application_credentials(path.to_string_lossy()),
            Self::Bearer(token) => builder.with_bearer_token(token),
            _ => builder,
        };
        Ok(builder.build()?.credentials().clone())
    }
}

/// The tokens of a service account. The one in use is kept until shortly before its end, or until it is refused.
///
/// The exchange is that of <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>: a JWT
/// that the account's key signs (RS256), for a bearer token.
pub(crate) struct Tokens {
    key: RsaKeyPair,
    key_id: String,
    email: String,
    uri: String,
    client: reqwest::Client,
    kept: Mutex<Option<(Arc<GcpCredential>, Instant)>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.email)
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Tokens {
    fn of(key: &ServiceKey) -> Result<Self> {
        let invalid = |why: &str| {
            let email = &key.client_email;
            Error::Invalid(format!(
                "the key of the Google account `{email}` cannot be used ({why}): get a new key file"
            ))
        };
        let der = PrivatePkcs8KeyDer::from_pem_slice(key.private_key.as_bytes())
            .map_err(|_| invalid("its private_key is no PEM"))?;
        Ok(Self {
            key: RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|e| invalid(&e.to_string()))?,
            key_id: key.private_key_id.clone(),
            email: key.client_email.clone(),
            uri: key.token_uri.clone().unwrap_or_else(|| TOKEN_URI.to_owned()),
            client: client()?,
            kept: Mutex::new(None),
        })
    }

    /// The token in use, or a new one.
    pub(crate) async fn token(&self) -> Result<Arc<GcpCredential>> {
        let mut kept = self.kept.lock().await;
        if let Some((token, end)) = &*kept
            && end.saturating_duration_since(Instant::now()) > RENEW_BEFORE
        {
            return Ok(token.clone());
        }
        let granted = self.exchange().await?;
        let token = Arc::new(GcpCredential { bearer: granted.access_token });
        *kept = Some((token.clone(), Instant::now() + Duration::from_secs(granted.expires_in)));
        Ok(token)
    }

    /// A server refused this token: the next caller gets another.
    pub(crate) async fn forget(&self, bearer: &str) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|(token, _)| token.bearer == bearer) {
            *kept = None;
        }
    }

    fn assertion(&self) -> Result<String> {
        let now = chrono::Utc::now().timestamp();
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id });
        let claims = json!({
            "iss": self.email, "sub": self.email, "scope": SCOPE, "aud": self.uri, "iat": now, "exp": now + 3600,
        });
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| Error::Invalid(format!("the key of `{}` does not sign: get a new key file", self.email)))?;
        Ok(format!("{message}.{}", BASE64.encode(signature)))
    }

    async fn exchange(&self) -> Result<Granted> {
        let assertion = self.assertion()?;
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.as_str())];
        let mut attempts = Attempts::new();
        loop {
            let answer = self.client.post(&self.uri).form(&form).send().await;
            let (reason, wait) = match answer {
                Ok(answer) if answer.status().is_success() => match answer.json().await {
                    Ok(granted) => return Ok(granted),
                    Err(error) => (crate::http::reason(error, &self.uri), None),
                },
                Ok(answer) => {
                    let (status, wait) = (answer.status().as_u16(), retry_after(answer.headers()));
                    let words = answer.text().await.unwrap_or_default();
                    if !crate::error::may_pass(status) {
                        return Err(self.refused(status, &words));
                    }
                    (format!("the server answered {status}"), wait)
                }
                Err(error) => (crate::http::reason(error, &self.uri), None),
            };
            if !attempts.again(wait).await {
                let reason = attempts.told(format!("no Google token: {reason}"));
                return Err(Error::Request { url: self.uri.clone(), reason });
            }
        }
    }

    /// The answer's words as in <https://www.rfc-editor.org/rfc/rfc6749#section-5.2>.
    fn refused(&self, status: u16, words: &str) -> Error {
        let answer: serde_json::Value = serde_json::from_str(words).unwrap_or_default();
        let word = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let said = scrub(&format!("{} {}", word("error"), word("error_description")), "");
        Error::Status {
            status,
            url: self.uri.clone(),
            hint: format!(
                "no token for `{}`: {} (is its key still valid, and the clock right?)",
                self.email,
                said.trim()
            ),
        }
    }
}

#[async_trait]
impl CredentialProvider for Tokens {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        self.token().await.map_err(|error| {
            if error.is_permanent() {
                return object_store::Error::Unauthenticated { path: self.email.clone(), source: Box::new(error) };
            }
            object_store::Error::Generic { store: "GCS", source: Box::new(error) }
        })
    }
}
