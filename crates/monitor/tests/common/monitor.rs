//! The whole program as a process, and a live feed on loopback.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{patience, program};

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn kill(process: i64) {
    assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
}

/// A process that is ended with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A live feed on loopback: the program's own sample server.
pub struct Feed {
    port: u16,
    clip: PathBuf,
    process: Option<Running>,
}

impl Feed {
    pub fn serve(clip: &Path) -> Self {
        Self { port: free_port(), clip: clip.to_owned(), process: None }.again()
    }

    pub fn address(&self) -> String {
        format!("srt://127.0.0.1:{}?mode=caller", self.port)
    }

    pub fn cut(mut self) -> Self {
        self.process = None;
        self
    }

    pub fn again(mut self) -> Self {
        let port = self.port.to_string();
        let child = program().args(["sample-feeds", "--port", &port]).arg(&self.clip).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("srt://"), "the feed does not start: {line}");
        self.process = Some(Running(child));
        self
    }
}

pub struct Monitor {
    folder: tempfile::TempDir,
    process: Running,
    address: String,
    cookie: String,
    agent: ureq::Agent,
}

impl Monitor {
    /// Starts the program on these channels, and logs in.
    pub fn start(channels: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = format!("[server]\nlisten = \"127.0.0.1:{}\"\n[defaults]\ndevice = \"cpu\"\n", free_port());
        std::fs::write(folder.path().join("server"), &server).unwrap();
        let file = folder.path().join("monitor.toml");
        std::fs::write(&file, server + channels).unwrap();
        let mut child =
            program().args(["run", "--login-link", "--config"]).arg(&file).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let page = lines.next().unwrap().unwrap();
        let link = lines.next().unwrap().unwrap();
        let address = page.strip_prefix("The page: ").unwrap().trim_end_matches('/').to_owned();
        let token = link.split_once("token=").unwrap().1.to_owned();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .proxy(None)
            .build()
            .into();
        let answer = agent.post(format!("{address}/login/once")).send_form([("token", token.as_str())]).unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        Self { folder, process: Running(child), address, cookie, agent }
    }

    pub fn write_config(&self, channels: &str) {
        let server = std::fs::read_to_string(self.folder.path().join("server")).unwrap();
        std::fs::write(self.folder.path().join("monitor.toml"), server + channels).unwrap();
    }

    pub fn hang_up(&self) {
        assert!(Command::new("kill").args(["-HUP", &self.process.0.id().to_string()]).status().unwrap().success());
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = self.agent.get(format!("{}{path}", self.address)).header("cookie", &self.cookie).call();
        let text = answer.unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    pub fn channel(&self, id: &str) -> Value {
        let channels = self.get("/api/v1/channels");
        let found = channels.as_array().unwrap().iter().find(|channel| channel["id"] == id);
        found.cloned().unwrap_or(Value::Null)
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, done: impl Fn() -> bool) {
        let limit = Instant::now() + Duration::from_secs(10 * patience());
        while !done() {
            assert!(Instant::now() < limit, "waited in vain until {what}: {:#}", self.get("/api/v1/status"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    pub fn wait_for(&self, id: &str, done: impl Fn(&Value) -> bool) -> Value {
        self.wait_until(&format!("{id} is as it should be"), || {
            Some(self.channel(id)).filter(|channel| !channel.is_null()).is_some_and(|channel| done(&channel))
        });
        self.channel(id)
    }

    #[track_caller]
    pub fn wait_for_state(&self, id: &str, state: &str) -> Value {
        self.wait_for(id, |channel| channel["state"] == state)
    }

    /// Coverage since the program started, once it is as it should be. `unrecorded_after_start` are
    /// the milliseconds between its first and last span that nothing is said of.
    #[track_caller]
    pub fn wait_for_coverage(&self, id: &str, done: impl Fn(&Value) -> bool) -> Value {
        let coverage = || self.get(&format!("/api/v1/channels/{id}/coverage"));
        self.wait_until("the coverage is recorded", || done(&coverage()["totals"]));
        let mut coverage = coverage();
        let spans = coverage["spans"].as_array().unwrap();
        let edge = |span: &Value, edge: &str| span[edge].as_i64().unwrap();
        let gaps: i64 = spans.windows(2).map(|pair| (edge(&pair[1], "start") - edge(&pair[0], "end")).abs()).sum();
        coverage["unrecorded_after_start"] = gaps.into();
        coverage
    }
}
