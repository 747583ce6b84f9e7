//! Which store a URL means, and with whose rights.

use std::collections::HashMap;
use std::env;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3CopyIfNotExists};
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use super::Lake;
use super::amazon::Machine;
use super::connector::Connector;
use super::notes::Notes;
use super::place::Place;
use crate::error::{may_pass, with_causes};
use crate::google::{self, Found};
use crate::redact::{redact, scrub};
use crate::{Error, Result, tls};

/// Set for every store unless an option says otherwise. The whole of a request, with a part of an upload in it, may take
/// two minutes; a download that takes longer is continued by us.
const TIMEOUTS: [(ClientConfigKey, &str); 2] =
    [(ClientConfigKey::Timeout, "120 seconds"), (ClientConfigKey::ConnectTimeout, "10 seconds")];

/// The first wait before a request is made again, and the longest.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// object_store repeats a request as it was signed once, and a date that is five minutes old (Google; fifteen: Amazon, Azure) is refused.
const LONGEST_SIGNED: Duration = Duration::from_secs(270);

/// The stores of `memory://NAME/`, for as long as the process lives.
static MEMORIES: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

/// One bucket or container.
pub(crate) enum Store {
    Google(Google),
    Amazon {
        store: AmazonS3,
        region: String,
        notes: Option<Arc<Notes>>,
    },
    /// Azure forgets parts by itself. Notes are those of earlier versions, whose parts came together in objects.
    Azure {
        store: MicrosoftAzure,
        notes: Option<Arc<Notes>>,
    },
    Memory(Arc<InMemory>),
}

/// With what requests that object_store does not make need.
pub(crate) struct Google {
    pub(super) store: GoogleCloudStorage,
    pub(super) http: HttpClient,
    pub(super) base: String,
    pub(super) bucket: String,
    pub(super) patience: Duration,
    notes: Option<Arc<Notes>>,
}

impl Store {
    /// Uploads in parts that are under way there, if they are noted.
    pub(super) fn notes(&self) -> Option<&Arc<Notes>> {
        match self {
            Self::Google(google) => google.notes.as_ref(),
            Self::Amazon { notes, .. } | Self::Azure { notes, .. } => notes.as_ref(),
            Self::Memory(_) => None,
        }
    }

    pub(crate) fn objects(&self) -> &dyn ObjectStore {
        match self {
            Self::Google(google) => &google.store,
            Self::Amazon { store, .. } => store,
            Self::Azure { store, .. } => store,
            Self::Memory(store) => &**store,
        }
    }
}

/// Options that are read by us, besides those of the stores.
const OWN: [&str; 10] = [
    "bigquery_emulator_host",
    "bigquery_location",
    "gce_metadata_host",
    "google_application_credentials",
    "google_bearer_token",
    "google_cloud_project",
    "google_service_account_key",
    "google_service_account_path",
    "home",
    "storage_emulator_host",
];

impl Lake {
    /// Is there an option of this name? One that is not is never read: most likely it is misspelt.
    pub fn knows(option: &str) -> bool {
        let name = option.to_ascii_lowercase();
        OWN.contains(&name.as_str())
            || name.parse::<AmazonS3ConfigKey>().is_ok()
            || name.parse::<AzureConfigKey>().is_ok()
            || name.parse::<GoogleConfigKey>().is_ok()
    }

    pub(crate) fn option(&self, name: &str) -> Option<String> {
        let own = self.options.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        own.or_else(|| env::var(name.to_ascii_uppercase()).ok()).filter(|value| !value.is_empty())
    }

    /// The store of an object, and its key there.
    pub(crate) fn open(&self, url: &Url) -> Result<(Arc<Store>, Key)> {
        let (store, key) = self.open_bucket(url)?;
        if key.as_ref().is_empty() {
            return Err(Error::Invalid(format!("`{}` names a bucket and no object", redact(url.as_str()))));
        }
        Ok((store, key))
    }

