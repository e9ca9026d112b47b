//! A webhook as <https://www.standardwebhooks.com> describes it: receivers have libraries for that.

use std::net::{IpAddr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::Sink;
use crate::config::{self, Address};
use crate::store::Stored;
use crate::supervisor::system_time;

pub struct Webhook {
    agent: ureq::Agent,
    url: Address,
    key: Vec<u8>,
}

impl Webhook {
    /// # Errors
    /// If the key cannot be read or is none.
    pub fn new(table: &config::Webhook) -> Result<Self, String> {
        let secret = table.secret.read()?;
        let key = secret.strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok()).filter(|key| key.len() >= 24);
        let key = key.ok_or_else(|| {
            format!("{:?} holds no key: `whsec_` and the base64 of 24 to 64 random bytes is one", table.secret)
        })?;
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(table.timeout.0))
            // A redirection could lead to where the address itself must not.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("deepfake-monitor/", env!("CARGO_PKG_VERSION")))
            .proxy(None)
            .build();
        let resolver = Guarded { inner: DefaultResolver::default(), allow_link_local: table.allow_link_local };
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), resolver);
        Ok(Self { agent, url: table.url.clone(), key })
    }
}

impl Sink for Webhook {
    fn send(&self, event: &Stored) -> Result<(), String> {
        let timestamp = system_time() / 1000;
        let signature = sign(&self.key, &event.id, timestamp, &event.body);
        let sent = self
            .agent
            .post(self.url.reveal())
            .header("content-type", "application/json")
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signature)
            .send(&event.body);
        match sent {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) if answer.status().is_redirection() => {
                Err(format!("the receiver answered {}; redirections are not followed", answer.status()))
            }
            Ok(answer) => Err(format!("the receiver answered {}", answer.status())),
            Err(error) => Err(self.url.scrub(&error.to_string())),
        }
    }
}

fn sign(key: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Finds addresses by name, and refuses those where a machine of a cloud asks for its own
/// credentials. Done on the very addresses that are connected to, so that a name cannot mean
/// another one a moment later.
#[derive(Debug)]
struct Guarded {
    inner: DefaultResolver,
    allow_link_local: bool,
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        match found.iter().find(|address| is_link_local(address.ip())) {
            Some(address) if !self.allow_link_local => {
                let refused = format!(
                    "{} is a link-local address, to which nothing is sent unless the sink has allow-link-local = true",
                    address.ip()
                );
                Err(ureq::Error::Io(std::io::Error::other(refused)))
            }
            _ => Ok(found),
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    // Of a cloud's metadata service, though formally a unique local address.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_link_local(mapped.into()),
            None => address.is_unicast_link_local() || address.is_unspecified() || address == METADATA,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::config::SinkTable;

    fn event() -> Stored {
        Stored {
            number: 1,
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(),
            kind: "incident.opened".into(),
            at: 0,
            body: r#"{"test": 2432232314}"#.into(),
        }
    }

    fn webhook(folder: &tempfile::TempDir, url: &str, more: &str) -> Webhook {
        let key = folder.path().join("key");
        std::fs::write(&key, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let text = format!("kind = \"webhook\"\nurl = \"{url}\"\nsecret = \"file:{}\"\n{more}", key.display());
        let SinkTable::Webhook(table) = toml::from_str(&text).unwrap() else { panic!("{text}") };
        Webhook::new(&table).unwrap()
    }

    /// The example of the specification's own libraries.
    #[test]
    fn the_signature_is_the_standards() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let event = event();
        let signature = sign(&key, &event.id, 1_614_265_330, &event.body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// Answers one request with `status`, and gives it back.
    fn receiver(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook?token=t0psecret", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            head + &String::from_utf8(body).unwrap()
        });
        (url, thread)
    }

    #[test]
    fn an_event_arrives_with_its_id_and_a_signature() {
        let folder = tempfile::tempdir().unwrap();
        let (url, request) = receiver("204 No Content");
        webhook(&folder, &url, "").send(&event()).unwrap();
        let request = request.join().unwrap();
        assert!(
            request.contains("webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek") && request.contains("webhook-signature: v1,")
        );
        assert!(request.ends_with(&event().body), "{request}");
    }

    #[test]
    fn a_refusal_or_a_redirection_is_a_failure_that_names_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        for status in ["500 Internal Server Error", "302 Found"] {
            let (url, request) = receiver(status);
            let error = webhook(&folder, &url, "").send(&event()).unwrap_err();
            request.join().unwrap();
            assert!(error.contains(&status[..3]) && !error.contains("t0psecret"), "{error}");
        }
    }

    #[test]
    fn link_local_addresses_are_refused_in_every_form() {
        let folder = tempfile::tempdir().unwrap();
        for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "0.0.0.0"] {
            let error = webhook(&folder, &format!("http://{host}/latest"), "").send(&event()).unwrap_err();
            assert!(error.contains("allow-link-local"), "{host}: {error}");
        }
        for address in ["127.0.0.1", "10.0.0.1", "::1", "2001:db8::1"] {
            assert!(!is_link_local(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_said_without_being_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "hunter2").unwrap();
        let text = format!("kind = \"webhook\"\nurl = \"https://h/\"\nsecret = \"file:{}\"", key.display());
        let SinkTable::Webhook(table) = toml::from_str(&text).unwrap() else { panic!("{text}") };
        let error = Webhook::new(&table).err().unwrap();
        assert!(error.contains("whsec_") && !error.contains("hunter2"), "{error}");
    }
}
