//! What each command does.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use deepfake_monitor::channel::incident::{Alert, Incidents, Rules};
use deepfake_monitor::config::{self, Config};
use deepfake_monitor::protocol::{self, Feed, FromWorker, ToWorker};
use deepfake_monitor::store::sqlite::{Sqlite, timestamp};
use deepfake_monitor::store::{self, Role, Store, Stored, retention};
use deepfake_monitor::supervisor::{Command, Places, Supervisor, system_time};
use deepfake_monitor::{evidence, sink, web};

type Done = anyhow::Result<ExitCode>;

fn load(path: &Path) -> anyhow::Result<Config> {
    config::load(path).map_err(|errors| anyhow::anyhow!("the configuration is wrong\n{errors}"))
}

fn open(config: &Config) -> anyhow::Result<Sqlite> {
    Ok(Sqlite::open(&config.database())?)
}

pub fn run(path: &Path, login_link: bool, log_json: bool) -> Done {
    start_log(log_json)?;
    let config = load(path)?;
    let store: Arc<dyn Store> = Arc::new(open(&config)?);
    let listen = config.server.listen;
    let logged_in_elsewhere = config.server.proxy_user_header.is_some();
    if !listen.ip().is_loopback() && !logged_in_elsewhere && store.users()?.is_empty() {
        bail!(
            "server.listen = \"{listen}\" can be reached by others, and no user is set up; \
             run `deepfake-monitor user add NAME --role admin`, or listen on 127.0.0.1"
        );
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async move {
        let listener =
            tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let server = config.server.clone();
        let places = Places { config_file: path.to_owned(), program: std::env::current_exe()? };
        let (supervisor, handle) = Supervisor::new(config, places, store.clone())?;
        let app = web::App::new(handle.clone(), store.clone(), server.clone());
        let address = format!("http://{}{}", listener.local_addr()?, server.base_path.trim_end_matches('/'));
        tracing::info!(address, "the page is served");
        if login_link {
            println!("The page: {address}/");
            println!("Log in once: {address}{}", web::auth::login_link(&*store)?);
        }
        let router = web::router(app).into_make_service_with_connect_info::<std::net::SocketAddr>();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let sending = tokio::spawn(sink::run(store, handle.config.clone(), handle.newest_event.clone()));
        let (stop, stopped) = oneshot::channel();
        let watching = tokio::spawn(supervisor.run(stopped));
        obey_signals(&handle.commands).await?;
        stop.send(()).ok();
        watching.await?;
        sending.abort();
        // Pages that stay connected are cut off: browsers connect anew when the program is back.
        serving.abort();
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Logs what `DEEPFAKE_MONITOR_LOG` asks for, such as `info,deepfake_monitor::sink=debug`.
fn start_log(json: bool) -> anyhow::Result<()> {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let wanted = std::env::var("DEEPFAKE_MONITOR_LOG").unwrap_or_else(|_| "info".into());
    let filter: tracing_subscriber::filter::Targets = wanted.parse().context("DEEPFAKE_MONITOR_LOG")?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = tracing_subscriber::registry().with(filter);
    if json {
        log.with(lines.json()).init();
    } else {
        log.with(lines.with_ansi(std::io::stderr().is_terminal())).init();
    }
    Ok(())
}

/// Returns when the program is to end.
async fn obey_signals(commands: &tokio::sync::mpsc::Sender<Command>) -> std::io::Result<()> {
    let (mut hang_up, mut terminate) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => {
                // What is wrong is logged by whoever loads it.
                commands.send(Command::Reload { done: oneshot::channel().0 }).await.ok();
            }
        }
    }
}

pub fn schema() -> Done {
    println!("{}", serde_json::to_string_pretty(&config::schema())?);
    Ok(ExitCode::SUCCESS)
}

/// What `check` found out about a source.
enum Found {
    Picture(String),
    Trouble(String),
}

pub fn check(path: &Path, sources: bool, wait: u64) -> Done {
    let config = load(path)?;
    println!("{}: {} channels, {} sinks", path.display(), config.channels.len(), config.sinks.len());
    let mut wrong = false;
    for (name, table) in &config.sinks {
        match sink::make(table) {
            Ok(_) => println!("  sink {name}: its key is there; `sink test {name}` sends an event"),
            Err(error) => {
                wrong = true;
                println!("  sink {name}: {error}");
            }
        }
    }
    if sources {
        for (id, found) in try_sources(&config, Duration::from_secs(wait))? {
            let source = &config.channels[&id].source;
            match found {
                Found::Picture(what) => println!("  {id}: {what}"),
                Found::Trouble(why) => {
                    wrong = true;
                    println!("  {id}: {source}: {why}");
                }
            }
        }
    }
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Opens each source in a worker as `run` does, until its first picture.
fn try_sources(config: &Config, wait: Duration) -> anyhow::Result<BTreeMap<String, Found>> {
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .arg("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start a worker")?;
    let (Some(mut to), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else {
        unreachable!("both were asked for as pipes");
    };
    let (heard, hear) = channel();
    std::thread::spawn(move || {
        while let Ok(Some(message)) = protocol::read::<FromWorker>(&mut from) {
            if heard.send(message).is_err() {
                return;
            }
        }
    });
    let mut found = BTreeMap::new();
    let enabled = config.channels.iter().filter(|(_, channel)| channel.enabled);
    let mut waiting: BTreeMap<&String, Feed> = enabled.map(|(id, channel)| (id, Feed::from(channel))).collect();
    for (id, feed) in &waiting {
        protocol::write(&mut to, &ToWorker::Open { channel: (*id).clone(), run: 1, feed: feed.clone() })?;
    }
    let started = Instant::now();
    while !waiting.is_empty() {
        let left = wait.saturating_sub(started.elapsed());
        let (id, what) = match hear.recv_timeout(left) {
            Ok(FromWorker::Look { channel, look, .. }) if look.signs.buffers > 0 => {
                let size = look.size.map_or(String::new(), |(width, height)| format!(", {width}×{height}"));
                let after = started.elapsed().as_secs_f64();
                (channel, Found::Picture(format!("a picture after {after:.1} s{size}")))
            }
            Ok(FromWorker::Failed { channel, reason, .. }) => (channel, Found::Trouble(reason)),
            Ok(FromWorker::Ended { channel, .. }) => {
                (channel, Found::Trouble("it is over before a picture came".into()))
            }
            Ok(_) => continue,
            Err(RecvTimeoutError::Timeout) => {
                let why = format!("no picture within {} s", wait.as_secs());
                found.extend(waiting.keys().map(|id| ((*id).clone(), Found::Trouble(why.clone()))));
                break;
            }
            Err(RecvTimeoutError::Disconnected) => {
                found.extend(waiting.keys().map(|id| ((*id).clone(), Found::Trouble("the worker ended".into()))));
                break;
            }
        };
        waiting.remove(&id);
        found.insert(id, what);
    }
    child.kill().ok();
    child.wait().ok();
    Ok(found)
}

pub fn health(path: &Path) -> Done {
    let config = load(path)?;
    let mut listen = config.server.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut answer = agent
        .get(format!("http://{listen}/readyz"))
        .call()
        .with_context(|| format!("nobody answers on {listen}; is `deepfake-monitor run` running?"))?;
    print!("{}", answer.body_mut().read_to_string()?);
    Ok(if answer.status().is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn add_user(path: &Path, name: &str, role: Role) -> Done {
    let config = load(path)?;
    if std::io::stdin().is_terminal() {
        eprintln!("Password (it is shown as you type; pipe it in to avoid that):");
    }
    let mut password = String::new();
    std::io::stdin().lock().read_line(&mut password)?;
    let user = web::auth::user(name, password.trim_end_matches(['\r', '\n']), role).map_err(anyhow::Error::msg)?;
    let store = open(&config)?;
    store.set_user(&user, system_time())?;
    store.audit(system_time(), "command line", &format!("set up the user {name} as {}", role.as_str()))?;
    println!("{name} may log in as {}", role.as_str());
    Ok(ExitCode::SUCCESS)
}

pub fn remove_user(path: &Path, name: &str) -> Done {
    let store = open(&load(path)?)?;
    if !store.remove_user(name)? {
        bail!("there is no user {name}");
    }
    store.audit(system_time(), "command line", &format!("removed the user {name}"))?;
    Ok(ExitCode::SUCCESS)
}

pub fn list_users(path: &Path) -> Done {
    for user in open(&load(path)?)?.users()? {
        println!("{}\t{}", user.name, user.role.as_str());
    }
    Ok(ExitCode::SUCCESS)
}

pub fn test_sink(path: &Path, name: &str) -> Done {
    let config = load(path)?;
    let table = config.sinks.get(name).with_context(|| {
        let known = config.sinks.keys().cloned().collect::<Vec<_>>().join(", ");
        format!("there is no sink {name}; known: {known}")
    })?;
    let sink = sink::make(table).map_err(anyhow::Error::msg)?;
    let now = system_time();
    let alert = Alert { action: "raised".into(), kind: "test".into(), track_id: 1, score: Some(0.5), model: None };
    let rules = Rules { keep_for: 0, down_after: 0 };
    let Some((incident, _)) = Incidents::new("test", rules, Vec::new()).alert(now, 1, &alert).pop() else {
        unreachable!("an alert opens an incident");
    };
    let id = incident.id.to_string();
    let event = store::Event { schema: 1, id: id.clone(), kind: "test".into(), time: timestamp(now), incident };
    let body = serde_json::to_string(&event)?;
    match sink.send(&Stored { number: 0, id, kind: "test".into(), at: now, body }) {
        Ok(()) => println!("the receiver took the event"),
        Err(error) => bail!("the event did not arrive: {error}"),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn retain(path: &Path, dry_run: bool) -> Done {
    let config = load(path)?;
    let store = open(&config)?;
    let now = system_time();
    let plan = retention::plan(&config.retention, &store.inventory()?, now, 0);
    let verb = if dry_run { "would delete" } else { "deleted" };
    println!("{verb} scores before {}", timestamp(plan.scores_before));
    println!("{verb} coverage before {}", timestamp(plan.coverage_before));
    for (id, reason) in &plan.incidents {
        println!("{verb} incident {id}: {reason}");
    }
    for (id, reason) in &plan.thumbnails {
        println!("{verb} the thumbnail of incident {id}: {reason}");
    }
    for (id, reason) in &plan.clips {
        println!("{verb} the clips of incident {id}: {reason}");
    }
    if !dry_run {
        evidence::remove(&config.evidence(), &store.delete(&plan, now)?);
    }
    Ok(ExitCode::SUCCESS)
}

pub fn add_token(path: &Path, name: &str, role: Role) -> Done {
    let store = open(&load(path)?)?;
    let token = web::auth::new_token(&store, name, role)?;
    store.audit(system_time(), "command line", &format!("made the token {name} as {}", role.as_str()))?;
    println!("{token}");
    Ok(ExitCode::SUCCESS)
}

pub fn remove_token(path: &Path, name: &str) -> Done {
    let store = open(&load(path)?)?;
    if !store.remove_token(name)? {
        bail!("there is no token {name}");
    }
    store.audit(system_time(), "command line", &format!("removed the token {name}"))?;
    Ok(ExitCode::SUCCESS)
}

pub fn list_tokens(path: &Path) -> Done {
    for (name, role) in open(&load(path)?)?.tokens()? {
        println!("{name}\t{}", role.as_str());
    }
    Ok(ExitCode::SUCCESS)
}

pub fn fsck(path: &Path, repair: bool) -> Done {
    let config = load(path)?;
    let store = open(&config)?;
    let found = evidence::compare(&store, &config.evidence())?;
    for trouble in &found.damaged {
        println!("{trouble}");
    }
    for folder in &found.strays {
        println!("evidence/{folder}: belongs to no incident");
    }
    println!("{} folders and {} clips were compared", found.folders, found.clips);
    if repair && !found.strays.is_empty() {
        if 2 * found.strays.len() > found.folders {
            bail!(
                "more than half of all evidence belongs to no incident: is this the right database? Nothing was deleted"
            );
        }
        evidence::remove(&config.evidence(), &found.strays);
        let what = format!("fsck deleted evidence of no incident: {}", found.strays.join(", "));
        store.audit(system_time(), "command line", &what)?;
        println!("deleted {} folders", found.strays.len());
    }
    let clean = found.damaged.is_empty() && (repair || found.strays.is_empty());
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
