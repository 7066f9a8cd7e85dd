//! The names of batches in requests and answers.

use jiff::Timestamp;

use crate::{
    api::ApiError,
    ids::{DatasetKey, Hint},
    spool::{Entry, Stamp},
};

/// The file name up to its first dot: how older versions name a batch.
pub fn id(entry: &Entry) -> String {
    let mut name = entry.file_name();
    name.truncate(name.len() - ".gz".len());
    name
}

/// What an id or file name says, as typed parts; anything else is no batch.
pub fn parse_id(text: &str) -> Result<(DatasetKey, Stamp), ApiError> {
    let wrong = || {
        let shown: String = text.chars().take(200).collect();
        ApiError::invalid(format!(
            "{shown:?} is no batch; one is named <tenant>--<dataset>--<19 digits>--<hint>"
        ))
    };
    let parts: Vec<&str> = text.strip_suffix(".gz").unwrap_or(text).split("--").collect();
    let [tenant, dataset, stamp, hint] = parts[..] else { return Err(wrong()) };
    if stamp.len() != 19 || !stamp.bytes().all(|byte| byte.is_ascii_digit()) || hint.parse::<Hint>().is_err()
    {
        return Err(wrong());
    }
    let key = DatasetKey {
        tenant: tenant.parse().map_err(ApiError::invalid)?,
        dataset: dataset.parse().map_err(ApiError::invalid)?,
    };
    Ok((key, Stamp(stamp.parse().map_err(|_| wrong())?)))
}

/// When a batch's first line was received.
pub fn created_at(stamp: Stamp) -> Timestamp {
    Timestamp::from_nanosecond(stamp.0.into()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w27_only_a_whole_typed_name_is_a_batch() {
        let (key, stamp) = parse_id("acme--web-logs--1767225600000000001--ndjson").unwrap();
        assert_eq!((key.to_string().as_str(), stamp), ("acme/web-logs", Stamp(1_767_225_600_000_000_001)));
        assert!(parse_id("acme--web--1767225600000000001--ndjson.gz").is_ok());
        for bad in [
            "",
            "..",
            "a",
            "../../etc/passwd",
            "acme--web--1767225600000000001",
            "acme--web--176722560000000000--raw",
            "..--web--1767225600000000001--raw",
            "acme--../x--1767225600000000001--raw",
            "acme--web--1767225600000000001--../x",
            "acme--web--+767225600000000001--raw",
            "acme--web--1767225600000000001--raw--x",
            "a\0--web--1767225600000000001--raw",
        ] {
            assert!(parse_id(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_batch_or_refused(text in "[a-z0-9_.%/-]{0,30}(--[a-z]{0,4}){0,3}(--[0-9]{17,21})?(--[a-z_]{0,4})?(\\.gz)?|.{0,60}") {
            if let Ok((key, stamp)) = parse_id(&text) {
                let stem = text.strip_suffix(".gz").unwrap_or(&text);
                let start = format!("{}--{}--{:019}--", key.tenant, key.dataset, stamp.0);
                proptest::prop_assert!(stem.starts_with(&start));
            }
        }
    }
}