    /// The store of a bucket, kept with its tokens and connections for the next call, and the key after it.
    pub(super) fn open_bucket(&self, url: &Url) -> Result<(Arc<Store>, Key)> {
        let (scheme, key) = scheme_of(url)?;
        let name = format!("{}://{}", url.scheme(), url.authority());
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&name) {
            return Ok((store.clone(), key));
        }
        let store = match scheme {
            None => Store::Memory(memory(&name)),
            Some(ObjectStoreScheme::GoogleCloudStorage) => Store::Google(self.google(url)?),
            Some(ObjectStoreScheme::AmazonS3) => self.amazon(url, Connector::default()).map_err(failed(url))?,
            Some(_) => self.azure(url, Connector::default()).map_err(failed(url))?,
        };
        let store = Arc::new(store);
        stores.insert(name, store.clone());
        Ok((store, key))
    }

    /// How a request is made again while a store is busy or cannot be reached: until the patience is at its end, and not so often.
    fn retry(&self) -> RetryConfig {
        let (patience, [first, longest]) = (self.patience().min(LONGEST_SIGNED), WAITS);
        // object_store draws each wait between the first one and `base` times the one before: with its own 2 they hardly grow.
        let backoff =
            BackoffConfig { init_backoff: first, max_backoff: longest.min(patience / 18).max(first), base: 4. };
        RetryConfig { backoff, max_retries: 10_000, retry_timeout: patience }
    }

    pub(super) fn amazon(&self, url: &Url, connector: Connector) -> object_store::Result<Store> {
        tls::ready();
        let mut builder = AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(self.retry());
        for (key, value) in TIMEOUTS {
            builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
        }
        for (name, value) in &self.options {
            if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        if builder.get_config_value(&AmazonS3ConfigKey::CopyIfNotExists).is_none() {
            builder = builder.with_copy_if_not_exists(S3CopyIfNotExists::Multipart);
        }
        let plain = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some_and(|e| e.starts_with("http://"));
        let builder = if plain { builder.with_allow_http(true) } else { builder };
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
        let endpoint = endpoint.iter().find_map(|key| builder.get_config_value(key));
        let notes = self.notes_of(url, endpoint.as_ref().unwrap_or(&region));
        let connector = Connector { notes: notes.clone(), ..connector };
        let builder = Machine::behind(builder.with_http_connector(connector))?;
        Ok(Store::Amazon { store: builder.build()?, region, notes })
    }

    pub(super) fn azure(&self, url: &Url, connector: Connector) -> object_store::Result<Store> {
        tls::ready();
        let mut builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str()).with_retry(self.retry());
        for (key, value) in TIMEOUTS {
            builder = builder.with_config(AzureConfigKey::Client(key), value);
        }
        for (name, value) in &self.options {
            if let Ok(key) = name.parse::<AzureConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let plain = builder.get_config_value(&AzureConfigKey::Endpoint).is_some_and(|e| e.starts_with("http://"));
        let builder = if plain { builder.with_allow_http(true) } else { builder };
        let at = [AzureConfigKey::Endpoint, AzureConfigKey::AccountName];
        let at: Vec<_> = at.iter().filter_map(|key| builder.get_config_value(key)).collect();
        let notes = self.notes_of(url, &at.join(" "));
        let builder = by_machine(builder.with_http_connector(connector))?;
        Ok(Store::Azure { store: builder.build()?, notes })
    }

    /// Google's credentials, as the options and the environment say. With the option `emulator` nobody is asked for a token.
    pub(crate) fn google_credentials(&self, emulator: &str) -> Result<Found> {
        tls::ready();
        google::find(&|name| self.option(name), Some(emulator))
    }

    fn google(&self, url: &Url) -> Result<Google> {
        let found = self.google_credentials("storage_emulator_host")?;
        let mut builder = GoogleCloudStorageBuilder::new().with_url(url.as_str()).with_retry(self.retry());
        let mut options = ClientOptions::new();
        for (key, value) in TIMEOUTS {
            builder = builder.with_config(GoogleConfigKey::Client(key), value);
            options = options.with_config(key, value);
        }
        let environment = env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
        for (name, value) in environment.filter(|(name, _)| name.starts_with("google_")).chain(self.options.clone()) {
            match name.parse::<GoogleConfigKey>() {
                // The credentials are found already.
                Ok(GoogleConfigKey::ServiceAccount | GoogleConfigKey::ServiceAccountKey) => {}
                Ok(GoogleConfigKey::ApplicationCredentials | GoogleConfigKey::BearerToken) => {}
                Ok(GoogleConfigKey::Client(key)) => {
                    options = options.with_config(key, value.clone());
                    builder = builder.with_config(GoogleConfigKey::Client(key), value);
                }
                Ok(key) => builder = builder.with_config(key, value),
                Err(_) => {}
            }
        }
        let base = match &found {
            Found::None => self.option("storage_emulator_host").map(|host| emulator(&host)),
            Found::Key { json, .. } => serde_json::from_str::<serde_json::Value>(json)
                .ok()
                .and_then(|json| Some(json["gcs_base_url"].as_str()?.to_owned())),
            _ => None,
        };
        let base = builder.get_config_value(&GoogleConfigKey::BaseUrl).or(base);
        if let Some(base) = &base {
            builder = builder.with_base_url(base);
        }
        if base.as_ref().is_some_and(|base| base.starts_with("http://")) {
            options = options.with_allow_http(true);
        }
        let tokens = found.tokens()?;
        builder = match &found {
            Found::None => builder.with_bearer_token(""),
            Found::Bearer(token) => builder.with_bearer_token(token),
            Found::Login(path) => builder.with_application_credentials(path.to_string_lossy()),
            Found::Key { .. } => match &tokens {
                Some(tokens) => builder.with_credentials(tokens.clone()),
                None => builder.with_bearer_token(""),
            },
            Found::Machine(machine) => builder.with_credentials(machine.clone()),
            Found::Default => builder,
        };
        let base = base.unwrap_or_else(|| "https://storage.googleapis.com".to_owned());
        let notes = self.notes_of(url, &base);
        let connector = Connector { tokens, notes: notes.clone(), ..Connector::default() };
        let http = connector.connect(&options).map_err(failed(url))?;
        let store = builder.with_client_options(options).with_http_connector(connector).build().map_err(failed(url))?;
        let bucket = url.host_str().unwrap_or_default().to_owned();
        Ok(Google { store, http, base, bucket, patience: self.patience(), notes })
    }

    /// Those of a bucket of the server there: connections with one name for two buckets may share the folder.
    fn notes_of(&self, url: &Url, server: &str) -> Option<Arc<Notes>> {
        let folder = self.notes.clone()?;
        let bucket = redact(&format!("{server} {}://{}", url.scheme(), url.authority()));
        Some(Arc::new(Notes::new(folder, bucket)))
    }
}

