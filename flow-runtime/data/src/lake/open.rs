//! Which store a URL means, and with whose rights.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreScheme};
use url::Url;

use super::Lake;
use crate::redact::{redact, scrub};
use crate::{Error, Result, tls};

/// Where Google credentials are kept by the course that many pipelines come from.
const HOME_CREDENTIALS: &str = ".google/credentials/google_credentials.json";

impl Lake {
    fn option(&self, name: &str) -> Option<String> {
        let own = self.options.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        own.or_else(|| env::var(name.to_ascii_uppercase()).ok()).filter(|value| !value.is_empty())
    }

    pub(super) fn open(&self, url: &Url) -> Result<(Arc<dyn ObjectStore>, Key)> {
        tls::ready();
        let (scheme, key) = ObjectStoreScheme::parse(url).map_err(|e| failed(url)(e.into()))?;
        if key.as_ref().is_empty() {
            return Err(Error::Invalid(format!("`{}` names a bucket and no object", redact(url.as_str()))));
        }
        let store = match scheme {
            ObjectStoreScheme::GoogleCloudStorage => self.google(url),
            ObjectStoreScheme::AmazonS3 => self.amazon(url),
            ObjectStoreScheme::MicrosoftAzure => self.azure(url),
            _ => {
                return Err(Error::Invalid(format!("`{}` is no object store", redact(url.as_str()))));
            }
        };
        Ok((store.map_err(failed(url))?, key))
    }

    fn amazon(&self, url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = AmazonS3Builder::from_env().with_url(url.as_str());
        for (name, value) in &self.options {
            if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let plain = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some_and(|e| e.starts_with("http://"));
        Ok(Arc::new(if plain { builder.with_allow_http(true) } else { builder }.build()?))
    }

    fn azure(&self, url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
        for (name, value) in &self.options {
            if let Ok(key) = name.parse::<AzureConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let plain = builder.get_config_value(&AzureConfigKey::Endpoint).is_some_and(|e| e.starts_with("http://"));
        Ok(Arc::new(if plain { builder.with_allow_http(true) } else { builder }.build()?))
    }

    fn google(&self, url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
        for (name, value) in &self.options {
            if let Ok(key) = name.parse::<GoogleConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let stated =
            [GoogleConfigKey::ServiceAccount, GoogleConfigKey::ServiceAccountKey, GoogleConfigKey::BearerToken];
        if stated.iter().any(|key| builder.get_config_value(key).is_some()) {
            return Ok(Arc::new(builder.build()?));
        }
        if let Some(host) = self.option("storage_emulator_host") {
            return Ok(Arc::new(builder.with_service_account_key(emulator_key(&host)).build()?));
        }
        let home = env::home_dir().map(|home| home.join(HOME_CREDENTIALS)).filter(|path| path.is_file());
        if let Some(path) = self.option("google_application_credentials").map(PathBuf::from).or(home) {
            let text = path.to_string_lossy();
            builder = if is_user_login(&path) {
                builder.with_application_credentials(text)
            } else {
                builder.with_service_account_path(text)
            };
        }
        Ok(Arc::new(builder.build()?))
    }
}

/// Credentials that send nobody a token: what an emulator wants. (`skip_signature` is not heeded by writes.)
fn emulator_key(host: &str) -> String {
    let base = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
    serde_json::json!({
        "gcs_base_url": base.trim_end_matches('/'),
        "disable_oauth": true,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    })
    .to_string()
}

/// True of the file that `gcloud auth application-default login` writes; anything else is a service account's key.
fn is_user_login(path: &Path) -> bool {
    let json = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    json.is_some_and(|json| json["type"] == "authorized_user")
}

/// Turns what a store says into our words, without secrets.
pub(super) fn failed(url: &Url) -> impl Fn(object_store::Error) -> Error + '_ {
    move |error| {
        use object_store::Error as E;
        let permanent = matches!(
            error,
            E::NotFound { .. }
                | E::InvalidPath { .. }
                | E::NotSupported { .. }
                | E::NotImplemented { .. }
                | E::PermissionDenied { .. }
                | E::Unauthenticated { .. }
                | E::UnknownConfigurationKey { .. }
        );
        Error::Store { url: redact(url.as_str()), message: scrub(&error.to_string(), url.as_str()), permanent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_not_shown() {
        let lake = Lake::new().with("AWS_SECRET_ACCESS_KEY", "hush");
        assert_eq!(format!("{lake:?}"), "[\"aws_secret_access_key\"]");
    }

    #[test]
    fn a_bucket_alone_is_no_object() {
        let error = Lake::new().open(&"gs://lake".parse().unwrap()).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}
