//! The web page, the API and the metrics. Everything comes out of this binary; nothing is loaded
//! from elsewhere.

mod alarms;
mod api;
pub mod auth;
mod chart;
mod events;
mod metrics;
mod pages;
mod times;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::config::Server;
use crate::store::Store;
use crate::supervisor::Handle;

/// What handlers share.
#[derive(Clone)]
pub struct App {
    pub supervisor: Handle,
    pub store: Arc<dyn Store>,
    pub server: Arc<Server>,
    pub logins: Arc<auth::Logins>,
    /// Makes tokens against forged requests for those whom a proxy logs in.
    pub key: [u8; 32],
}

impl App {
    pub fn new(supervisor: Handle, store: Arc<dyn Store>, server: Server) -> Self {
        let base = server.base_path.trim_end_matches('/').to_owned();
        let server = Arc::new(Server { base_path: base, ..server });
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system gives random numbers");
        Self { supervisor, store, server, logins: Arc::default(), key }
    }

    /// A path of this page, as the browser must ask for it.
    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.server.base_path)
    }

    /// Asks the store on a thread that may wait for the disk.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> crate::store::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = self.store.clone();
        let answer = tokio::task::spawn_blocking(move || ask(&*store)).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::error!(%error, "the store cannot be asked");
                Err(Failure(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be read now".into()))
            }
            Err(_) => Err(Failure(StatusCode::INTERNAL_SERVER_ERROR, "a task ended early".into())),
        }
    }
}

/// Why a request is not answered as asked.
#[derive(Debug)]
pub struct Failure(pub StatusCode, pub String);

impl Failure {
    fn not_found(what: &str) -> Self {
        Self(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.1 });
        (self.0, axum::Json(body)).into_response()
    }
}

/// Everything, at the root and below the configured path: some proxies cut the path off and some do
/// not.
pub fn router(app: App) -> Router {
    let (api, description) = api::router().split_for_parts();
    let description = Arc::new(description);
    let described = {
        let description = description.clone();
        get(move || async move { axum::Json((*description).clone()) })
    };
    let routes = Router::new()
        .route("/", get(pages::wall))
        .route("/wall", get(pages::tiles))
        .route("/channels/{id}", get(pages::channel))
        .route("/channels/{id}/pause", post(pages::pause))
        .route("/channels/{id}/alarms", get(alarms::page))
        .route("/incidents", get(pages::incidents))
        .route("/incidents/{id}", get(pages::incident).post(pages::review))
        .route("/coverage", get(pages::coverage))
        .route("/health", get(pages::health))
        .route("/login", get(auth::login_page).post(auth::login))
        .route("/login/once", get(auth::once_page).post(auth::once))
        .route("/logout", post(auth::logout))
        .route("/live", get(events::live))
        .route("/assets/style.css", get(|| asset("text/css; charset=utf-8", include_str!("../../assets/style.css"))))
        .route("/assets/icon.svg", get(|| asset("image/svg+xml", include_str!("../../assets/icon.svg"))))
        .route(
            "/assets/monitor.js",
            get(|| asset("text/javascript; charset=utf-8", include_str!("../../assets/monitor.js"))),
        )
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(metrics::ready))
        .route("/api/v1/openapi.json", described)
        .merge(api)
        .fallback(|| async { Failure::not_found("page") })
        .layer(from_fn(secure))
        .with_state(app.clone());
    match app.server.base_path.as_str() {
        "" => routes,
        base => {
            let root = Router::new()
                .route(&format!("{base}/"), get(pages::wall))
                .layer(from_fn(secure))
                .with_state(app.clone());
            root.nest(base, routes.clone()).merge(routes)
        }
    }
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")], text)
}

/// What a browser may do with the page: nothing that does not come from here.
async fn secure(request: Request, next: Next) -> Response {
    const POLICY: &str = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                          form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
