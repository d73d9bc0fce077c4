//! `productpage`: the page, the login, and the API.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Details, Reviews, page};
use crate::sample::client::{BaseUrl, Client};
use crate::sample::form;
use crate::sample::forward::forwarded;
use crate::sample::identity::Identity;
use crate::sample::server;

/// Flags of the role.
#[derive(Debug, Args)]
pub(in crate::sample) struct ProductpageArgs {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 9080)]
    pub(in crate::sample) port: u16,
    /// Where details is
    #[arg(
        long,
        env = "DETAILS_URL",
        value_name = "URL",
        default_value = "http://details:9080"
    )]
    pub(super) details_url: BaseUrl,
    /// Where reviews is
    #[arg(
        long,
        env = "REVIEWS_URL",
        value_name = "URL",
        default_value = "http://reviews:9080"
    )]
    pub(super) reviews_url: BaseUrl,
    /// Where ratings is
    #[arg(
        long,
        env = "RATINGS_URL",
        value_name = "URL",
        default_value = "http://ratings:9080"
    )]
    pub(super) ratings_url: BaseUrl,
}

/// What the page shows of a backend: its answer, or the status to show instead.
pub(super) type Part<T> = Result<T, StatusCode>;

struct Productpage {
    identity: Identity,
    client: Client,
    details: BaseUrl,
    reviews: BaseUrl,
    ratings: BaseUrl,
}

/// The only book of the shop.
const BOOK: u64 = 0;
/// How long one try may take, and how many tries reviews gets. Istio's fault injection exercise finds them.
const TIMEOUT: Duration = Duration::from_secs(3);
const REVIEW_TRIES: u8 = 2;
/// The session is the user's name and nothing else: whoever says to be jason is jason.
const SESSION: &str = "session";
const END_USER: &str = "end-user";

// === impl ProductpageArgs ===

impl ProductpageArgs {
    pub(in crate::sample) fn router(self, identity: &Identity) -> Router {
        let Self {
            port: _,
            details_url: details,
            reviews_url: reviews,
            ratings_url: ratings,
        } = self;
        let shop = Productpage {
            identity: identity.clone(),
            client: Client::new(),
            details,
            reviews,
            ratings,
        };
        let css = ([(header::CONTENT_TYPE, "text/css")], include_str!("style.css"));
        let svg = (
            [(header::CONTENT_TYPE, "image/svg+xml")],
            include_str!("book.svg"),
        );
        let routes = Router::new()
            .route("/", get(async || Html(page::index())))
            .route("/index.html", get(async || Html(page::index())))
            .route("/productpage", get(productpage))
            .route("/login", post(login))
            .route("/logout", get(logout))
            .route("/health", get(async || "Product page is healthy"))
            .route("/static/style.css", get(async move || css))
            .route("/static/book.svg", get(async move || svg))
            .route("/api/v1/products", get(products))
            .route("/api/v1/products/{id}", get(product))
            .route("/api/v1/products/{id}/reviews", get(reviews_of))
            .route("/api/v1/products/{id}/ratings", get(ratings_of))
            .with_state(Arc::new(shop));
        server::finish(routes, identity)
    }
}

async fn productpage(State(shop): State<Arc<Productpage>>, headers: HeaderMap) -> Html<String> {
    let user = user(&headers);
    let sent = Productpage::headers(&headers, user.as_deref());
    let (details, reviews) = tokio::join!(shop.details(BOOK, &sent), shop.reviews(BOOK, &sent));
    let details = details.and_then(read::<Details>);
    let reviews = reviews.and_then(read::<Reviews>);
    Html(page::product(&shop.identity, user.as_deref(), &details, &reviews))
}

async fn login(body: String) -> Response {
    let name = form::pairs(&body)
        .into_iter()
        .find_map(|(field, value)| (field == "username").then_some(value));
    let user = form::encode(name.unwrap_or_default().trim());
    to_page(format!("{SESSION}={user}; Path=/; HttpOnly; SameSite=Lax"))
}

async fn logout() -> Response {
    to_page(format!("{SESSION}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"))
}

/// Back to the page with another session.
fn to_page(cookie: String) -> Response {
    let headers = [
        (header::LOCATION, "/productpage".to_owned()),
        (header::SET_COOKIE, cookie),
    ];
    (StatusCode::FOUND, headers).into_response()
}

async fn products() -> Json<Value> {
    Json(json!([{ "id": BOOK, "title": page::TITLE, "descriptionHtml": page::DESCRIPTION }]))
}

async fn product(State(shop): State<Arc<Productpage>>, Path(id): Path<u64>, headers: HeaderMap) -> Response {
    let sent = Productpage::headers(&headers, user(&headers).as_deref());
    answer(shop.details(id, &sent).await, "details")
}

async fn reviews_of(
    State(shop): State<Arc<Productpage>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
    let sent = Productpage::headers(&headers, user(&headers).as_deref());
    answer(shop.reviews(id, &sent).await, "reviews")
}

async fn ratings_of(
    State(shop): State<Arc<Productpage>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
    let sent = Productpage::headers(&headers, user(&headers).as_deref());
    answer(
        shop.fetch(&shop.ratings, &format!("/ratings/{id}"), &sent).await,
        "ratings",
    )
}

fn answer(part: Part<Value>, what: &str) -> Response {
    match part {
        Ok(value) => Json(value).into_response(),
        Err(status) => {
            let error = format!("Sorry, product {what} are currently unavailable for this book.");
            (status, Json(json!({ "error": error }))).into_response()
        }
    }
}

/// The user of the session.
fn user(headers: &HeaderMap) -> Option<String> {
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == SESSION).then(|| form::decode(value)))
        .filter(|user| !user.is_empty())
}

fn read<T: DeserializeOwned>(value: Value) -> Part<T> {
    serde_json::from_value(value).map_err(|_| StatusCode::BAD_GATEWAY)
}

// === impl Productpage ===

impl Productpage {
    /// The headers for backends: those of the request, and who is logged in.
    fn headers(incoming: &HeaderMap, user: Option<&str>) -> HeaderMap {
        let mut headers = forwarded(incoming);
        if let Some(user) = user.and_then(|user| HeaderValue::from_str(user).ok()) {
            headers.insert(END_USER, user);
        }
        headers
    }

    async fn details(&self, id: u64, headers: &HeaderMap) -> Part<Value> {
        self.fetch(&self.details, &format!("/details/{id}"), headers)
            .await
    }

    async fn reviews(&self, id: u64, headers: &HeaderMap) -> Part<Value> {
        let path = format!("/reviews/{id}");
        let mut part = Err(StatusCode::INTERNAL_SERVER_ERROR);
        for _ in 0..REVIEW_TRIES {
            part = self.fetch(&self.reviews, &path, headers).await;
            if part.is_ok() {
                break;
            }
        }
        part
    }

    /// The JSON that a backend answers with status 200; else its status, or 500 when it gave none.
    async fn fetch(&self, base: &BaseUrl, path: &str, headers: &HeaderMap) -> Part<Value> {
        match self.client.get(base, path, headers.clone(), TIMEOUT).await {
            Ok(reply) if reply.status == StatusCode::OK => {
                serde_json::from_slice(&reply.body).map_err(|_| StatusCode::BAD_GATEWAY)
            }
            Ok(reply) => Err(reply.status),
            Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}
