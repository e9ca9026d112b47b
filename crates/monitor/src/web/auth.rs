//! Who may see and do what: users with passwords, sessions that can be ended, and a link that logs
//! in once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use axum::Form;
use axum::extract::{ConnectInfo, FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::html;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{App, Failure, pages};
use crate::store::{Role, Session, Store, User};
use crate::supervisor::system_time;

const COOKIE: &str = "deepfake_monitor";
/// How long a link that logs in is good.
const LINK_LASTS: i64 = 15 * 60 * 1000;
/// Wrong passwords of one user from one address within [`MEMORY`], after which more are not looked
/// at.
const MAX_FAILURES: u32 = 5;
const MEMORY: i64 = 60_000;
/// Nobody types more; what is longer only costs time.
const LONGEST_PASSWORD: usize = 1024;
const SHORTEST_PASSWORD: usize = 10;

/// Wrong logins of late, by user and address.
#[derive(Default)]
pub struct Logins {
    failures: Mutex<HashMap<(String, Option<IpAddr>), (u32, i64)>>,
}

impl Logins {
    /// Whether this one may try now.
    fn may_try(&self, who: &(String, Option<IpAddr>), now: i64) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, (_, at)| now - *at < MEMORY);
        failures.get(who).is_none_or(|(count, _)| *count < MAX_FAILURES)
    }

    fn failed(&self, who: (String, Option<IpAddr>), now: i64) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = failures.entry(who).or_insert((0, now));
        *failure = (failure.0 + 1, now);
    }
}

/// A password as it is stored.
///
/// # Errors
/// If it is too short or too long.
pub fn hash(password: &str) -> Result<String, String> {
    if password.chars().count() < SHORTEST_PASSWORD || password.len() > LONGEST_PASSWORD {
        return Err(format!(
            "a password has at least {SHORTEST_PASSWORD} characters and at most {LONGEST_PASSWORD} bytes"
        ));
    }
    Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

fn matches(password: &str, hash: &str) -> bool {
    password.len() <= LONGEST_PASSWORD
        && PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// 256 random bits, as text.
fn random_token() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure(StatusCode::INTERNAL_SERVER_ERROR, format!("the system gives no random numbers: {error}"))
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored of a token. Tokens are random and long: they need no slow hash.
fn stored(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Compares in a time that does not depend on where they differ.
fn same(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

/// A path that logs in once, as an administrator.
///
/// # Errors
/// If it cannot be recorded.
pub fn login_link(store: &dyn Store) -> anyhow::Result<String> {
    let token = random_token().map_err(|failure| anyhow::anyhow!(failure.1))?;
    store.add_login_link(&stored(&token), system_time() + LINK_LASTS)?;
    Ok(format!("/login/once?token={token}"))
}

/// Somebody who is logged in, for the API: anybody else gets 401.
pub struct Caller(pub Session);

/// Somebody who is logged in, for pages: anybody else is asked to.
pub struct Visitor(pub Session);

impl Caller {
    /// # Errors
    /// If the role is too small, or the request may come from another page.
    pub fn may(&self, role: Role, csrf: Option<&str>) -> Result<(), Failure> {
        may(&self.0, role, csrf)
    }
}

impl Visitor {
    /// # Errors
    /// As for a [`Caller`].
    pub fn may(&self, role: Role, csrf: Option<&str>) -> Result<(), Failure> {
        may(&self.0, role, csrf)
    }
}

fn may(session: &Session, role: Role, csrf: Option<&str>) -> Result<(), Failure> {
    if session.role < role {
        return Err(Failure(StatusCode::FORBIDDEN, format!("this needs the role {}", role.as_str())));
    }
    if !session.by_token && !csrf.is_some_and(|csrf| same(csrf, &session.csrf)) {
        return Err(Failure(
            StatusCode::FORBIDDEN,
            "the token against forged requests is missing or wrong; reload the page".into(),
        ));
    }
    Ok(())
}

fn token_of(parts: &Parts) -> Option<String> {
    let cookies = parts.headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, token)| token.to_owned())
}

/// Somebody whom a trusted proxy has logged in.
fn proxied(parts: &Parts, app: &App) -> Option<Session> {
    let said = |header: &Option<String>| parts.headers.get(header.as_ref()?)?.to_str().ok();
    let user = said(&app.server.proxy_user_header)?;
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>()?;
    if !app.server.trusted_proxies.contains(&peer.ip().to_canonical()) || check_name(user).is_err() {
        return None;
    }
    let role = said(&app.server.proxy_role_header).and_then(Role::from_word).unwrap_or(Role::Viewer);
    let csrf = URL_SAFE_NO_PAD.encode(Sha256::new().chain_update(app.key).chain_update(user).finalize());
    Some(Session { user: user.into(), role, csrf, expires: i64::MAX, by_token: false })
}

/// The token of a program.
fn bearer(parts: &Parts) -> Option<String> {
    let text = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

async fn token_session(token: String, app: &App) -> Result<Option<Session>, Failure> {
    let found = app.ask(move |store| store.token(&stored(&token))).await?;
    Ok(found.map(|(name, role)| Session {
        user: format!("token {name}"),
        role,
        csrf: String::new(),
        expires: i64::MAX,
        by_token: true,
    }))
}

/// Makes a token for the API; it is shown this once.
///
/// # Errors
/// If the name will not do, or the token cannot be recorded.
pub fn new_token(store: &dyn Store, name: &str, role: Role) -> anyhow::Result<String> {
    check_name(name).map_err(anyhow::Error::msg)?;
    let token = random_token().map_err(|failure| anyhow::anyhow!(failure.1))?;
    store.add_token(name, &stored(&token), role, system_time())?;
    Ok(token)
}

async fn session_of(parts: &Parts, app: &App) -> Result<Option<Session>, Failure> {
    if let Some(session) = proxied(parts, app) {
        return Ok(Some(session));
    }
    let Some(token) = token_of(parts) else { return Ok(None) };
    app.ask(move |store| store.session(&stored(&token), system_time())).await
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let session = match bearer(parts) {
            Some(token) => token_session(token, app).await?,
            None => session_of(parts, app).await?,
        };
        session.map(Self).ok_or_else(|| Failure(StatusCode::UNAUTHORIZED, "log in first".into()))
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let session = session_of(parts, app).await.map_err(IntoResponse::into_response)?;
        session.map(Self).ok_or_else(|| Redirect::to(&app.path("/login")).into_response())
    }
}

/// The other end of the connection, where it is known.
pub struct Peer(Option<IpAddr>);

impl FromRequestParts<App> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>();
        Ok(Self(peer.map(|ConnectInfo(address)| address.ip())))
    }
}