/// With the account of the machine, where nobody has stated another: whoever gives out its tokens is beside it, or nowhere, and not
/// waited for as long as a store.
fn by_machine(builder: MicrosoftAzureBuilder) -> object_store::Result<MicrosoftAzureBuilder> {
    use AzureConfigKey::{AccessKey, ClientSecret, FabricSessionToken, FederatedTokenFile, SasKey, Token};
    let stated = [AccessKey, ClientSecret, FabricSessionToken, FederatedTokenFile, SasKey, Token];
    if stated.iter().any(|key| builder.get_config_value(key).is_some_and(|value| !value.is_empty())) {
        return Ok(builder);
    }
    let credentials = builder.clone().with_retry(RetryConfig::default()).build()?.credentials().clone();
    Ok(builder.with_credentials(credentials))
}

/// A stated host of an emulator as a URL.
pub(crate) fn emulator(host: &str) -> String {
    let base = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
    base.trim_end_matches('/').to_owned()
}

fn memory(name: &str) -> Arc<InMemory> {
    let mut memories = MEMORIES.lock().unwrap_or_else(PoisonError::into_inner);
    memories.entry(name.to_owned()).or_default().clone()
}

/// The kind of a store, `None` for one in memory, and the key.
fn scheme_of(url: &Url) -> Result<(Option<ObjectStoreScheme>, Key)> {
    if url.scheme() == Place::MEMORY {
        let key = Key::from_url_path(url.path()).map_err(|e| failed(url)(e.into()))?;
        return Ok((None, key));
    }
    let (scheme, key) = ObjectStoreScheme::parse(url).map_err(|e| failed(url)(e.into()))?;
    match scheme {
        ObjectStoreScheme::GoogleCloudStorage | ObjectStoreScheme::AmazonS3 | ObjectStoreScheme::MicrosoftAzure => {
            Ok((Some(scheme), key))
        }
        _ => Err(Error::Invalid(format!("`{}` is no object store", redact(url.as_str())))),
    }
}

