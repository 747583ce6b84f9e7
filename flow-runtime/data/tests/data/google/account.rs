//! A service account whose key is made here, and what the token server demands.

use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::sha2::{Digest, Sha256};
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use serde_json::Value;

use super::pairs;
use crate::server::Request;

const EMAIL: &str = "flow@project-1.iam.gserviceaccount.com";
const KEY_ID: &str = "key-1";

pub struct Account {
    key: RsaPrivateKey,
}

impl Account {
    /// The same for all tests: a key takes a while to make.
    pub fn get() -> &'static Self {
        static ACCOUNT: OnceLock<Account> = OnceLock::new();
        ACCOUNT.get_or_init(|| Account { key: RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap() })
    }

    /// The file that Google's console gives out, with the fake's addresses:
    /// <https://cloud.google.com/iam/docs/keys-create-delete#creating>.
    pub fn json(&self, base: &str) -> String {
        serde_json::json!({
            "type": "service_account",
            "project_id": "project-1",
            "private_key_id": KEY_ID,
            "private_key": *self.key.to_pkcs8_pem(LineEnding::LF).unwrap(),
            "client_email": EMAIL,
            "token_uri": format!("{base}/token"),
            "gcs_base_url": base,
        })
        .to_string()
    }

    /// <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>
    pub fn check(&self, request: &Request, uri: &str) -> Result<(), String> {
        let form = pairs(&String::from_utf8_lossy(&request.body));
        let is = |what: &str, fine: bool| if fine { Ok(()) } else { Err(format!("{what} is wrong")) };
        is("the method", request.method == "POST")?;
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        is("grant_type", form.get("grant_type").is_some_and(|given| given == grant))?;
        let assertion = form.get("assertion").ok_or("there is no assertion")?;
        let (message, signature) = assertion.rsplit_once('.').ok_or("this is no JWT")?;
        let (header, claims) = message.split_once('.').ok_or("this is no JWT")?;
        let part = |text: &str| -> Value {
            BASE64.decode(text).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default()
        };
        let (header, claims) = (part(header), part(claims));
        is("alg", header["alg"] == "RS256")?;
        is("kid", header["kid"] == KEY_ID)?;
        is("iss", claims["iss"] == EMAIL)?;
        is("aud", claims["aud"] == uri)?;
        is("scope", claims["scope"] == "https://www.googleapis.com/auth/cloud-platform")?;
        let (from, to) = (claims["iat"].as_i64().unwrap_or(0), claims["exp"].as_i64().unwrap_or(0));
        let now = chrono::Utc::now().timestamp();
        is("iat or exp", from <= now + 5 && now < to && to <= from + 3600)?;
        let signature = BASE64.decode(signature).unwrap_or_default();
        let hash = Sha256::digest(message.as_bytes());
        let verified = self.key.to_public_key().verify(Pkcs1v15Sign::new::<Sha256>(), &hash, &signature);
        is("the signature", verified.is_ok())
    }
}
