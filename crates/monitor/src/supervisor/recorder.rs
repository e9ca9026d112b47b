//! Records on a thread of its own, so that a slow or full disk never stops the watching.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::channel::ledger::Span;
use crate::store::{Record, Store};

/// Seconds of scores that are kept while nothing can be recorded: a day of one channel. The oldest
/// go first.
const MAX_SCORES: usize = 86_400;
const RETRY: Duration = Duration::from_secs(1);

/// What waits to be recorded. What is overtaken by newer news is not written at all.
#[derive(Debug, Default)]
pub struct Pending {
    coverage: BTreeMap<(String, i64), Span>,
    scores: BTreeMap<(i64, String), f64>,
    in_order: Vec<Record>,
    pub scores_lost: u64,
}

impl Pending {
    pub fn add(&mut self, record: Record) {
        match record {
            Record::Coverage { channel, span } => drop(self.coverage.insert((channel, span.start), span)),
            Record::Score { channel, second, score } => {
                let highest = self.scores.entry((second, channel)).or_insert(score);
                *highest = highest.max(score);
                if self.scores.len() > MAX_SCORES {
                    self.scores.pop_first();
                    self.scores_lost += 1;
                }
            }
            Record::Incident { .. } | Record::Thumbnail { .. } | Record::Clip(_) => self.in_order.push(record),
        }
    }

    /// Something that somebody waits for.
    pub fn is_urgent(&self) -> bool {
        !self.in_order.is_empty()
    }

    fn take(&mut self) -> Vec<Record> {
        let coverage = std::mem::take(&mut self.coverage).into_iter();
        let scores = std::mem::take(&mut self.scores).into_iter();
        std::mem::take(&mut self.in_order)
            .into_iter()
            .chain(coverage.map(|((channel, _), span)| Record::Coverage { channel, span }))
            .chain(scores.map(|((second, channel), score)| Record::Score { channel, second, score }))
            .collect()
    }
}

pub struct Recorder {
    work: Option<SyncSender<Vec<Record>>>,
    busy: Arc<AtomicBool>,
    trouble: Arc<Mutex<Option<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Recorder {
    /// `recorded` gets the number of the newest event after each time something was recorded.
    ///
    /// # Errors
    /// If there is no thread more.
    pub fn start(store: Arc<dyn Store>, recorded: watch::Sender<i64>) -> std::io::Result<Self> {
        let (work, todo) = sync_channel(1);
        let busy = Arc::new(AtomicBool::new(false));
        let trouble = Arc::new(Mutex::new(None));
        let record = {
            let (busy, trouble) = (busy.clone(), trouble.clone());
            move || record_all(&*store, &todo, &busy, &trouble, &recorded)
        };
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(record)?;
        Ok(Self { work: Some(work), busy, trouble, thread: Some(thread) })
    }

    /// Hands over what waits, unless the last is not written yet.
    pub fn flush(&self, pending: &mut Pending) {
        if let Some(work) = &self.work
            && !self.busy.swap(true, Ordering::AcqRel)
        {
            let records = pending.take();
            if records.is_empty() || work.send(records).is_err() {
                self.busy.store(false, Ordering::Release);
            }
        }
    }

    /// Why nothing can be recorded now.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes the rest and ends. Where the disk does not take it, it is given up after this one
    /// try.
    pub fn finish(mut self, pending: &mut Pending) {
        let Some(work) = self.work.take() else { return };
        if self.trouble().is_none() {
            work.send(pending.take()).ok();
        }
        drop(work);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn record_all(
    store: &dyn Store,
    todo: &Receiver<Vec<Record>>,
    busy: &AtomicBool,
    trouble: &Mutex<Option<String>>,
    recorded: &watch::Sender<i64>,
) {
    let set_trouble = |now: Option<String>| *trouble.lock().unwrap_or_else(PoisonError::into_inner) = now;
    while let Ok(mut records) = todo.recv() {
        let mut told = false;
        while let Err(error) = store.record(&records) {
            if !std::mem::replace(&mut told, true) {
                tracing::error!(%error, "cannot record; watching goes on, and it is tried again each second");
            }
            set_trouble(Some(error.to_string()));
            match todo.recv_timeout(RETRY) {
                Ok(more) => records.extend(more),
                Err(RecvTimeoutError::Timeout) => {}
                // The supervisor is ending: it waits for this thread.
                Err(RecvTimeoutError::Disconnected) => {
                    tracing::error!(records = records.len(), "not recorded");
                    return;
                }
            }
        }
        set_trouble(None);
        if told {
            tracing::info!("recording works again");
        }
        if records.iter().any(|record| matches!(record, Record::Incident { .. }))
            && let Ok(newest) = store.last_event()
        {
            recorded.send_replace(newest);
        }
        busy.store(false, Ordering::Release);
    }
}