/// Turns what a store says into our words, without secrets.
pub(crate) fn failed(url: &Url) -> impl Fn(object_store::Error) -> Error + '_ {
    move |error| {
        use object_store::Error as E;
        let own = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Error>());
        let message = own.map_or_else(|| with_causes(&error), ToString::to_string);
        let permanent = match (&error, own) {
            (_, Some(own)) => own.is_permanent(),
            (E::Generic { .. }, None) => is_refused(&message),
            // The upload is not there, which says nothing of the object.
            (E::NotFound { .. }, None) if message.contains(NO_UPLOAD) => false,
            (
                E::NotFound { .. }
                | E::InvalidPath { .. }
                | E::NotSupported { .. }
                | E::NotImplemented { .. }
                | E::PermissionDenied { .. }
                | E::Unauthenticated { .. }
                | E::UnknownConfigurationKey { .. },
                None,
            ) => true,
            _ => false,
        };
        let mut message = scrub(&message, url.as_str());
        if url.scheme().starts_with("s3") && message.contains(CONTAINER) {
            message.push_str(NO_KEYS);
        }
        Error::Store { url: redact(url.as_str()), message, permanent }
    }
}

/// Has a store refused a request for good? object_store tells most of its statuses by its words alone.
fn is_refused(message: &str) -> bool {
    const STATUS: &str = "non-2xx status code: ";
    // A body that came too slowly, or not as it was sent (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>); parts
    // that somebody has removed, or has outdone: the next upload has others; a token that ran out, or whose giver is not reached.
    const PASSING: [&str; 10] = [
        "RequestTimeout",
        NO_UPLOAD,
        "InvalidBlockList",
        "IncompleteBody",
        "BadDigest",
        "XAmzContentSHA256Mismatch",
        "InvalidPart",
        "ExpiredToken",
        "Md5Mismatch",
        "IDPCommunicationError",
    ];
    if PASSING.iter().any(|word| message.contains(word)) {
        return false;
    }
    let digits = message.split_once(STATUS).and_then(|(_, rest)| rest.get(..3));
    match digits.and_then(|digits| digits.parse().ok()) {
        // The object may be another by now, or somebody else at work on it.
        Some(409 | 410 | 412 | 416) => false,
        // Whoever gives out credentials has none while it is updated:
        // <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#retry-guidance>.
        Some(404) if wants_credentials(message) => false,
        Some(status) => (400..500).contains(&status) && !may_pass(status),
        // The bucket is elsewhere.
        None => message.contains("redirect without LOCATION"),
    }
}

/// Was it a request for a token or keys? Azure's says so. Amazon's says nothing, but a 404 to any other request is either
/// [`object_store::Error::NotFound`] or told with its name ("list request").
fn wants_credentials(message: &str) -> bool {
    let what = message.split_once("Error performing ").map_or("", |(_, what)| what);
    what.starts_with("token request") || what.starts_with(|first: char| first.is_ascii_uppercase())
}

/// What S3 says of a part or an end of an upload that is not there, or no longer.
const NO_UPLOAD: &str = "NoSuchUpload";