pub async fn login_page(State(app): State<App>) -> Response {
    login_form(&app, StatusCode::OK, None)
}

fn login_form(app: &App, status: StatusCode, trouble: Option<&str>) -> Response {
    let form = html! {
        h1 { "Log in" }
        @if let Some(trouble) = trouble { p.trouble role="alert" { (trouble) } }
        form.login method="post" action=(app.path("/login")) {
            label { "Name " input name="name" autocomplete="username" required autofocus; }
            label { "Password " input name="password" type="password" autocomplete="current-password" required; }
            button { "Log in" }
        }
        p.note { "No user yet? On the machine: " code { "deepfake-monitor user add NAME --role admin" } }
    };
    (status, pages::bare(app, "Log in", form)).into_response()
}

#[derive(Deserialize)]
pub struct Credentials {
    name: String,
    password: String,
}

pub async fn login(
    State(app): State<App>,
    Peer(peer): Peer,
    Form(given): Form<Credentials>,
) -> Result<Response, Failure> {
    let now = system_time();
    let who = (given.name.clone(), peer);
    if !app.logins.may_try(&who, now) {
        let trouble = "Too many wrong passwords; try again in a minute.";
        return Ok(login_form(&app, StatusCode::TOO_MANY_REQUESTS, Some(trouble)));
    }
    // Counted before it is known to be wrong: many at the same time are many too.
    app.logins.failed(who.clone(), now);
    let user = app.ask(move |store| {
        let users = store.users()?;
        let user = users.into_iter().find(|user| user.name == given.name);
        // A name that nobody has takes as long as a wrong password.
        static NOBODY: LazyLock<String> = LazyLock::new(|| hash("a password of nobody").unwrap_or_default());
        let hash = user.as_ref().map_or_else(|| NOBODY.clone(), |user| user.hash.clone());
        Ok(user.filter(|_| matches(&given.password, &hash)))
    });
    let Some(user) = user.await? else {
        return Ok(login_form(&app, StatusCode::UNAUTHORIZED, Some("Name or password is wrong.")));
    };
    app.logins.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&who);
    enter(&app, user.name, user.role).await
}

