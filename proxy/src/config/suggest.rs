//! The known word that was probably meant.

/// Edits that are a slip.
const SLIP: usize = 2;

/// Whether `word` is `candidate` but for a slip.
pub(super) fn is_slip(word: &str, candidate: &str) -> bool {
    distance(word, candidate) <= SLIP
}

fn distance(word: &str, candidate: &str) -> usize {
    strsim::damerau_levenshtein(&word.to_ascii_lowercase(), &candidate.to_ascii_lowercase())
}

/// The candidate nearest to `word`, when one is near enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["base_url", "timeout_seconds", "port"];
        assert_eq!(nearest("base_ulr", known), Some("base_url"));
        assert_eq!(nearest("Timeout_Second", known), Some("timeout_seconds"));
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("organization", known), None);
    }
}
