//! Events over MQTT, to a real broker on loopback.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use deepfake_monitor::channel::incident::{Alert, Incidents, Rules};
use deepfake_monitor::config;
use deepfake_monitor::sink::{self, Sink};
use deepfake_monitor::store::sqlite::Sqlite;
use deepfake_monitor::store::{Record, Store, Stored};

/// mosquitto, which is ended with the value.
struct Broker(Child);

impl Broker {
    /// `None` where it is not installed and need not be.
    fn start(folder: &Path, port: u16) -> Option<Self> {
        let file = folder.join("mosquitto.conf");
        let passwords = folder.join("passwords");
        std::fs::write(&passwords, "").unwrap();
        let set = Command::new("mosquitto_passwd").arg("-b").arg(&passwords).args(["anna", "hunter2"]).status();
        if set.is_err() && std::env::var_os("DEEPFAKE_REQUIRE_ALL").is_none() {
            eprintln!("SKIPPED: mosquitto is not installed (make deps-monitor)");
            return None;
        }
        assert!(set.expect("mosquitto is installed (make deps-monitor)").success());
        let text = format!("listener {port} 127.0.0.1\npassword_file {}\nuser root\n", passwords.display());
        std::fs::write(&file, text).unwrap();
        let child = Command::new("mosquitto").arg("-c").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let broker = Self(child);
        let limit = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < limit, "the broker does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What the broker passes on, as `mosquitto_sub` hears it: topic and message.
struct Listener(Child, Receiver<(String, String)>);

impl Listener {
    fn start(port: u16) -> Self {
        let mut child = Command::new("mosquitto_sub")
            .args(["-V", "5", "-h", "127.0.0.1", "-p", &port.to_string(), "-u", "anna", "-P", "hunter2"])
            .args(["-q", "1", "-t", "site/#", "-F", "%t %p"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let (told, heard) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let (topic, message) = line.split_once(' ').unwrap();
                told.send((topic.to_owned(), message.to_owned())).ok();
            }
        });
        Self(child, heard)
    }

    #[track_caller]
    fn next(&self) -> (String, String) {
        self.1.recv_timeout(Duration::from_secs(60)).expect("a message comes")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn events(folder: &Path) -> Vec<Stored> {
    let store = Sqlite::open(&folder.join("monitor.db")).unwrap();
    let rules = Rules { keep_for: 1000, down_after: 1000 };
    let mut incidents = Incidents::new("studio", rules, Vec::new());
    for track_id in [1, 2] {
        let alert =
            Alert { action: "raised".into(), kind: "sustained".into(), track_id, score: Some(0.9), model: None };
        let (incident, change) = incidents.alert(5000, 1, &alert).remove(0);
        store.record(&[Record::Incident { incident, change, at: 5000, sinks: Vec::new() }]).unwrap();
    }
    store.events(0, 10).unwrap()
}

/// A sink that logs in with this password, with `more` in its table.
fn sink_to(folder: &Path, port: u16, password: &str, more: &str) -> Box<dyn Sink> {
    let secret = folder.join("password");
    std::fs::write(&secret, password).unwrap();
    let text = format!(
        "[sink.bus]\nkind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\nuser = \"anna\"\npassword = \"file:{}\"\n{more}",
        secret.display()
    );
    let file = folder.join("monitor.toml");
    std::fs::write(&file, text).unwrap();
    sink::make(&config::load(&file).unwrap().sinks["bus"]).unwrap()
}

#[test]
fn events_arrive_and_a_broker_that_was_away_gets_what_it_missed() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(broker) = Broker::start(folder.path(), port) else { return };
    let listener = Listener::start(port);
    let sink = sink_to(folder.path(), port, "hunter2\n", "topic = \"site\"\ntimeout = \"20s\"\n");
    assert_eq!(listener.next(), ("site/available".into(), "online".into()));
    let events = events(folder.path());
    sink.send(&events[0]).unwrap();
    assert_eq!(listener.next(), ("site/incidents/studio".into(), events[0].body.clone()));

    drop((broker, listener));
    let refused = sink.send(&events[1]).unwrap_err();
    assert!(!refused.contains("hunter2"), "{refused}");
    let _broker = Broker::start(folder.path(), port).unwrap();
    let listener = Listener::start(port);
    sink.send(&events[1]).unwrap();
    let mut heard = vec![listener.next(), listener.next()];
    heard.sort();
    assert_eq!(
        heard,
        [("site/available".into(), "online".into()), ("site/incidents/studio".into(), events[1].body.clone()),]
    );
    drop(sink);
    assert_eq!(listener.next(), ("site/available".into(), "offline".into()), "its last will");
}

#[test]
fn a_wrong_password_is_said_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(_broker) = Broker::start(folder.path(), port) else { return };
    let sink = sink_to(folder.path(), port, "wrong-t0psecret", "");
    let refused = sink.send(&events(folder.path())[0]).unwrap_err();
    assert!(refused.to_lowercase().contains("auth") && !refused.contains("t0psecret"), "{refused}");
}
