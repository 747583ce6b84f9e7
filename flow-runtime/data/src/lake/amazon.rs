//! The account that a machine in Amazon's cloud has by itself, and what is said where nobody has keys for S3.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Name, AwsCredential, AwsCredentialProvider};
use object_store::{CredentialProvider, RetryConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::error::with_causes;
use crate::{Error, Result};

/// Where a machine asks about itself, unless `AWS_METADATA_ENDPOINT` says otherwise:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>.
const HOST: &str = "http://169.254.169.254";
/// It is beside the machine, or nowhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The keys of the machine's account, as object_store gets them. Where nobody answers it would ask for ten seconds.
pub(super) struct Machine {
    asked: AwsCredentialProvider,
    host: String,
    /// It is one of Amazon's, somebody has said whom to ask, or it has had keys before.
    known: AtomicBool,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Machine({})", self.host)
    }
}

impl Machine {
    /// For a store whose keys nobody has stated.
    pub(super) fn behind(builder: AmazonS3Builder) -> object_store::Result<AmazonS3Builder> {
        let has = |name| builder.get_config_value(&name).is_some_and(|value| !value.is_empty());
        let stated = has(Name::AccessKeyId)
            || has(Name::SecretAccessKey)
            || has(Name::WebIdentityTokenFile) && has(Name::RoleArn)
            || has(Name::ContainerCredentialsRelativeUri)
            || has(Name::ContainerCredentialsFullUri) && has(Name::ContainerAuthorizationTokenFile);
        if stated || builder.get_config_value(&Name::SkipSignature).is_some_and(|skip| skip == "true") {
            return Ok(builder);
        }
        let host = builder.get_config_value(&Name::MetadataEndpoint);
        let known = host.is_some() || in_amazon();
        // Whoever gives the keys out is beside the machine, and not waited for as long as a store.
        let asked = builder.clone().with_retry(RetryConfig::default()).build()?.credentials().clone();
        let (host, known) = (host.unwrap_or_else(|| HOST.to_owned()), AtomicBool::new(known));
        Ok(builder.with_credentials(Arc::new(Self { asked, host, known })))
    }

    async fn credential(&self) -> Result<Arc<AwsCredential>> {
        let known = self.known.load(Ordering::Relaxed);
        if !known {
            self.answers().await.map_err(|why| self.nothing(&why, true))?;
        }
        let keys = self.asked.get_credential().await.map_err(|error| self.nothing(&with_causes(&error), !known))?;
        // From now on one slow answer is bad luck, and tried again: hours into an upload it is no news about the machine.
        self.known.store(true, Ordering::Relaxed);
        Ok(keys)
    }

    /// Is anybody there to be asked?
    async fn answers(&self) -> Result<(), String> {
        let url = Url::parse(&self.host).map_err(|e| e.to_string())?;
        let place = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(place)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("nobody answers within {} s", CONNECT_TIMEOUT.as_secs())),
        }
    }

    fn nothing(&self, why: &str, permanent: bool) -> Error {
        let host = &self.host;
        let words = format!(
            "no keys for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, nor are aws_access_key_id and \
             aws_secret_access_key in the options of a connection (files below ~/.aws are not read); nor does this machine have an \
             account in Amazon's cloud ({host}: {why}). For a bucket that all may read, say aws_skip_signature = \"true\""
        );
        if permanent { Error::Invalid(words) } else { Error::Request { url: host.clone(), reason: words } }
    }
}

/// Is this one of Amazon's machines?
fn in_amazon() -> bool {
    let says = |path: &str, word: fn(&str) -> bool| std::fs::read_to_string(path).is_ok_and(|text| word(&text));
    says("/sys/class/dmi/id/sys_vendor", |vendor| vendor.starts_with("Amazon"))
        || says("/sys/class/dmi/id/product_version", |version| version.contains("amazon"))
        || says("/sys/hypervisor/uuid", |uuid| uuid.starts_with("ec2"))
}

#[async_trait]
impl CredentialProvider for Machine {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let failed = |error| object_store::Error::Generic { store: "S3", source: Box::new(error) };
        self.credential().await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Counts how often it is asked, and has nothing but for the first few.
    #[derive(Debug, Default)]
    struct Asked(AtomicUsize, usize);

    #[async_trait]
    impl CredentialProvider for Asked {
        type Credential = AwsCredential;

        async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
            if self.0.fetch_add(1, Ordering::SeqCst) < self.1 {
                let (key_id, secret_key) = ("id".to_owned(), "hush".to_owned());
                return Ok(Arc::new(AwsCredential { key_id, secret_key, token: None }));
            }
            Err(object_store::Error::Generic { store: "S3", source: "404 Not Found".into() })
        }
    }

    #[tokio::test]
    async fn only_who_answers_is_asked_for_long_unless_this_is_amazons_machine() {
        let there = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = format!("http://{}", there.local_addr().unwrap());
        for (host, known, times) in
            [(&*there, false, 1), ("http://127.0.0.1:1", false, 0), ("http://127.0.0.1:1", true, 1)]
        {
            let asked = Arc::new(Asked::default());
            let machine = Machine { asked: asked.clone(), host: host.to_owned(), known: known.into() };
            let error = machine.credential().await.unwrap_err();
            let told = error.to_string();
            assert_eq!((asked.0.load(Ordering::SeqCst), error.is_permanent()), (times, !known), "{told}");
            for word in ["AWS_SECRET_ACCESS_KEY", "aws_access_key_id", "aws_skip_signature", host] {
                assert!(told.contains(word), "{told}");
            }
            assert_eq!(told.contains("404"), times > 0, "{told}");
        }
    }

    #[tokio::test]
    async fn a_machine_that_had_keys_once_is_asked_again_however_late_it_is() {
        let there = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("http://{}", there.local_addr().unwrap());
        let machine = Machine { asked: Arc::new(Asked(AtomicUsize::new(0), 1)), host, known: false.into() };
        machine.credential().await.unwrap();
        drop(there);
        let error = machine.credential().await.unwrap_err();
        assert!(!error.is_permanent() && error.to_string().contains("404"), "it was asked, and may be again: {error}");
    }

    #[test]
    fn who_has_stated_keys_asks_no_machine() {
        crate::tls::ready();
        let asks = |options: &[(Name, &str)]| {
            let builder = AmazonS3Builder::new().with_bucket_name("lake");
            let with = options.iter().fold(builder, |builder, (name, value)| builder.with_config(*name, *value));
            let store = Machine::behind(with).unwrap().build().unwrap();
            format!("{:?}", store.credentials()).contains("Machine(")
        };
        assert!(asks(&[]) && asks(&[(Name::MetadataEndpoint, "http://127.0.0.1:1")]));
        assert!(!asks(&[(Name::AccessKeyId, "me"), (Name::SecretAccessKey, "hush")]));
        assert!(!asks(&[(Name::ContainerCredentialsRelativeUri, "/v2/credentials/a")]));
        assert!(!asks(&[(Name::SkipSignature, "true")]));
    }
}
