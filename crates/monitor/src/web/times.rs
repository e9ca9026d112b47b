//! Times as people read them: always with the zone they are in.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use maud::{Markup, html};

pub struct Zone(TimeZone);

impl Zone {
    pub fn named(name: &str) -> Self {
        Self(TimeZone::get(name).unwrap_or(TimeZone::UTC))
    }

    /// `2026-11-28 13:05:03 CET`.
    pub fn text(&self, at: i64) -> String {
        let time = Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
        time.to_zoned_datetime(self.0.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    pub fn time(&self, at: i64) -> Markup {
        html! { time datetime=(crate::store::sqlite::timestamp(at)) { (self.text(at)) } }
    }

    pub fn today(&self, now: i64) -> civil::Date {
        let time = Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH);
        time.to_zoned_datetime(self.0.clone()).date()
    }

    /// From midnight to midnight, in milliseconds since 1970: 23 or 25 hours where clocks change.
    pub fn bounds(&self, day: civil::Date) -> Option<(i64, i64)> {
        let midnight =
            |day: civil::Date| Some(day.to_zoned_datetime(self.0.clone()).ok()?.timestamp().as_millisecond());
        Some((midnight(day)?, midnight(day.tomorrow().ok()?)?))
    }
}

/// `3 h 05 min`, `12 min 07 s`, `4.2 s`.
pub fn length(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        ..10 => format!("{:.1} s", milliseconds as f64 / 1000.0),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_the_hours_that_it_has() {
        let zone = Zone::named("Europe/Berlin");
        let hours = |month, day| {
            let (from, to) = zone.bounds(civil::date(2026, month, day)).unwrap();
            (to - from) / 3_600_000
        };
        assert_eq!((hours(3, 29), hours(10, 25), hours(11, 28)), (23, 25, 24));
    }

    #[test]
    fn a_time_names_its_zone_also_when_it_comes_twice() {
        let zone = Zone::named("Europe/Berlin");
        assert_eq!(zone.text(1_792_888_200_000), "2026-10-25 02:30:00 CEST");
        assert_eq!(zone.text(1_792_891_800_000), "2026-10-25 02:30:00 CET");
    }

    #[test]
    fn lengths_are_short() {
        let texts = [4200, 12_000, 727_000, 11_100_000, 200_000_000].map(length);
        assert_eq!(texts, ["4.2 s", "12 s", "12 min 07 s", "3 h 05 min", "2 d 7 h"]);
    }
}
