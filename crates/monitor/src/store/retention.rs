//! What may go. A pure function of the policy, what is there and the time; what is held is never in
//! its answer.

use crate::config::Retention;

/// What is recorded, as far as retention has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Closed and open incidents.
    pub incidents: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    /// `None` while it is open.
    pub closed: Option<i64>,
    pub held: bool,
    pub thumbnail_bytes: u64,
    pub clip_bytes: u64,
}

/// What is to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Scores and coverage that ended before.
    pub scores_before: i64,
    pub coverage_before: i64,
    /// Incidents, each with the reason.
    pub incidents: Vec<(String, &'static str)>,
    /// Incidents that lose their thumbnail only.
    pub thumbnails: Vec<(String, &'static str)>,
    /// Incidents that lose their clips only.
    pub clips: Vec<(String, &'static str)>,
}

/// What goes at `now` (milliseconds since 1970). `need` are bytes that the disk lacks: clips go for
/// them, whatever their age.
pub fn plan(policy: &Retention, inventory: &Inventory, now: i64, need: u64) -> Plan {
    let before = |keep: crate::config::Span| now.saturating_sub(keep.milliseconds());
    let (incidents_before, clips_before) = (before(policy.incidents), before(policy.clips));
    let mut free: Vec<&Entry> =
        inventory.incidents.iter().filter(|entry| !entry.held && entry.closed.is_some()).collect();
    free.sort_by_key(|entry| entry.closed);
    let (old, kept): (Vec<_>, Vec<_>) =
        free.into_iter().partition(|entry| entry.closed.is_some_and(|closed| closed < incidents_before));

    let all = |bytes: fn(&Entry) -> u64| -> u64 {
        let all: u64 = inventory.incidents.iter().map(bytes).sum();
        all - old.iter().map(|entry| bytes(entry)).sum::<u64>()
    };
    let excess = |all: u64, mib: u64| all.saturating_sub(mib.saturating_mul(1 << 20));
    let mut thumbnails_excess = excess(all(|entry| entry.thumbnail_bytes), policy.thumbnails_mib);
    let mut clips_excess = excess(all(|entry| entry.clip_bytes), policy.clips_mib);
    let mut need = need.saturating_sub(old.iter().map(|entry| entry.clip_bytes).sum());
    let (mut thumbnails, mut clips) = (Vec::new(), Vec::new());
    for entry in kept {
        if entry.thumbnail_bytes > 0 && thumbnails_excess > 0 {
            thumbnails_excess = thumbnails_excess.saturating_sub(entry.thumbnail_bytes);
            thumbnails.push((entry.id.clone(), "thumbnails take more than thumbnails-mib"));
        }
        let reason = match entry.clip_bytes {
            0 => None,
            _ if entry.closed.is_some_and(|closed| closed < clips_before) => Some("older than clips"),
            _ if clips_excess > 0 => Some("clips take more than clips-mib"),
            _ if need > 0 => Some("the disk has less room than min-free-mib"),
            _ => None,
        };
        if let Some(reason) = reason {
            clips_excess = clips_excess.saturating_sub(entry.clip_bytes);
            need = need.saturating_sub(entry.clip_bytes);
            clips.push((entry.id.clone(), reason));
        }
    }
    Plan {
        scores_before: before(policy.scores),
        coverage_before: before(policy.coverage),
        incidents: old.into_iter().map(|entry| (entry.id.clone(), "older than incidents")).collect(),
        thumbnails,
        clips,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Span;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry = (proptest::option::of(0i64..1_000_000), any::<bool>(), 0u64..3_000_000, 0u64..3_000_000);
        proptest::collection::vec(entry, 0..60).prop_map(|entries| {
            let numbered = entries.into_iter().enumerate();
            let named = numbered.map(|(number, (closed, held, bytes, clip_bytes))| Entry {
                id: number.to_string(),
                closed,
                held,
                thumbnail_bytes: bytes,
                clip_bytes,
            });
            named.collect()
        })
    }

    proptest! {
        #[test]
        fn nothing_held_open_or_young_goes_and_nothing_old_stays(
            incidents in entries(), now in 0i64..2_000_000, keep in 0u64..1000, keep_clips in 0u64..1000,
            mib in 0u64..40, clips_mib in 0u64..40, need in 0u64..40_000_000,
        ) {
            let policy = Retention {
                incidents: Span::seconds(keep),
                clips: Span::seconds(keep_clips),
                thumbnails_mib: mib,
                clips_mib,
                ..Retention::default()
            };
            let plan = plan(&policy, &Inventory { incidents: incidents.clone() }, now, need);
            let mut left = 0;
            let mut free_left = 0;
            let (mut clips_left, mut clips_gone, mut free_clips_left) = (0, 0, 0);
            for entry in &incidents {
                let gone = plan.incidents.iter().any(|(id, _)| *id == entry.id);
                let bare = plan.thumbnails.iter().any(|(id, _)| *id == entry.id);
                let may_go = !entry.held && entry.closed.is_some();
                let old = entry.closed.is_some_and(|closed| closed < now - keep as i64 * 1000);
                prop_assert_eq!(gone, may_go && old);
                prop_assert!(!bare || may_go && !gone);
                if !gone && !bare {
                    left += entry.thumbnail_bytes;
                    free_left += if may_go { entry.thumbnail_bytes } else { 0 };
                }
                let reason = plan.clips.iter().find(|(id, _)| *id == entry.id).map(|(_, reason)| *reason);
                let old = entry.closed.is_some_and(|closed| closed < now - keep_clips as i64 * 1000);
                prop_assert!(reason.is_none() || may_go && !gone && entry.clip_bytes > 0);
                prop_assert!(gone || !may_go || !old || entry.clip_bytes == 0 || reason.is_some());
                if gone || reason.is_some() {
                    clips_gone += entry.clip_bytes;
                } else {
                    clips_left += entry.clip_bytes;
                    free_clips_left += if may_go { entry.clip_bytes } else { 0 };
                }
            }
            prop_assert!(clips_left <= clips_mib << 20 || free_clips_left == 0, "{} bytes of clips", clips_left);
            prop_assert!(clips_gone >= need || free_clips_left == 0, "{} of {} bytes", clips_gone, need);
            prop_assert!(left <= mib << 20 || free_left == 0, "{} bytes are left", left);
        }
    }
}
