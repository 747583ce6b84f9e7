//! What object_store's HTTP client does not do by itself: renew a token that is refused, wait as long as a server asks for,
//! and name a condition where an upload is completed.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::google::Tokens;
use crate::retry::{pause, retry_after};

/// Makes clients for one store.
#[derive(Debug, Clone, Default)]
pub(super) struct Connector {
    /// Asked again when a token is refused.
    pub(super) tokens: Option<Arc<Tokens>>,
    /// Stands in the request that completes an upload in parts.
    pub(super) on_complete: Option<(HeaderName, HeaderValue)>,
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
            && completes(&request)
        {
            request.headers_mut().insert(name, value.clone());
        }
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
            tokio::time::sleep(pause(1, Some(asked))).await;
        }
        Ok(response)
    }
}

fn bearer(request: &HttpRequest) -> Option<String> {
    Some(request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned())
}

/// Is this `POST key?uploadId=..`?
fn completes(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == Method::POST && query.split('&').any(|pair| pair.starts_with("uploadId="))
}