/// Whom object_store asks for keys in a container of Amazon's: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html>.
const CONTAINER: &str = "http://169.254.170.2";
const NO_KEYS: &str = ". This container was said to have keys of its own (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI); else set \
    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or aws_access_key_id and aws_secret_access_key in the options of the connection";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_not_shown() {
        let lake = Lake::new().with("AWS_SECRET_ACCESS_KEY", "hush");
        assert_eq!(format!("{lake:?}"), "[\"aws_secret_access_key\"]");
    }

    #[test]
    fn a_store_is_waited_for_as_long_as_is_said() {
        let of = |lake: Lake| {
            let retry = lake.retry();
            (retry.retry_timeout.as_secs(), retry.backoff.max_backoff.as_millis())
        };
        assert_eq!(of(Lake::new()), (180, 10_000));
        assert_eq!(of(Lake::new().with_patience(Duration::from_secs(9))), (9, 500));
        // A request that is older is refused, as its date is.
        assert_eq!(of(Lake::new().with_patience(Duration::from_secs(900))), (270, 10_000));
        // Never is a wait drawn from nothing.
        assert_eq!(of(Lake::new().with_patience(Duration::ZERO)), (0, 100));
    }

    #[test]
    fn what_is_refused_is_refused_for_good() {
        let url: Url = "s3://lake/f".parse().unwrap();
        let told = |words: &str| {
            let error = object_store::Error::Generic { store: "S3", source: words.into() };
            failed(&url)(error).is_permanent()
        };
        let status = |status: &str| format!("Server returned non-2xx status code: {status}: ");
        for gone in ["400 Bad Request", "404 Not Found", "405 Method Not Allowed"] {
            assert!(told(&status(gone)), "{gone}");
        }
        assert!(told("Received redirect without LOCATION, this normally indicates an incorrectly configured region"));
        for passes in [
            "307 Temporary",
            "408 Request Timeout",
            "410 Gone",
            "416 Range",
            "429 Too Many Requests",
            "500 Oh",
            "503 Slow Down",
        ] {
            assert!(!told(&status(passes)), "{passes}");
        }
        for code in
            ["RequestTimeout", "IncompleteBody", "InvalidPart", "ExpiredToken", "Md5Mismatch", "IDPCommunicationError"]
        {
            assert!(!told(&format!("{}<Code>{code}</Code>", status("400 Bad Request"))), "{code}");
        }
        assert!(!told(&format!("{}<Code>NoSuchUpload</Code>", status("404 Not Found"))));
        let missing = |code: &str| {
            let (path, source) = ("f".to_owned(), format!("{}<Code>{code}</Code>", status("404 Not Found")).into());
            failed(&url)(object_store::Error::NotFound { path, source }).is_permanent()
        };
        assert!(missing("NoSuchKey") && !missing("NoSuchUpload"));
        for (what, refused) in
            [("token request: Error performing GET http", false), ("PUT http", false), ("list request: Error", true)]
        {
            let told = |of: &str| told(&format!("Error performing {what}: {}", status(of)));
            assert_eq!((told("404 Not Found"), told("400 Bad Request")), (refused, true), "{what}");
        }
        assert!(!told("HTTP error: error sending request") && !told("non-2xx status code: "));
    }

    #[test]
    fn a_misspelt_option_is_known_to_nobody() {
        for known in ["AWS_ENDPOINT", "aws_secret_access_key", "azure_storage_account_name", "google_service_account"] {
            assert!(Lake::knows(known), "{known}");
        }
        assert!(OWN.iter().all(|own| Lake::knows(own)));
        assert!(!Lake::knows("aws_secret_acces_key") && !Lake::knows("url") && !Lake::knows(""));
    }

    #[test]
    fn who_has_no_keys_for_amazon_hears_so() {
        let told = |url: &str, reason: &str| {
            let url: Url = url.parse().unwrap();
            failed(&url)(object_store::Error::Generic { store: "S3", source: reason.into() }).to_string()
        };
        let asked = "Error performing GET http://169.254.170.2/v2/credentials/a in 10s, after 3 retries";
        assert!(told("s3://lake/f", asked).contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
        assert!(!told("s3://lake/f", "Error performing GET http://minio/lake").contains("AWS"));
        assert!(!told("gs://lake/f", asked).contains("AWS"));
    }

    #[test]
    fn a_bucket_alone_is_no_object() {
        let error = Lake::new().open(&"memory://lake".parse().unwrap()).err().unwrap();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}
