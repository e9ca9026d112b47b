//! MQTT 5: each event as a message of QoS 1, and a retained topic that says whether the monitor is
//! there.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{LastWill, PublishProperties};
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, PublishOptions, Transport};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::Sink;
use crate::config::{self, Address};
use crate::store::{self, Stored};

/// Pause before another try to connect.
const RECONNECT: Duration = Duration::from_secs(2);
const KEEP_ALIVE_SECONDS: u16 = 15;

pub struct Mqtt {
    /// Its own: it is used from threads that may block, and from programs without another.
    runtime: Option<Runtime>,
    options: MqttOptions,
    url: Address,
    topic: String,
    timeout: Duration,
    link: Mutex<Option<Link>>,
}

struct Link {
    client: AsyncClient,
    /// The newest error of the connection.
    trouble: watch::Receiver<Option<String>>,
}

impl Mqtt {
    /// # Errors
    /// If the address or the password will not do.
    pub fn new(table: &config::Mqtt) -> Result<Self, String> {
        let (tls, host, port) = place(&table.url)?;
        let mut options = MqttOptions::new(table.client_id.clone(), (host, port));
        options.set_keep_alive(KEEP_ALIVE_SECONDS).set_clean_start(true);
        if tls {
            options.set_transport(tls_transport()?);
        }
        if let Some(user) = &table.user {
            let password = table.password.as_ref().map(config::Secret::read).transpose()?;
            options.set_credentials(user.clone(), password.unwrap_or_default());
        }
        options.set_last_will(LastWill::new(available(&table.topic), "offline", QoS::AtLeastOnce, true, None));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| format!("no thread for MQTT: {error}"))?;
        let mqtt = Self {
            options,
            url: table.url.clone(),
            topic: table.topic.clone(),
            timeout: table.timeout.0,
            link: Mutex::new(None),
            runtime: Some(runtime),
        };
        // Connected also while nothing happens, so that others see that the monitor is there.
        *mqtt.link.lock().unwrap_or_else(PoisonError::into_inner) = mqtt.connect();
        Ok(mqtt)
    }

    fn connect(&self) -> Option<Link> {
        let (client, events) = AsyncClient::builder(self.options.clone()).capacity(16).build();
        let (told, trouble) = watch::channel(None);
        let (topic, telling) = (available(&self.topic), client.clone());
        self.runtime.as_ref()?.spawn(stay_connected(events, telling, topic, told));
        Some(Link { client, trouble })
    }

    async fn publish(&self, link: &mut Link, event: &Stored, channel: &str) -> Result<(), String> {
        let properties = PublishProperties {
            content_type: Some("application/json".into()),
            user_properties: vec![("id".into(), event.id.clone()), ("type".into(), event.kind.clone())],
            ..PublishProperties::default()
        };
        let topic = format!("{}/incidents/{channel}", self.topic);
        let options = PublishOptions::at_least_once().properties(properties);
        link.trouble.mark_unchanged();
        let acknowledged = async {
            let notice = link.client.publish_tracked(topic, event.body.clone(), options).await;
            let notice = notice.map_err(|error| error.to_string())?;
            notice.wait_completion_async().await.map_err(|error| error.to_string())
        };
        let told = tokio::select! {
            done = tokio::time::timeout(self.timeout, acknowledged) => {
                done.unwrap_or_else(|_| Err("the broker did not acknowledge it in time".into()))
            }
            Ok(()) = link.trouble.changed() => Err(link.trouble.borrow().clone().unwrap_or_default()),
        };
        told.map_err(|error| self.url.scrub(&error))
    }
}

impl Sink for Mqtt {
    fn send(&self, event: &Stored) -> Result<(), String> {
        let body: store::Event = serde_json::from_str(&event.body).map_err(|error| error.to_string())?;
        let runtime = self.runtime.as_ref().ok_or("the sink is closed")?;
        let mut place = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut link) = place.take().or_else(|| self.connect()) else { return Err("the sink is closed".into()) };
        let sent = runtime.block_on(self.publish(&mut link, event, &body.incident.channel));
        // After a failure another connection is made: what this one still held is sent again.
        if sent.is_ok() {
            *place = Some(link);
        }
        sent
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Where it is dropped, nothing may block.
            runtime.shutdown_background();
        }
    }
}

async fn stay_connected(
    mut events: EventLoop,
    client: AsyncClient,
    topic: String,
    told: watch::Sender<Option<String>>,
) {
    // Ends when the link is dropped: nobody hears of troubles any more.
    while !told.is_closed() {
        let event = tokio::select! {
            event = events.poll() => event,
            () = told.closed() => return,
        };
        match event {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                client.try_publish(topic.clone(), "online", PublishOptions::at_least_once().retained()).ok();
            }
            Ok(_) => {}
            Err(error) => {
                told.send_replace(Some(error.to_string()));
                tokio::time::sleep(RECONNECT).await;
            }
        }
    }
}

fn available(topic: &str) -> String {
    format!("{topic}/available")
}

/// Whether it is over TLS, where, and at which port.
fn place(url: &Address) -> Result<(bool, String, u16), String> {
    let wrong = || format!("{url} is no address of a broker: write mqtt://HOST:PORT or mqtts://HOST:PORT");
    let (scheme, rest) = url.reveal().split_once("://").ok_or_else(wrong)?;
    let tls = match scheme {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err(wrong()),
    };
    let rest = rest.trim_end_matches('/');
    if rest.contains(['@', '/', '?']) {
        return Err(format!("{}; the user stands in `user`, the password's place in `password`", wrong()));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (rest, if tls { 8883 } else { 1883 }),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() { Err(wrong()) } else { Ok((tls, host.into(), port)) }
}

#[cfg(feature = "tls")]
fn tls_transport() -> Result<Transport, String> {
    Transport::try_tls_with_default_config().map_err(|error| error.to_string())
}

#[cfg(not(feature = "tls"))]
fn tls_transport() -> Result<Transport, String> {
    Err("this program was built without TLS (feature `tls`)".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_the_broker_is_and_no_password_stands_in_it() {
        let at = |url: &str| place(&Address::new(url));
        assert_eq!(at("mqtt://broker.example"), Ok((false, "broker.example".into(), 1883)));
        assert_eq!(at("mqtts://10.0.0.1:18883/"), Ok((true, "10.0.0.1".into(), 18883)));
        assert_eq!(at("mqtt://[::1]:1884"), Ok((false, "::1".into(), 1884)));
        assert_eq!(at("mqtt://[::1]"), Ok((false, "::1".into(), 1883)));
        let refused = at("mqtt://anna:hunter2@broker.example").unwrap_err();
        assert!(refused.contains("`user`") && !refused.contains("hunter2"), "{refused}");
        assert!(at("http://broker.example").is_err() && at("mqtt://").is_err() && at("broker").is_err());
    }
}
