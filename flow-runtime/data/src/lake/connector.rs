//! What object_store's HTTP client does not do by itself: renew a token that is refused, wait when a server asks for it, name
//! a condition where an upload is completed, and note which uploads are under way.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::azure::{AzureAuthorizer, AzureCredential};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, CredentialProvider};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};

use super::notes::Notes;
use crate::google::Tokens;
use crate::retry::retry_after;

type AzureCredentialProvider = Arc<dyn CredentialProvider<Credential = AzureCredential>>;

/// The longest wait within a request: it counts among the time after which object_store makes no further one.
const LONGEST: Duration = Duration::from_secs(20);

/// Makes clients for one store.
#[derive(Debug, Clone, Default)]
pub(super) struct Connector {
    /// Asked again when a token is refused.
    pub(super) tokens: Option<Arc<Tokens>>,
    /// Stands in the request that completes an upload in parts.
    pub(super) on_complete: Option<(HeaderName, HeaderValue)>,
    /// With whose key that request is signed anew: Azure's signatures are of the conditions, too.
    pub(super) signs: Option<AzureCredentialProvider>,
    /// Hears of uploads in parts that begin and end.
    pub(super) notes: Option<Arc<Notes>>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { inner, own: self.clone() }))
    }
}

#[derive(Debug)]
struct Service {
    inner: HttpClient,
    own: Connector,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some((name, value)) = &self.own.on_complete
            && matches!(Step::of(&request), Some(Step::Completes(_)))
        {
            request.headers_mut().insert(name, value.clone());
            if let Some(signs) = &self.own.signs {
                sign(&mut request, signs).await.map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
            }
        }
        let noted = self.own.notes.as_ref().and_then(|notes| Some((notes, Step::of(&request)?)));
        let again = self.own.tokens.as_ref().map(|tokens| (tokens, request.clone()));
        let mut response = self.inner.execute(request).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some((tokens, mut again)) = again
            && let Some(refused) = bearer(&again)
        {
            // A token can end before its time: the clock is off, or somebody revoked it.
            tokens.forget(&refused).await;
            if let Some(fresh) =
                tokens.token().await.ok().and_then(|token| format!("Bearer {}", token.bearer).parse().ok())
            {
                again.headers_mut().insert(AUTHORIZATION, fresh);
                response = self.inner.execute(again).await?;
            }
        }
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            && let Some(asked) = retry_after(response.headers())
        {
            // The caller makes the request again, after a wait of its own that knows nothing of this one.
            tokio::time::sleep(asked.min(LONGEST)).await;
        }
        match noted {
            Some((notes, step)) => note(notes.clone(), step, response).await,
            None => Ok(response),
        }
    }
}

/// What a request does to an upload in parts.
enum Step {
    /// `POST key?uploads`
    Begins,
    /// `POST key?uploadId=..`; Azure's `PUT key?comp=blocklist`, where uploads have no names
    Completes(String),
    /// `DELETE key?uploadId=..`
    Aborts(String),
}

impl Step {
    fn of(request: &HttpRequest) -> Option<Self> {
        let query = request.uri().query()?;
        let named = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
        };
        match *request.method() {
            Method::POST if named("uploads").is_some() => Some(Self::Begins),
            Method::POST => named("uploadId").map(Self::Completes),
            Method::PUT if named("comp").as_deref() == Some("blocklist") => Some(Self::Completes(String::new())),
            Method::DELETE => named("uploadId").map(Self::Aborts),
            _ => None,
        }
    }
}

/// Notes what the answer says.
async fn note(notes: Arc<Notes>, step: Step, response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (head, body) = response.into_parts();
    let body = body.bytes().await?;
    let (status, answer) = (head.status, body.clone());
    let noted = tokio::task::spawn_blocking(move || match step {
        Step::Begins if status.is_success() => notes.begun(&answer),
        // S3 may say so and go on to say that it has failed:
        // https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
        Step::Completes(id) if status.is_success() && !answer.windows(6).any(|part| part == b"<Error") => {
            notes.ended(&id)
        }
        Step::Aborts(id) if status.is_success() || status == StatusCode::NOT_FOUND => notes.ended(&id),
        _ => {}
    });
    // A runtime that ends notes nothing more, and what is noted is looked at by the next.
    let _ = noted.await;
    Ok(HttpResponse::from_parts(head, body.into()))
}

/// Signs a request of Azure's anew, if it is signed by the key of an account: tokens are no signatures.
async fn sign(request: &mut HttpRequest, signs: &AzureCredentialProvider) -> object_store::Result<()> {
    let signed = request.headers().get(AUTHORIZATION).and_then(|signed| signed.to_str().ok());
    let account = signed.and_then(|signed| signed.strip_prefix("SharedKey ")?.split_once(':'));
    let Some(account) = account.map(|(account, _)| account.to_owned()) else { return Ok(()) };
    let credential = signs.get_credential().await?;
    request.headers_mut().remove(AUTHORIZATION);
    AzureAuthorizer::new(&credential, &account).try_authorize(request)
}

fn bearer(request: &HttpRequest) -> Option<String> {
    Some(request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned())
}
