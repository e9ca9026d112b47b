//! When a channel is watched.

use jiff::civil::{DateTime, Time, Weekday};
use serde::{Deserialize, Deserializer};

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Some days of the week and some hours of each: `mon-fri 06:00-23:30`, `sat 22:00-02:00`, `daily
/// 00:00-24:00`. Hours that end before they start go on into the next day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    days: Vec<Weekday>,
    /// Minutes since midnight; the end may be 24:00.
    from: u16,
    to: u16,
}

impl Window {
    fn parse(text: &str) -> Option<Self> {
        let (days, hours) = text.trim().split_once(char::is_whitespace)?;
        let day_at = |name: &str| DAYS.iter().position(|(day, _)| day.eq_ignore_ascii_case(name));
        let days = match days.split_once('-') {
            _ if days.eq_ignore_ascii_case("daily") => DAYS.iter().map(|(_, day)| *day).collect(),
            None => vec![DAYS[day_at(days)?].1],
            Some((first, last)) => {
                let (first, last) = (day_at(first)?, day_at(last)?);
                let count = (last + 7 - first) % 7 + 1;
                (first..first + count).map(|day| DAYS[day % 7].1).collect()
            }
        };
        let minutes = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour < 24 && minute < 60 || hour == 24 && minute == 0).then_some(hour * 60 + minute)
        };
        let (from, to) = hours.split_once('-')?;
        let (from, to) = (minutes(from)?, minutes(to)?);
        (from != to && from < 24 * 60).then_some(Self { days, from, to })
    }

    fn holds(&self, at: DateTime) -> bool {
        let minute = minute_of(at.time());
        let today = self.days.contains(&at.weekday());
        if self.from < self.to {
            today && (self.from..self.to).contains(&minute)
        } else {
            let yesterday = self.days.contains(&at.weekday().previous());
            today && minute >= self.from || yesterday && minute < self.to
        }
    }
}

fn minute_of(time: Time) -> u16 {
    time.hour().unsigned_abs() as u16 * 60 + time.minute().unsigned_abs() as u16
}

impl schemars::JsonSchema for Window {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

/// Whether a channel with these windows is watched at a local time. No window means always.
pub fn watches(windows: &[Window], at: DateTime) -> bool {
    windows.is_empty() || windows.iter().any(|window| window.holds(at))
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            serde::de::Error::custom(format!(
                "\"{text}\" is no schedule; write mon-fri 06:00-23:30 or daily 20:00-02:00"
            ))
        };
        Self::parse(&text).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn window(text: &str) -> Vec<Window> {
        vec![Window::parse(text).unwrap()]
    }

    #[test]
    fn days_and_hours_bound_what_is_watched() {
        // A Saturday.
        let day = date(2026, 11, 28);
        let office = window("mon-fri 06:00-23:30");
        assert!(!watches(&office, day.at(12, 0, 0, 0)));
        let friday = day.yesterday().unwrap();
        assert!(watches(&office, friday.at(6, 0, 0, 0)));
        assert!(watches(&office, friday.at(23, 29, 59, 0)));
        assert!(!watches(&office, friday.at(23, 30, 0, 0)));
        assert!(watches(&[], day.at(3, 0, 0, 0)));
    }

    #[test]
    fn a_night_belongs_to_the_day_it_starts_on() {
        let night = window("sat 22:00-02:00");
        let day = date(2026, 11, 28);
        assert!(watches(&night, day.at(23, 0, 0, 0)));
        assert!(watches(&night, day.tomorrow().unwrap().at(1, 59, 0, 0)));
        assert!(!watches(&night, day.tomorrow().unwrap().at(23, 0, 0, 0)));
        assert!(!watches(&night, day.at(1, 0, 0, 0)));
    }

    #[test]
    fn a_week_may_be_passed_over_its_end() {
        let weekend = window("fri-mon 00:00-24:00");
        assert!(watches(&weekend, date(2026, 11, 30).at(23, 59, 0, 0)));
        assert!(!watches(&weekend, date(2026, 12, 1).at(0, 0, 0, 0)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "mon", "mon 25:00-26:00", "mon-xyz 06:00-07:00", "mon 06:00-06:00", "mon 24:00-02:00"] {
            assert_eq!(Window::parse(text), None, "{text}");
        }
    }
}
