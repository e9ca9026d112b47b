//! Events out. Each sink takes its events from the outbox on a thread of its own: a receiver that
//! is slow or away delays nobody else, and nothing is lost while it is.

#[cfg(feature = "mqtt")]
pub mod mqtt;
pub mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{Config, SinkTable};
use crate::store::{Store, Stored};
use crate::supervisor::system_time;

/// Events that are taken from the outbox at once.
const BATCH: u32 = 32;
/// Without news the outbox is looked at so often, for what is to be tried again.
const LOOK: Duration = Duration::from_secs(1);
const FIRST_WAIT: i64 = 1000;
const LONGEST_WAIT: i64 = 600_000;

/// Takes events to somebody else. An event may come twice; its id is the same then.
pub trait Sink {
    /// # Errors
    /// Why the event did not arrive, without anything secret.
    fn send(&self, event: &Stored) -> Result<(), String>;
}

/// The sink that a table of the configuration describes.
///
/// # Errors
/// If its key cannot be read or is none.
pub fn make(table: &SinkTable) -> Result<Box<dyn Sink + Send>, String> {
    match table {
        SinkTable::Webhook(webhook) => Ok(Box::new(webhook::Webhook::new(webhook)?)),
        #[cfg(feature = "mqtt")]
        SinkTable::Mqtt(mqtt) => Ok(Box::new(mqtt::Mqtt::new(mqtt)?)),
        #[cfg(not(feature = "mqtt"))]
        SinkTable::Mqtt(_) => Err("this program was built without MQTT (feature `mqtt`)".into()),
    }
}

/// How long after the `attempts`th failure it is tried again: twice as long each time.
fn wait(attempts: u32) -> i64 {
    FIRST_WAIT.saturating_mul(1 << attempts.min(20)).min(LONGEST_WAIT)
}

/// Sends what is due once. Returns whether anything was.
fn deliver(store: &dyn Store, name: &str, sink: &dyn Sink, now: i64) -> crate::store::Result<bool> {
    let due = store.due(name, now, BATCH)?;
    for due in &due {
        match sink.send(&due.event) {
            Ok(()) => store.delivered(name, due.event.number)?,
            Err(error) => {
                tracing::warn!(sink = name, event = %due.event.id, attempt = due.attempts + 1, error, "an event could not be sent");
                store.postpone(name, due.event.number, now + wait(due.attempts), &error)?;
            }
        }
    }
    Ok(!due.is_empty())
}

/// Sends the events of all sinks of the configuration, as it changes, until the supervisor is gone.
pub async fn run(store: Arc<dyn Store>, mut config: watch::Receiver<Arc<Config>>, newest: watch::Receiver<i64>) {
    let mut running: BTreeMap<String, (SinkTable, Arc<AtomicBool>)> = BTreeMap::new();
    loop {
        let wanted = config.borrow_and_update().sinks.clone();
        running.retain(|name, (table, stop)| {
            let stays = wanted.get(name) == Some(table);
            stop.store(!stays, Ordering::Relaxed);
            stays
        });
        for (name, table) in wanted {
            if running.contains_key(&name) {
                continue;
            }
            let stop = Arc::new(AtomicBool::new(false));
            running.insert(name.clone(), (table.clone(), stop.clone()));
            tokio::spawn(one(store.clone(), name, table, newest.clone(), stop));
        }
        if config.changed().await.is_err() {
            break;
        }
    }
    running.values().for_each(|(_, stop)| stop.store(true, Ordering::Relaxed));
}

async fn one(
    store: Arc<dyn Store>,
    name: String,
    table: SinkTable,
    mut newest: watch::Receiver<i64>,
    stop: Arc<AtomicBool>,
) {
    let sink = match make(&table) {
        Ok(sink) => Arc::new(std::sync::Mutex::new(sink)),
        Err(error) => {
            tracing::error!(sink = name, error, "the sink does not work; its events wait");
            return;
        }
    };
    while !stop.load(Ordering::Relaxed) {
        let (store, name, sink) = (store.clone(), name.clone(), sink.clone());
        let sent = tokio::task::spawn_blocking(move || {
            let sink = sink.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let sent = deliver(&*store, &name, &**sink, system_time());
            sent.inspect_err(|error| tracing::error!(sink = name, %error, "the outbox cannot be read"))
        });
        if !matches!(sent.await, Ok(Ok(true))) {
            // An error is an end of the supervisor, which ends this task through `stop`.
            tokio::time::timeout(LOOK, newest.changed()).await.ok();
            if newest.has_changed().is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::channel::incident::{Alert, Incident, Incidents, Rules};
    use crate::store::Record;
    use crate::store::sqlite::Sqlite;

    struct Flaky {
        refuse: RefCell<Vec<bool>>,
        got: RefCell<Vec<i64>>,
    }

    impl Sink for Flaky {
        fn send(&self, event: &Stored) -> Result<(), String> {
            if self.refuse.borrow_mut().pop() == Some(true) {
                return Err("away".into());
            }
            self.got.borrow_mut().push(event.number);
            Ok(())
        }
    }

    #[test]
    fn what_fails_is_tried_again_later_and_nothing_overtakes_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("monitor.db")).unwrap();
        let rules = Rules { keep_for: 1000, down_after: 1000 };
        let mut book = Incidents::new("studio", rules, Vec::new());
        let alert = |track_id| Alert {
            action: "raised".into(),
            kind: "sustained".into(),
            track_id,
            score: Some(0.9),
            model: None,
        };
        for track in 1..=3 {
            let record = |(incident, change): (Incident, _)| Record::Incident {
                incident,
                change,
                at: 0,
                sinks: vec!["desk".into()],
            };
            let records: Vec<_> = book.alert(0, 1, &alert(track)).into_iter().map(record).collect();
            store.record(&records).unwrap();
        }
        let sink = Flaky { refuse: RefCell::new(vec![false, false, false, true, true]), got: RefCell::default() };
        let mut now = 0;
        let mut tries = 0;
        while store.backlog().unwrap().iter().any(|backlog| backlog.waiting > 0) {
            assert!(tries < 20);
            tries += usize::from(deliver(&store, "desk", &sink, now).unwrap());
            now += 500;
        }
        assert_eq!(*sink.got.borrow(), [1, 2, 3]);
        assert!(now >= 3000, "the second try came a second after the first, the third two after that");
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let waits: Vec<_> = [0, 1, 2, 9, 10, 4000].into_iter().map(wait).collect();
        assert_eq!(waits, [1000, 2000, 4000, 512_000, 600_000, 600_000]);
    }
}
