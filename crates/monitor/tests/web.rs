//! The page and the API, asked without a network.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use deepfake_monitor::channel::clip::{Clip, ClipState, File};
use deepfake_monitor::channel::incident::{Alert, Incident, Incidents, Rules};
use deepfake_monitor::store::sqlite::Sqlite;
use deepfake_monitor::store::{Record, Role, Store};
use deepfake_monitor::supervisor::{Places, Supervisor};
use deepfake_monitor::{config, web};
use tower::ServiceExt;

const HOSTILE: &str = "<script>alert(1)</script>";

struct Site {
    router: Router,
    store: Arc<dyn Store>,
    base: &'static str,
    // Both are needed as long as the site is.
    _supervisor: Supervisor,
    folder: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: String,
}

impl Site {
    fn new(base: &'static str) -> Self {
        Self::with(base, "")
    }

    /// With more lines of `[server]`.
    fn with(base: &'static str, server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("monitor.toml");
        let text = format!(
            "[server]\nbase-path = \"{base}\"\ntime-zone = \"Europe/Berlin\"\n{server}[channel.studio]\n\
             source = \"rtsp://admin:hunter2@cam.example/live?key=t0psecret\"\ntitle = \"{HOSTILE}\"\nenabled = false\n"
        );
        std::fs::write(&file, text).unwrap();
        let config = config::load(&file).unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&config.database()).unwrap());
        let server = config.server.clone();
        let places = Places { config_file: file, program: "/nonexistent".into() };
        let (supervisor, handle) = Supervisor::new(config, places, store.clone()).unwrap();
        let router = web::router(web::App::new(handle, store.clone(), server));
        Self { router, store, base, _supervisor: supervisor, folder }
    }

    async fn ask(&self, method: &str, path: &str, cookie: &str, more: &[(&str, &str)], body: &str) -> Answer {
        self.ask_from("192.0.2.1", method, path, cookie, more, body).await
    }

    async fn ask_from(
        &self,
        peer: &str,
        method: &str,
        path: &str,
        cookie: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let peer = std::net::SocketAddr::new(peer.parse().unwrap(), 4000);
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        request = request.extension(axum::extract::ConnectInfo(peer));
        if !cookie.is_empty() {
            request = request.header(header::COOKIE, cookie);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let streams = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let body = if streams {
            String::new()
        } else {
            String::from_utf8_lossy(&to_bytes(body, 1 << 20).await.unwrap()).into_owned()
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        self.ask("GET", path, cookie, &[], "").await
    }

    async fn form(&self, path: &str, cookie: &str, body: &str) -> Answer {
        self.ask("POST", path, cookie, &[("content-type", "application/x-www-form-urlencoded")], body).await
    }

    /// The cookie of a user with this role, and what must be sent against forged requests.
    async fn login(&self, role: Role) -> (String, String) {
        let name = role.as_str();
        self.store.set_user(&web::auth::user(name, "correct horse", role).unwrap(), 0).unwrap();
        let answer = self.form("/login", "", &format!("name={name}&password=correct+horse")).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        let cookie = cookie(&answer);
        let me: serde_json::Value = serde_json::from_str(&self.get("/api/v1/me", &cookie).await.body).unwrap();
        assert_eq!(me["role"], name);
        (cookie, me["csrf"].as_str().unwrap().to_owned())
    }

    fn incident(&self) -> Incident {
        let rules = Rules { keep_for: 1000, down_after: 1000 };
        let alert = Alert {
            action: "raised".into(),
            kind: "sustained".into(),
            track_id: 1,
            score: Some(0.9),
            model: Some(HOSTILE.into()),
        };
        let (incident, change) =
            Incidents::new("studio", rules, Vec::new()).alert(1_700_000_000_000, 1, &alert).remove(0);
        self.store
            .record(&[Record::Incident { incident: incident.clone(), change, at: incident.opened, sinks: vec![] }])
            .unwrap();
        incident
    }
}

fn cookie(answer: &Answer) -> String {
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

/// Every path and method that the description knows, with `id` filled in.
async fn described(site: &Site, id: &str) -> Vec<(String, String)> {
    let description: serde_json::Value =
        serde_json::from_str(&site.get("/api/v1/openapi.json", "").await.body).unwrap();
    let paths = description["paths"].as_object().unwrap().clone();
    let operations = paths.into_iter().flat_map(|(path, operations)| {
        let methods: Vec<_> = operations.as_object().unwrap().keys().cloned().collect();
        let path = path.replace("{id}", id);
        methods.into_iter().map(move |method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

#[tokio::test]
async fn every_route_of_the_api_is_described_and_needs_a_login() {
    let site = Site::new("");
    let operations = described(&site, "studio").await;
    assert!(operations.len() >= 13, "{operations:?}");
    for (method, path) in operations {
        let answer = site.ask(&method, &path, "", &[("content-type", "application/json")], "{}").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}

#[tokio::test]
async fn whoever_may_only_look_changes_nothing_and_nobody_does_by_a_forged_request() {
    let site = Site::new("");
    let id = site.incident().id.to_string();
    let (viewer, viewers_csrf) = site.login(Role::Viewer).await;
    let (admin, csrf) = site.login(Role::Admin).await;
    let body = |path: &str| if path.ends_with("pause") { r#"{"paused":true}"# } else { r#"{"action":"acknowledge"}"# };
    let mut changes = 0;
    for (method, path) in described(&site, &id).await.into_iter().filter(|(method, _)| method != "GET") {
        changes += 1;
        let kind = ("content-type", "application/json");
        let path = if path.ends_with("pause") { "/api/v1/channels/studio/pause".into() } else { path };
        let forbidden = [
            (&viewer, vec![kind, ("x-csrf-token", viewers_csrf.as_str())]),
            (&admin, vec![kind]),
            (&admin, vec![kind, ("x-csrf-token", viewers_csrf.as_str())]),
        ];
        for (cookie, headers) in forbidden {
            let answer = site.ask(&method, &path, cookie, &headers, body(&path)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}: {}", answer.body);
        }
    }
    assert_eq!(changes, 3);
    assert_eq!(site.store.reviews(&id).unwrap(), []);
    let headers = [("content-type", "application/json"), ("x-csrf-token", csrf.as_str())];
    let path = format!("/api/v1/incidents/{id}/reviews");
    let answer = site.ask("POST", &path, &admin, &headers, r#"{"action":"verdict","value":"confirmed"}"#).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(site.store.reviews(&id).unwrap()[0].value.as_deref(), Some("confirmed"));
    let answer = site.ask("POST", &path, &admin, &headers, r#"{"action":"verdict","value":"maybe"}"#).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_program_uses_the_api_with_its_token_and_no_page() {
    let site = Site::new("");
    let id = site.incident().id.to_string();
    let token = web::auth::new_token(&*site.store, "night shift", Role::Reviewer).unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let path = format!("/api/v1/incidents/{id}/reviews");
    let answer = site.ask("POST", &path, "", &headers, r#"{"action":"acknowledge"}"#).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "no other page can send it: {}", answer.body);
    assert_eq!(site.store.reviews(&id).unwrap()[0].user, "token night shift");
    let answer = site.ask("POST", "/api/v1/reload", "", &headers, "{}").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "that needs an administrator");
    assert_eq!(site.ask("GET", "/", "", &headers, "").await.status, StatusCode::SEE_OTHER);
    let wrong = site.ask("GET", "/api/v1/me", "", &[("authorization", "Bearer x")], "").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(site.store.remove_token("night shift").unwrap());
    assert_eq!(site.ask("GET", "/api/v1/me", "", &headers, "").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn only_a_trusted_proxy_says_who_somebody_is() {
    let site = Site::with(
        "",
        "proxy-user-header = \"x-remote-user\"\nproxy-role-header = \"x-remote-role\"\n\
         trusted-proxies = [\"10.0.0.1\"]\n",
    );
    let id = site.incident().id.to_string();
    let anna = [("x-remote-user", "anna"), ("x-remote-role", "reviewer")];
    assert_eq!(site.ask_from("10.0.0.2", "GET", "/", "", &anna, "").await.status, StatusCode::SEE_OTHER);
    assert_eq!(site.ask_from("10.0.0.1", "GET", "/", "", &[], "").await.status, StatusCode::SEE_OTHER);
    // The same address, as a socket of IPv6 shows it.
    let me = site.ask_from("::ffff:10.0.0.1", "GET", "/api/v1/me", "", &anna, "").await;
    let me: serde_json::Value = serde_json::from_str(&me.body).unwrap();
    assert_eq!((&me["name"], &me["role"]), (&"anna".into(), &"reviewer".into()));
    let csrf = me["csrf"].as_str().unwrap();
    let path = format!("/incidents/{id}");
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let form = |csrf: &str| format!("csrf={csrf}&decision=acknowledge&note=&to=");
    let with = [anna[0], anna[1], kind];
    let forged = site.ask_from("10.0.0.1", "POST", &path, "", &with, &form("forged")).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    let bobs = [("x-remote-user", "bob"), anna[1], kind];
    let other = site.ask_from("10.0.0.1", "POST", &path, "", &bobs, &form(csrf)).await;
    assert_eq!(other.status, StatusCode::FORBIDDEN, "it is anna's");
    assert_eq!(site.ask_from("10.0.0.1", "POST", &path, "", &with, &form(csrf)).await.status, StatusCode::SEE_OTHER);
    assert_eq!(site.store.reviews(&id).unwrap()[0].user, "anna");
    let god = [("x-remote-user", "eve"), ("x-remote-role", "god")];
    let answer = site.ask_from("10.0.0.1", "GET", "/api/v1/me", "", &god, "").await;
    assert!(answer.body.contains("\"viewer\""), "{}", answer.body);
}

#[tokio::test]
async fn pages_ask_for_a_login_and_guessing_is_slowed() {
    let site = Site::new("");
    for path in ["/", "/wall", "/incidents", "/coverage", "/health", "/channels/studio", "/live"] {
        let answer = site.get(path, "").await;
        assert_eq!(answer.headers.get(header::LOCATION).map(|place| place.to_str().unwrap()), Some("/login"), "{path}");
    }
    site.store.set_user(&web::auth::user("anna", "correct horse", Role::Viewer).unwrap(), 0).unwrap();
    for _ in 0..5 {
        assert_eq!(site.form("/login", "", "name=anna&password=wrong").await.status, StatusCode::UNAUTHORIZED);
    }
    let answer = site.form("/login", "", "name=anna&password=correct+horse").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(site.get("/", "deepfake_monitor=forged").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_login_link_is_used_by_its_button_and_once() {
    let site = Site::new("");
    let link = web::auth::login_link(&*site.store).unwrap();
    let token = link.split('=').nth(1).unwrap();
    assert!(site.get(&link, "").await.body.contains(token), "looking at it uses nothing up");
    let answer = site.form("/login/once", "", &format!("token={token}")).await;
    assert_eq!(site.get("/health", &cookie(&answer)).await.status, StatusCode::OK);
    assert_eq!(site.form("/login/once", "", &format!("token={token}")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn logging_out_ends_the_session_everywhere() {
    let site = Site::new("");
    let (cookie, csrf) = site.login(Role::Viewer).await;
    assert_eq!(site.form("/logout", &cookie, "csrf=forged").await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.form("/logout", &cookie, &format!("csrf={csrf}")).await.status, StatusCode::SEE_OTHER);
    assert_eq!(site.get("/api/v1/me", &cookie).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn no_secret_is_shown_and_nothing_hostile_gets_through() {
    let site = Site::new("");
    let id = site.incident().id.to_string();
    let (cookie, _) = site.login(Role::Admin).await;
    let mut paths: Vec<String> = [
        "/",
        "/wall",
        "/incidents",
        "/coverage",
        "/health",
        "/channels/studio",
        "/channels/studio/alarms",
        "/metrics",
        "/readyz",
    ]
    .map(str::to_owned)
    .into();
    paths.push(format!("/incidents/{id}"));
    paths.extend(
        described(&site, "studio").await.into_iter().filter(|(method, _)| method == "GET").map(|(_, path)| path),
    );
    let mut shown = 0;
    for path in paths {
        let answer = site.get(&path, &cookie).await;
        for secret in ["hunter2", "t0psecret", "admin:"] {
            assert!(!answer.body.contains(secret), "{path}: {}", answer.body);
        }
        let is_page = answer
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().unwrap().starts_with("text/html"));
        assert!(!is_page || !answer.body.contains(HOSTILE), "{path}");
        shown += usize::from(answer.body.contains("&lt;script&gt;"));
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    assert!(shown >= 4, "the name is shown, escaped");
}

#[tokio::test]
async fn below_a_path_everything_leads_back_below_it() {
    let site = Site::new("/a/b");
    let id = site.incident().id.to_string();
    let (cookie, _) = site.login(Role::Admin).await;
    // As a proxy asks that leaves the path on, and one that cuts it off.
    for prefix in [site.base, ""] {
        for path in
            ["/", "/incidents", "/coverage", "/health", "/channels/studio", &format!("/incidents/{id}"), "/login"]
        {
            let answer = site.get(&format!("{prefix}{path}"), &cookie).await;
            assert_eq!(answer.status, StatusCode::OK, "{prefix}{path}");
            for attribute in ["href=\"", "src=\"", "action=\"", "data-live=\"", "data-pulse=\""] {
                for link in answer.body.split(attribute).skip(1).filter(|link| !link.starts_with('#')) {
                    assert!(link.starts_with("/a/b/"), "{prefix}{path}: {attribute}{}", &link[..link.len().min(40)]);
                }
            }
        }
    }
    assert_eq!(site.get("/a/b", &cookie).await.status, StatusCode::OK);
    let answer = site.get("/a/b/", "").await;
    assert_eq!(answer.headers[header::LOCATION], "/a/b/login");
}

#[tokio::test]
async fn evidence_is_played_in_ranges_and_no_other_file_is_given() {
    let site = Site::new("/a/b");
    let incident = site.incident();
    let clip = Clip {
        incident: incident.id,
        part: 1,
        channel: "studio".into(),
        state: ClipState::Ready,
        began: incident.opened - 4000,
        ended: Some(incident.opened + 6000),
        pre_roll_wanted: 15_000,
        pre_roll: 4000,
        container: Some("mp4".into()),
        codec: Some("video/x-h264".into()),
        missing: vec!["11.0 s of the pre-roll".into()],
        files: vec![File { name: "1.mp4".into(), bytes: 8, sha256: "00".into() }],
    };
    site.store.record(&[Record::Clip(clip)]).unwrap();
    let folder = site.folder.path().join("data/evidence").join(incident.id.to_string());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("1.mp4"), "pictures").unwrap();
    std::fs::write(folder.join(".secret"), "hidden").unwrap();

    let (cookie, _) = site.login(Role::Viewer).await;
    let page = site.get(&format!("/a/b/incidents/{}", incident.id), &cookie).await.body;
    let video = format!("/a/b/api/v1/incidents/{}/evidence/1.mp4", incident.id);
    assert!(page.contains(&format!("src=\"{video}\"")) && page.contains("11.0 s of the pre-roll"), "{page}");
    let part = site.ask("GET", &video, &cookie, &[("range", "bytes=4-6")], "").await;
    assert_eq!((part.status, part.body.as_str()), (StatusCode::PARTIAL_CONTENT, "ure"));
    assert_eq!(part.headers[header::CONTENT_TYPE], "video/mp4");
    let answer = site.get(&video, "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    for file in [".secret", "..%2F..%2Fmonitor.db", "%2e%2e", "2.mp4", "..%5Cmonitor.db"] {
        let path = format!("/a/b/api/v1/incidents/{}/evidence/{file}", incident.id);
        assert_eq!(site.get(&path, &cookie).await.status, StatusCode::NOT_FOUND, "{file}");
    }
    let elsewhere = site.get("/a/b/api/v1/incidents/..%2F..%2Fdata/evidence/monitor.db", &cookie).await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_incident_is_reviewed_on_its_page() {
    let site = Site::new("");
    let id = site.incident().id.to_string();
    let (cookie, csrf) = site.login(Role::Reviewer).await;
    let page = site.get(&format!("/incidents/{id}"), &cookie).await.body;
    assert!(page.contains("Nobody has looked at it yet") && page.contains("2023-11-14 23:13:20 CET"), "{page}");
    let form = format!("csrf={csrf}&decision=verdict:false-alarm&note=a+mask+%3Cb%3E&to=");
    assert_eq!(site.form(&format!("/incidents/{id}"), &cookie, &form).await.status, StatusCode::SEE_OTHER);
    let page = site.get(&format!("/incidents/{id}"), &cookie).await.body;
    assert!(page.contains("false-alarm") && page.contains("a mask &lt;b&gt;"), "{page}");
}
