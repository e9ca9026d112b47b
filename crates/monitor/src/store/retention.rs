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
}

/// What goes at `now` (milliseconds since 1970).
pub fn plan(policy: &Retention, inventory: &Inventory, now: i64) -> Plan {
    let before = |keep: crate::config::Span| now.saturating_sub(keep.milliseconds());
    let incidents_before = before(policy.incidents);
    let mut free: Vec<&Entry> =
        inventory.incidents.iter().filter(|entry| !entry.held && entry.closed.is_some()).collect();
    free.sort_by_key(|entry| entry.closed);
    let (old, kept): (Vec<_>, Vec<_>) =
        free.into_iter().partition(|entry| entry.closed.is_some_and(|closed| closed < incidents_before));
    let gone_bytes: u64 = old.iter().map(|entry| entry.thumbnail_bytes).sum();
    let all_bytes: u64 = inventory.incidents.iter().map(|entry| entry.thumbnail_bytes).sum();
    let limit = policy.thumbnails_mib.saturating_mul(1 << 20);
    let mut excess = (all_bytes - gone_bytes).saturating_sub(limit);
    let mut thumbnails = Vec::new();
    for entry in kept.into_iter().filter(|entry| entry.thumbnail_bytes > 0) {
        if excess == 0 {
            break;
        }
        excess = excess.saturating_sub(entry.thumbnail_bytes);
        thumbnails.push((entry.id.clone(), "thumbnails take more than thumbnails-mib"));
    }
    Plan {
        scores_before: before(policy.scores),
        coverage_before: before(policy.coverage),
        incidents: old.into_iter().map(|entry| (entry.id.clone(), "older than incidents")).collect(),
        thumbnails,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Span;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry = (proptest::option::of(0i64..1_000_000), any::<bool>(), 0u64..3_000_000);
        proptest::collection::vec(entry, 0..60).prop_map(|entries| {
            let numbered = entries.into_iter().enumerate();
            let named = numbered.map(|(number, (closed, held, bytes))| Entry {
                id: number.to_string(),
                closed,
                held,
                thumbnail_bytes: bytes,
            });
            named.collect()
        })
    }

    proptest! {
        #[test]
        fn nothing_held_open_or_young_goes_and_nothing_old_stays(
            incidents in entries(), now in 0i64..2_000_000, keep in 0u64..1000, mib in 0u64..40,
        ) {
            let policy = Retention { incidents: Span::seconds(keep), thumbnails_mib: mib, ..Retention::default() };
            let plan = plan(&policy, &Inventory { incidents: incidents.clone() }, now);
            let mut left = 0;
            let mut free_left = 0;
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
            }
            prop_assert!(left <= mib << 20 || free_left == 0, "{} bytes are left", left);
        }
    }
}