#[derive(Deserialize)]
pub struct Link {
    token: String,
}

/// Shows a button: programs that look at links beforehand do not use it up.
pub async fn once_page(State(app): State<App>, Query(link): Query<Link>) -> impl IntoResponse {
    let form = html! {
        h1 { "Log in" }
        form.login method="post" action=(app.path("/login/once")) {
            input type="hidden" name="token" value=(link.token);
            button autofocus { "Log in with this link" }
        }
        p.note { "The link works once, and for a quarter of an hour." }
    };
    pages::bare(&app, "Log in", form)
}

pub async fn once(State(app): State<App>, Form(link): Form<Link>) -> Result<Response, Failure> {
    let good = app.ask(move |store| store.take_login_link(&stored(&link.token), system_time())).await?;
    if !good {
        return Ok(login_form(&app, StatusCode::UNAUTHORIZED, Some("The link was used already, or is too old.")));
    }
    enter(&app, "login link".into(), Role::Admin).await
}

async fn enter(app: &App, user: String, role: Role) -> Result<Response, Failure> {
    let (token, csrf) = (random_token()?, random_token()?);
    let lasts = app.server.session.milliseconds();
    let session = Session { user, role, csrf, expires: system_time() + lasts, by_token: false };
    let key = stored(&token);
    app.ask(move |store| {
        store.audit(system_time(), &session.user, "logged in")?;
        store.add_session(&key, &session)
    })
    .await?;
    let secure = if app.server.secure_cookies { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE}={token}; HttpOnly; SameSite=Strict; Path={}; Max-Age={}{secure}",
        app.path("/"),
        lasts / 1000
    );
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&app.path("/"))).into_response())
}

#[derive(Deserialize)]
pub struct Forged {
    csrf: String,
}

pub async fn logout(
    State(app): State<App>,
    visitor: Visitor,
    parts: Parts,
    Form(form): Form<Forged>,
) -> Result<Response, Failure> {
    visitor.may(Role::Viewer, Some(&form.csrf))?;
    if let Some(token) = token_of(&parts) {
        app.ask(move |store| store.end_session(&stored(&token))).await?;
    }
    let cookie = format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path={}; Max-Age=0", app.path("/"));
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&app.path("/login"))).into_response())
}

/// A user that can be stored.
///
/// # Errors
/// If name or password will not do.
pub fn user(name: &str, password: &str, role: Role) -> Result<User, String> {
    check_name(name)?;
    Ok(User { name: name.into(), hash: hash(password)?, role })
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |char: char| char.is_alphanumeric() || "-_.@ ".contains(char);
    if name.is_empty() || name.chars().count() > 64 || !name.chars().all(plain) {
        return Err("a name has 1 to 64 letters, digits, spaces, and - _ . @".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_hash_only() {
        let hash = hash("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$") && !hash.contains("horse"));
        assert!(matches("correct horse", &hash) && !matches("correct house", &hash) && !matches("x", "nonsense"));
        assert!(super::hash("short").is_err());
    }

    #[test]
    fn guessing_is_slowed_for_the_one_who_guesses_only() {
        let logins = Logins::default();
        let who = |address: &str| ("anna".to_owned(), Some(address.parse().unwrap()));
        for at in 0..5 {
            assert!(logins.may_try(&who("10.0.0.1"), at));
            logins.failed(who("10.0.0.1"), at);
        }
        assert!(!logins.may_try(&who("10.0.0.1"), 10));
        assert!(logins.may_try(&who("10.0.0.2"), 10));
        assert!(logins.may_try(&who("10.0.0.1"), 70_000));
    }

    #[test]
    fn comparing_takes_all_of_both() {
        assert!(same("abc", "abc") && !same("abc", "abd") && !same("abc", "ab") && !same("", "a"));
    }
}
