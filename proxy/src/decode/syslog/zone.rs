//! From what a time stamp says to a moment: the year, the zone, UTC.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{Timestamp, civil::DateTime, fmt::temporal::DateTimeParser, tz::TimeZone};

use super::{
    super::ReceiveTime,
    civil::{civil_from_days, days_from_civil, days_in_month},
    stamp::{Civil, Place, When, abbreviation},
};

/// A time zone name that does not exist.
#[derive(Debug, thiserror::Error)]
#[error(
    "time zone {0:?} is not known: use an IANA name such as \"Europe/Berlin\", \"UTC\", or an offset such as \"+02:00\""
)]
pub struct UnknownZone(pub String);

#[derive(Debug, Clone)]
enum Zone {
    /// Seconds east of UTC, the year round.
    Fixed(i32),
    Rules(TimeZone),
}

impl Zone {
    fn named(name: &str) -> Result<Self, UnknownZone> {
        let zone = DateTimeParser::new().parse_time_zone(name).map_err(|_| UnknownZone(name.to_owned()))?;
        Ok(zone.to_fixed_offset().map_or(Self::Rules(zone), |fixed| Self::Fixed(fixed.seconds())))
    }

    /// Seconds east of UTC at a local time; the earlier of two in the hour that comes twice.
    fn offset_at(&self, local: i64) -> i32 {
        match self {
            Self::Fixed(seconds) => *seconds,
            Self::Rules(zone) => civil_datetime(local)
                .and_then(|local| zone.to_ambiguous_zoned(local).compatible().ok())
                .map_or(0, |zoned| zoned.offset().seconds()),
        }
    }

    /// Whether the zone calls itself so at a local time.
    fn is_called(&self, name: &[u8], local: i64) -> bool {
        let Self::Rules(zone) = self else { return false };
        let moment = local - i64::from(self.offset_at(local));
        Timestamp::from_second(moment)
            .is_ok_and(|moment| zone.to_offset_info(moment).abbreviation().as_bytes() == name)
    }
}

fn civil_datetime(local: i64) -> Option<DateTime> {
    Timestamp::from_second(local).ok().map(|moment| TimeZone::UTC.to_datetime(moment))
}

/// The zones of senders that name none.
#[derive(Debug, Clone)]
pub(super) struct Zones {
    default: Zone,
    /// Longest prefix first.
    by_source: Vec<(IpNet, Zone)>,
}

/// A moment in UTC, ready to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventTime<'a> {
    pub year: i32,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub fraction: &'a [u8],
}

impl Zones {
    pub fn new(default: &str, by_source: &[(IpNet, String)]) -> Result<Self, UnknownZone> {
        let mut zones = by_source
            .iter()
            .map(|(net, name)| Ok((canonical(*net), Zone::named(name)?)))
            .collect::<Result<Vec<_>, UnknownZone>>()?;
        zones.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        Ok(Self { default: Zone::named(default)?, by_source: zones })
    }

    fn of(&self, source: IpAddr) -> &Zone {
        self.by_source.iter().find(|(net, _)| net.contains(&source)).map_or(&self.default, |(_, zone)| zone)
    }

    /// The moment in UTC; `None` when the message does not say one or says one that is not in the calendar.
    pub fn event_time<'a>(
        &self,
        when: &When<'a>,
        source: IpAddr,
        now: &ReceiveTime,
    ) -> Option<EventTime<'a>> {
        match *when {
            When::Unknown => None,
            When::Unix(seconds, fraction) => Some(from_unix(seconds, fraction)),
            When::Civil(civil) => self.place_in_time(&civil, source, now),
        }
    }

    fn place_in_time<'a>(
        &self,
        civil: &Civil<'a>,
        source: IpAddr,
        now: &ReceiveTime,
    ) -> Option<EventTime<'a>> {
        let &Civil { month, day, hour, minute, second, fraction, .. } = civil;
        let year = civil.year.map_or_else(|| nearest_year(month, day, now), Some)?;
        if day == 0 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let same = EventTime { year, month, day, hour, minute, second, fraction };
        let local = || {
            let of_day = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second.min(59));
            days_from_civil(year, month, day) * 86_400 + of_day
        };
        let east = match civil.place {
            Place::Offset(seconds) => seconds,
            Place::Unsaid => match self.of(source) {
                Zone::Fixed(seconds) => *seconds,
                zone @ Zone::Rules(_) => zone.offset_at(local()),
            },
            Place::Name(name) => {
                let zone = self.of(source);
                match abbreviation(name) {
                    Some(seconds) if !zone.is_called(name, local()) => seconds,
                    _ => zone.offset_at(local()),
                }
            }
        };
        if east == 0 {
            return Some(same);
        }
        let mut event = from_unix(local() - i64::from(east), fraction);
        if second == 60 && event.second == 59 {
            event.second = 60;
        }
        Some(event)
    }
}

fn canonical(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6
            .addr()
            .to_ipv4_mapped()
            .and_then(|v4| IpNet::new(v4.into(), v6.prefix_len() - 96).ok())
            .unwrap_or(net),
        _ => net,
    }
}

fn from_unix(seconds: i64, fraction: &[u8]) -> EventTime<'_> {
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    EventTime {
        year,
        month,
        day,
        hour: (of_day / 3600) as u8,
        minute: (of_day / 60 % 60) as u8,
        second: (of_day % 60) as u8,
        fraction,
    }
}

/// The year that puts a day nearest to the moment of reception.
fn nearest_year(month: u8, day: u8, now: &ReceiveTime) -> Option<i32> {
    let (this_year, this_month) = now.year_and_month();
    let (this_year, this_month) = (i32::from(this_year), this_month.unsigned_abs());
    // Five months and their days can be more than half a year.
    if this_month.abs_diff(month) <= 4 && day <= days_in_month(this_year, month) {
        return Some(this_year);
    }
    let today = (now.unix_ns() / 86_400_000_000_000) as i64;
    // Eight years away at most: the distance between leap years around 1900 and 2100.
    (this_year - 8..=this_year + 8)
        .filter(|year| day <= days_in_month(*year, month))
        .min_by_key(|year| (days_from_civil(*year, month, day) - today).abs())
}
