//! What leaves the element of each analysis: the newest report, marked and placed, and the alerts
//! that come of it.
//!
//! Who decides pushes into the one [`Outbox`] while it holds the lock under which it decided, and
//! empties the outbox after that. So messages are posted in the order in which they were decided
//! on, whoever decided, and no lock is held meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::settings::Settings;
use deepfake_report::FrameReport;
use deepfake_report::alert::{Alert, AlertSettings, AlertWatch, SpikeWatch};

const NS_PER_MS: u64 = 1_000_000;

/// Alerts of one start of the element, and what its reports say of it.
#[derive(Default)]
pub(super) struct Outlet {
    /// Random, of this start.
    run: String,
    alerts: AlertWatch,
    spikes: SpikeWatch,
}

impl Outlet {
    pub(super) fn new() -> Self {
        Self { run: glib::uuid_string_random().into(), ..Self::default() }
    }

    /// Says in `report` whose it is and when its frame came, `arrived`, and marks spikes.
    pub(super) fn complete(
        &mut self,
        report: &mut FrameReport,
        element: &str,
        stream: Option<&str>,
        arrived: Instant,
        fake_threshold: f64,
    ) {
        self.spikes.mark(report, fake_threshold);
        report.run = Some(self.run.clone());
        report.element = Some(element.into());
        report.stream = stream.map(Into::into);
        report.utc = utc(arrived);
    }

    /// `report` is the newest from now on. Returns the alerts that it raises, updates and clears.
    pub(super) fn accept(&mut self, report: &Arc<FrameReport>, fake_threshold: f64, settings: &Settings) -> Vec<Alert> {
        let ns = |ms: u32| u64::from(ms) * NS_PER_MS;
        self.alerts.set_settings(AlertSettings::new(ns(settings.alert_after), ns(settings.alert_hold)));
        self.alerts.update(report, fake_threshold)
    }

    /// The analysis of the frame at this running time failed: there is no report, and alerts run
    /// out.
    pub(super) fn fail(&mut self, time: u64) -> Vec<Alert> {
        self.alerts.advance(time)
    }

    /// The stream is over, or goes on elsewhere. Returns the alerts that this clears.
    pub(super) fn clear(&mut self) -> Vec<Alert> {
        self.spikes.clear();
        self.alerts.clear()
    }
}

/// Wall clock at `moment`, as RFC 3339 has it. `None` only where the clock stands outside of what
/// calendars know.
fn utc(moment: Instant) -> Option<String> {
    let ago = i64::try_from(moment.elapsed().as_micros()).ok()?;
    let then = glib::DateTime::now_utc().ok()?.add(glib::TimeSpan::from_microseconds(-ago)).ok()?;
    Some(then.format("%Y-%m-%dT%H:%M:%S.%fZ").ok()?.into())
}

/// A message on its way to the bus.
pub(super) enum Post {
    Report(Arc<FrameReport>),
    Alert(Box<Alert>),
}

impl From<Alert> for Post {
    fn from(alert: Alert) -> Self {
        Self::Alert(Box::new(alert))
    }
}

/// Messages in the order in which they were decided on.
#[derive(Default)]
pub(super) struct Outbox(Mutex<Queue>, Condvar);

#[derive(Default)]
struct Queue {
    posts: VecDeque<Post>,
    is_posting: bool,
}

impl Outbox {
    pub(super) fn push(&self, posts: impl IntoIterator<Item = Post>) {
        self.queue().posts.extend(posts);
    }

    /// Hands everything over to `post`, one after the other and without a lock. Where another
    /// thread is at it, or this one further up its stack, that one goes on with what is here.
    pub(super) fn empty(&self, mut post: impl FnMut(Post)) {
        /// Whoever posts next must not find the outbox in use for ever, should `post` panic.
        struct InUse<'a>(&'a Outbox, bool);
        impl Drop for InUse<'_> {
            fn drop(&mut self) {
                if self.1 {
                    self.0.queue().is_posting = false;
                    self.0.1.notify_all();
                }
            }
        }
        if std::mem::replace(&mut self.queue().is_posting, true) {
            return;
        }
        let mut in_use = InUse(self, true);
        loop {
            let next = {
                let mut queue = self.queue();
                let next = queue.posts.pop_front();
                // Under the same lock as the last look: what is pushed after it finds nobody
                // posting.
                queue.is_posting = next.is_some();
                next
            };
            let Some(next) = next else {
                in_use.1 = false;
                self.1.notify_all();
                return;
            };
            post(next);
        }
    }

    /// Waits until everything has been posted, but not for long: who posts may be held up by the application.
    pub(super) fn settle(&self, patience: Duration) {
        let is_busy = |queue: &mut Queue| queue.is_posting || !queue.posts.is_empty();
        drop(self.1.wait_timeout_while(self.queue(), patience, is_busy));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().expect("nothing panics while it holds the outbox")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(pts: u64) -> Post {
        Post::Report(Arc::new(FrameReport::new(pts, "m@1", "cpu", vec![])))
    }

    fn pts(post: &Post) -> u64 {
        match post {
            Post::Report(report) => report.pts,
            Post::Alert(alert) => alert.report.pts,
        }
    }

    #[test]
    fn what_is_pushed_while_posting_comes_after_it_and_is_posted_once() {
        let outbox = Outbox::default();
        outbox.push([report(1), report(2)]);
        let mut posted = Vec::new();
        outbox.empty(|post| {
            posted.push(pts(&post));
            if pts(&post) == 1 {
                outbox.push([report(3)]);
                // A bus's sync handler may come back here.
                outbox.empty(|_| panic!("two at a time"));
            }
        });
        assert_eq!(posted, [1, 2, 3]);
        outbox.empty(|_| panic!("once is enough"));
    }

    #[test]
    fn a_panic_of_who_posts_does_not_shut_the_outbox() {
        let outbox = Outbox::default();
        outbox.push([report(1), report(2)]);
        let panics = std::panic::AssertUnwindSafe(|| outbox.empty(|_| panic!("of a test")));
        assert!(std::panic::catch_unwind(panics).is_err());
        let mut posted = Vec::new();
        outbox.empty(|post| posted.push(pts(&post)));
        assert_eq!(posted, [2]);
    }

    #[test]
    fn threads_post_in_the_order_of_what_they_pushed() {
        let outbox = Outbox::default();
        let (decided, posted) = (Mutex::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        {
                            let mut decided = decided.lock().unwrap();
                            *decided += 1;
                            outbox.push([report(*decided)]);
                        }
                        outbox.empty(|post| posted.lock().unwrap().push(pts(&post)));
                    }
                });
            }
        });
        assert_eq!(*posted.lock().unwrap(), (1..=2000).collect::<Vec<_>>());
    }

    #[test]
    fn the_wall_clock_is_written_as_rfc_3339_has_it() {
        let now = utc(Instant::now()).unwrap();
        let parsed = glib::DateTime::from_iso8601(&now, None).unwrap();
        let age = glib::DateTime::now_utc().unwrap().difference(&parsed).as_seconds();
        assert!((0..60).contains(&age), "{now}");
        assert_eq!(now.len(), "2030-01-02T03:04:05.678901Z".len());
    }
}
